"""The rounding model of a head sum: any order of the heads, against all of them."""

from __future__ import annotations

import itertools

import torch

from rocassay.references.common.head_sum_logits import QueryRow, peer_scores, scores

HEADS, DIMS, KEYS = 5, 32, 7


def row(seed: int) -> QueryRow:
    """Small random scores, one head of which adds nothing."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    weights = normal(HEADS)
    weights[2] = 0
    queries, keys = (x.to(torch.float8_e4m3fn).double() for x in (normal(HEADS, DIMS), normal(KEYS, DIMS)))
    return QueryRow(queries, weights.float().double(), keys, normal(KEYS).abs().float().double())


def reordered(given: QueryRow, order: tuple[int, ...]) -> QueryRow:
    heads = torch.tensor(order)
    return QueryRow(given.queries[heads], given.weights[heads], given.keys, given.scales)


def test_the_variance_of_any_order_is_the_mean_over_all_orders_or_that_of_the_given_one():
    for seed in range(5):
        given = row(seed)
        orders = [scores(reordered(given, order)) for order in itertools.permutations(range(HEADS))]
        mean = torch.stack([each.peer_sigma.square() for each in orders]).mean(dim=0)
        found = scores(given)
        wanted = torch.maximum(mean, found.peer_sigma.square())
        assert torch.allclose(found.sigma.square(), wanted, rtol=1e-6)


def test_a_sum_that_never_rounds_has_no_error_in_any_order():
    given = row(0)
    exact = QueryRow(torch.ones(HEADS, DIMS).double(), torch.ones(HEADS).double(), given.keys.sign(), torch.ones(KEYS))
    found = scores(QueryRow(exact.queries, exact.weights, exact.keys, exact.scales.double()))
    assert not found.sigma.any()
    assert torch.equal(peer_scores(exact).double(), found.value)
