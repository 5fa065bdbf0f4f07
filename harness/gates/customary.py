"""Customary rules: what the tests of other projects would say of an output. Recorded for comparison, never judged.

Each rule gives a number and the limit that its project uses, in units of which it is recorded: above 1 the rule would
have failed the output. They are given every advantage: our inputs, the float64 golden instead of a reference of their
own, every visible element, and a wrong set of non-finite values counts as seen by all of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from rocassay.harness.gates.whitened import Whitened


@dataclass(frozen=True, slots=True)
class Compared:
    """Visible finite elements of one output."""

    found: torch.Tensor
    """float64 [n]."""
    golden: torch.Tensor
    """float64 [n]."""
    peer: float | None
    """Largest error of the torch peer among them; None where it did not run."""

    @property
    def error(self) -> torch.Tensor:
        """|found - golden|, float64 [n]."""
        return (self.found - self.golden).abs()


@dataclass(frozen=True, slots=True)
class Rule:
    """How a project decides whether an output is right."""

    name: str
    """What a table calls it."""
    source: str
    """Where it is in use."""
    limit: float
    """What the statistic may reach."""
    statistic: Callable[[Compared], float | None]
    """The number that is compared with the limit; None where the rule has nothing to say."""


def _share_beyond(tolerance: float) -> Callable[[Compared], float]:
    def share(compared: Compared) -> float:
        allowed = tolerance + tolerance * compared.golden.abs()
        return float((compared.error > allowed).double().mean())

    return share


def _largest_beyond(tolerance: float) -> Callable[[Compared], float]:
    def largest(compared: Compared) -> float:
        return float((compared.error / (tolerance + tolerance * compared.golden.abs())).max())

    return largest


def _cosine(compared: Compared) -> float:
    """1 - 2 sum(xy) / sum(x^2 + y^2): DeepGEMM's calc_diff, also over the whole tensor."""
    energy = float((compared.found.square() + compared.golden.square()).sum())
    return 1 - 2 * float((compared.found * compared.golden).sum()) / energy if energy else 0.0


def _flash_mla(compared: Compared) -> float:
    """The absolute or the relative threshold for every element, and the cosine's for all: in units of the limits."""
    absolute, relative = compared.error / 1e-3, compared.error / (compared.golden.abs() + 1e-6) / (2.01 / 128)
    return max(float(torch.minimum(absolute, relative).max()), _cosine(compared) / 5e-6)


def _twice_the_peer(compared: Compared) -> float | None:
    if compared.peer is None:
        return None
    largest = float(compared.error.max())
    return largest / compared.peer if compared.peer else (math.inf if largest else 0.0)


RULES: tuple[Rule, ...] = (
    Rule(
        "5 % beyond 1e-2", "ROCm/aiter checkAllclose (rtol, atol 1e-2, 5 % of the elements)", 0.05, _share_beyond(1e-2)
    ),
    Rule("cosine 3e-2", "ROCm/aiter test_mla_sparse.py fp8, test_mla_persistent.py fp8", 3e-2, _cosine),
    Rule("cosine 1e-5", "FlashMLA, vLLM test_flashmla.py cal_diff", 1e-5, _cosine),
    Rule("2e-2", "vLLM test_rocm_triton_attn_dsv4.py (rtol, atol 2e-2)", 1.0, _largest_beyond(2e-2)),
    Rule("FlashMLA", "FlashMLA sparse decode: 1e-3 or 2.01/128 each, cosine 5e-6", 1.0, _flash_mla),
    Rule("2x peer", "FlashAttention: twice the largest error of torch in the same dtype", 2.0, _twice_the_peer),
)
"""In the order of a table's columns."""


def uses(
    expectations: Mapping[str, object], outputs: Mapping[str, torch.Tensor], peers: Mapping[str, float]
) -> dict[str, float]:
    """Statistic / limit of each rule, the largest of all floating-point outputs; empty where there is none.

    `peers`: largest error of the torch peer by output. Infinite where non-finite values stand in wrong places.
    """
    found: dict[str, float] = {}
    for name, expectation in expectations.items():
        if isinstance(expectation, Whitened):
            for rule, use in _uses_of(expectation, outputs[name].double(), peers.get(name)).items():
                found[rule] = max(use, found.get(rule, 0.0))
    return found


def _uses_of(expectation: Whitened, found: torch.Tensor, peer: float | None) -> dict[str, float]:
    visible, golden = expectation.visible, expectation.golden
    if not bool(visible.any()):
        return {}
    finite = visible & golden.isfinite()
    same = torch.where(golden.isfinite(), found.isfinite(), (found == golden) | (found.isnan() & golden.isnan()))
    misplaced = bool((visible & ~same).any())
    compared = Compared(found[finite], golden[finite], peer)
    uses: dict[str, float] = {}
    for rule in RULES:
        statistic = math.inf if misplaced else 0.0 if not len(compared.found) else rule.statistic(compared)
        if statistic is not None:
            uses[rule.name] = float(f"{statistic / rule.limit:.4g}")
    return uses


def largest_error(expectation: Whitened, found: torch.Tensor) -> float:
    """Largest error among visible elements that are finite in both."""
    finite = expectation.visible & expectation.golden.isfinite() & found.double().isfinite()
    return float((found.double() - expectation.golden)[finite].abs().max()) if bool(finite.any()) else 0.0
