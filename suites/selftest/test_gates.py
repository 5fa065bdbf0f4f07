"""Gates: quiet on the roundings they allow, red on every defect they claim to see, with the right element named."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from rocassay.harness.gates import ExactBytes, Verdict, Whitened
from rocassay.harness.gates.whitened import MAX_Z, PEER_RMS, ROW_MINIMUM, WORST_ROW_T
from rocassay.harness.inputs import Stream
from rocassay.harness.plan import LOG_UNIFORM_RMS, UNIT_ROUNDOFF, RoundingPlan

ROWS, COLUMNS = 8, 512
RELATIVE_SIGMA = LOG_UNIFORM_RMS * UNIT_ROUNDOFF["bfloat16"]
"""rms relative error of one rounding to bfloat16."""
SEEDS = 150


def noise(seed: int) -> torch.Tensor:
    return torch.from_numpy(Stream("noise", seed).gaussian((ROWS, COLUMNS)))


def expectation(seed: int = 0, **changes: Any) -> Whitened:
    """A golden of normal numbers, each rounded once to bfloat16."""
    golden = torch.from_numpy(Stream("golden", seed).gaussian((ROWS, COLUMNS)))
    parts = {
        "golden": golden,
        "sigma": RELATIVE_SIGMA * golden.abs(),
        "bound": 8 * RELATIVE_SIGMA * golden.abs(),
        "visible": torch.ones(golden.shape, dtype=torch.bool),
    }
    return Whitened(**{**parts, **changes})


def rounded(gate: Whitened, seed: int = 0) -> torch.Tensor:
    """An output with exactly the planned noise."""
    return gate.golden + gate.sigma * noise(seed)


def failures(gate: Whitened, actual: torch.Tensor) -> dict[str, Verdict]:
    return {verdict.name: verdict for verdict in gate.judge("out", actual) if not verdict.passed}


def test_planned_noise_raises_no_false_alarm_over_many_seeds():
    alarms = [seed for seed in range(SEEDS) if failures(gate := expectation(seed), rounded(gate, seed))]
    assert alarms == []


def test_whitened_noise_has_unit_rms_and_no_bias():
    gate = expectation()
    verdict = next(v for v in gate.judge("out", rounded(gate)) if v.name == "max-z")
    five_spreads = 5 / math.sqrt(2 * ROWS * COLUMNS)
    assert verdict.metrics["rms_z"] == pytest.approx(1, abs=five_spreads)
    assert verdict.metrics["mean_z"] == pytest.approx(0, abs=2 * five_spreads)


def test_rounding_to_bfloat16_itself_passes():
    gate = expectation()
    assert failures(gate, gate.golden.bfloat16()) == {}


def test_a_relative_error_of_2_to_the_minus_9_in_fp32_results_is_seen():
    gate = expectation()
    fp32 = LOG_UNIFORM_RMS * UNIT_ROUNDOFF["float32"]
    gate = replace(gate, sigma=fp32 * gate.golden.abs(), bound=8 * fp32 * gate.golden.abs())
    assert {"bound", "max-z", "worst-row"} <= failures(gate, gate.golden * (1 + 2.0**-9)).keys()


def test_coherent_errors_too_small_for_any_element_are_seen_by_their_row():
    gate = expectation()
    actual = rounded(gate)
    actual[3] = gate.golden[3] * (1 + 2 * RELATIVE_SIGMA)
    found = failures(gate, actual)
    assert list(found) == ["worst-row"]
    assert found["worst-row"].index is not None
    assert found["worst-row"].index[0] == 3


def test_swapped_rows_are_seen():
    gate = expectation()
    actual = rounded(gate)
    actual[[2, 5]] = actual[[5, 2]]
    found = failures(gate, actual)
    assert {"bound", "max-z", "worst-row"} <= found.keys()
    assert found["bound"].index is not None
    assert found["bound"].index[0] == 2


def test_one_stale_element_is_seen_and_named():
    gate = expectation()
    actual = rounded(gate)
    actual[6, 77] = actual[6, 78]
    found = failures(gate, actual)
    assert found["bound"].index == found["max-z"].index == (6, 77)
    assert found["bound"].output == "out"


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_one_non_finite_value_too_many_is_seen_and_named(bad: float):
    gate = expectation()
    actual = rounded(gate)
    actual[1, 2] = bad
    found = failures(gate, actual)
    assert found["nonfinite"].index == (1, 2)
    assert "the first (visible)" in found["nonfinite"].detail


@pytest.mark.parametrize("wanted", [math.nan, math.inf, -math.inf])
def test_a_non_finite_golden_value_must_be_there_and_be_the_same(wanted: float):
    gate = expectation()
    gate.golden[4, 5] = wanted
    gate = replace(gate, sigma=RELATIVE_SIGMA * gate.golden.abs(), bound=RELATIVE_SIGMA * 8 * gate.golden.abs())
    right = torch.where(gate.golden.isfinite(), gate.golden, wanted)
    assert failures(gate, right) == {}
    for other in {0.0, math.inf, -math.inf} - {wanted}:
        wrong = right.clone()
        wrong[4, 5] = other
        assert failures(gate, wrong)["nonfinite"].index == (4, 5)


def undefined(**changes: Any) -> Whitened:
    """Column 0 is undefined and held 5 before."""
    gate = expectation()
    visible = gate.visible.clone()
    visible[:, 0] = False
    return replace(gate, visible=visible, initial=torch.full((ROWS, COLUMNS), 5.0), **changes)


@pytest.mark.parametrize(
    ("outside", "value", "passes"),
    [
        ((-math.inf,), 5.0, True),
        ((-math.inf,), -math.inf, True),
        ((-math.inf,), math.inf, False),
        ((-math.inf,), 0.0, False),
        ((-math.inf,), math.nan, False),
        ((0.0,), -math.inf, False),
        ((), -math.inf, True),
        ((), math.nan, True),
    ],
)
def test_an_undefined_place_holds_what_it_held_or_what_is_allowed(outside, value: float, passes: bool):
    gate = undefined(outside=outside)
    actual = rounded(gate)
    actual[:, 0] = 5.0
    actual[3, 0] = value
    found = failures(gate, actual)
    assert (found == {}) == passes
    assert passes or "the first (undefined)" in found["nonfinite"].detail


def test_errors_in_undefined_places_do_not_count():
    gate = undefined()
    actual = rounded(gate)
    actual[:, 0] = 1e30
    assert failures(gate, actual) == {}


def test_an_exact_element_may_not_be_off_by_anything():
    gate = expectation()
    sigma = gate.sigma.clone()
    sigma[0, 9] = 0
    gate = replace(gate, sigma=sigma)
    actual = rounded(gate)
    assert failures(gate, actual) == {}
    actual[0, 9] += 1e-12
    found = failures(gate, actual)
    assert {name: verdict.index for name, verdict in found.items()} == {"max-z": (0, 9)}
    assert found["max-z"].statistic == math.inf


def test_an_element_with_bound_zero_may_not_be_off_by_anything():
    gate = expectation()
    gate.bound[0, 9] = gate.sigma[0, 9] = 0
    actual = gate.golden.clone()
    assert failures(gate, actual) == {}
    actual[0, 9] += 1e-12
    assert failures(gate, actual)["bound"].index == (0, 9)


@pytest.mark.parametrize("field", ["sigma", "bound"])
def test_a_model_that_is_nan_lets_nothing_pass(field: str):
    gate = expectation()
    getattr(gate, field)[2, 3] = math.nan
    assert failures(gate, rounded(gate))


@pytest.mark.parametrize(("use", "passes"), [(0.999, True), (1.001, False)])
def test_the_hard_bound_holds_on_both_sides_of_its_limit(use: float, passes: bool):
    gate = expectation(model_holds=False)
    assert ("bound" not in failures(gate, gate.golden + use * gate.bound)) == passes


@pytest.mark.parametrize(("z", "passes"), [(MAX_Z * 0.999, True), (MAX_Z * 1.001, False)])
def test_the_largest_z_holds_on_both_sides_of_its_limit(z: float, passes: bool):
    gate = expectation()
    actual = gate.golden.clone()
    actual[7, 1] -= z * gate.sigma[7, 1]
    assert ("max-z" not in failures(gate, actual)) == passes


@pytest.mark.parametrize(("factor", "passes"), [(0.99, True), (1.01, False)])
def test_the_worst_row_holds_on_both_sides_of_its_limit(factor: float, passes: bool):
    gate = expectation()
    row_rms = math.sqrt(1 + factor * WORST_ROW_T * math.sqrt(2 / COLUMNS))
    actual = gate.golden.clone()
    actual[5] += row_rms * gate.sigma[5]
    assert ("worst-row" not in failures(gate, actual)) == passes


def test_errors_that_a_row_has_in_common_widen_its_limit():
    gate = expectation()
    actual = gate.golden.clone()
    actual[5] += 2 * gate.sigma[5]
    assert "worst-row" in failures(gate, actual)
    assert failures(replace(gate, share=torch.full((ROWS,), 0.5, dtype=torch.float64)), actual) == {}


def test_short_rows_are_left_to_the_other_gates():
    gate = expectation()
    short = replace(gate, visible=gate.visible & (torch.arange(COLUMNS) < ROW_MINIMUM - 1))
    long = replace(gate, visible=gate.visible & (torch.arange(COLUMNS) < ROW_MINIMUM))
    actual = gate.golden + 4 * gate.sigma
    assert failures(short, actual) == {}
    assert list(failures(long, actual)) == ["worst-row"]


def test_degenerate_inputs_are_judged_by_the_bound_alone():
    gate = expectation(model_holds=False)
    assert failures(gate, gate.golden + 7.5 * gate.sigma) == {}
    assert list(failures(gate, gate.golden + 8.5 * gate.sigma)) == ["bound"]


def test_an_output_without_elements_passes():
    empty = torch.zeros((0, 4), dtype=torch.float64)
    gate = Whitened(empty, empty, empty, empty.bool())
    assert failures(gate, empty.float()) == {}


def test_the_peers_rms_is_accepted_for_planned_noise_and_refused_for_twice_as_much():
    gate = expectation()
    low, high = gate.peer_limits()
    assert low <= gate.rms_z(rounded(gate)) <= high
    assert gate.rms_z(gate.golden + 2 * gate.sigma * noise(1)) > high
    assert gate.rms_z(gate.golden + gate.sigma * noise(1) / 2) < low


def test_the_peers_limits_narrow_towards_the_stated_range_with_more_elements():
    few = expectation(visible=torch.arange(COLUMNS).expand(ROWS, -1) < 16)
    many = expectation()
    assert few.peer_limits()[0] < many.peer_limits()[0] < PEER_RMS[0]
    assert few.peer_limits()[1] > many.peer_limits()[1] > PEER_RMS[1]


def test_equal_bytes_pass_the_exact_gate_even_where_they_are_nan():
    expected = torch.tensor([[1.0, math.nan], [-0.0, math.inf]])
    (verdict,) = ExactBytes(expected).judge("out", expected.clone())
    assert verdict.passed
    assert verdict.statistic == 0


@pytest.mark.parametrize("dtype", [torch.uint8, torch.bfloat16, torch.float32, torch.int64])
def test_the_exact_gate_names_the_first_wrong_element_and_counts_bytes(dtype: torch.dtype):
    expected = torch.zeros((3, 4, 5), dtype=dtype)
    actual = expected.clone()
    actual[1, 2, 3] = actual[2, 0, 0] = 1
    (verdict,) = ExactBytes(expected).judge("out", actual)
    changed = int((actual[1, 2, 3].reshape(1).view(torch.uint8) != 0).sum())
    assert not verdict.passed
    assert (verdict.output, verdict.index) == ("out", (1, 2, 3))
    assert verdict.statistic == 2 * changed


def test_the_exact_gate_tells_the_two_zeros_apart():
    (verdict,) = ExactBytes(torch.tensor([0.0])).judge("out", torch.tensor([-0.0]))
    assert not verdict.passed
    assert "found 0x80, expected 0x00" in verdict.detail


def test_an_alternative_allows_its_own_bytes_and_no_others():
    expected, other = torch.tensor([1, 2, 3], dtype=torch.uint8), torch.tensor([9, 2, 3], dtype=torch.uint8)
    gate = ExactBytes(expected, (other,))
    for values, passes in (([1, 2, 3], True), ([9, 2, 3], True), ([8, 2, 3], False), ([9, 2, 9], False)):
        (verdict,) = gate.judge("out", torch.tensor(values, dtype=torch.uint8))
        assert verdict.passed == passes, values


def shaped(gate: Whitened, *shape: int) -> Whitened:
    """The same model of an output with other row dimensions."""
    parts = {name: getattr(gate, name).reshape(*shape, COLUMNS) for name in ("golden", "sigma", "bound", "visible")}
    return replace(gate, **parts, share=None if gate.share is None else gate.share.reshape(shape))


@pytest.mark.parametrize("shape", [(2, 4), (2, 2, 2), (8, 1)])
@pytest.mark.parametrize("common", [None, 0.25])
def test_rows_of_any_number_of_dimensions_are_judged_as_the_same_rows_in_two(
    shape: tuple[int, ...], common: float | None
):
    share = None if common is None else torch.linspace(0, common, ROWS, dtype=torch.float64)
    flat = expectation(share=share)
    actual = rounded(flat)
    actual[5] += 3 * flat.sigma[5]
    found = shaped(flat, *shape).judge("out", actual.reshape(*shape, COLUMNS))
    wanted = flat.judge("out", actual)
    assert [(v.name, v.passed, v.statistic, v.metrics) for v in found] == [
        (v.name, v.passed, v.statistic, v.metrics) for v in wanted
    ]
    assert shaped(flat, *shape).peer_limits() == flat.peer_limits()


def test_the_worst_row_is_named_by_all_its_indices():
    flat = expectation()
    actual = rounded(flat)
    actual[5] += 3 * flat.sigma[5]
    verdict = failures(shaped(flat, 2, 4), actual.reshape(2, 4, COLUMNS))["worst-row"]
    assert verdict.detail.startswith("worst row 1, 1: t = ")
    assert verdict.index is not None
    assert verdict.index[:2] == (1, 1)
    assert verdict.index[2] == int(flat.z(actual)[5].abs().argmax())


def test_an_output_of_one_dimension_is_one_row():
    flat = expectation()
    gate = replace(flat, **{name: getattr(flat, name)[0] for name in ("golden", "sigma", "bound", "visible")})
    actual = rounded(flat)[0]
    assert failures(gate, actual) == {}
    verdict = failures(gate, actual + 3 * gate.sigma)["worst-row"]
    assert verdict.index == (int(gate.z(actual + 3 * gate.sigma).abs().argmax()),)


def test_a_row_in_which_nothing_rounds_has_no_say_in_what_a_peer_is_granted():
    first = torch.arange(ROWS) == 0
    exact = expectation().sigma.masked_fill(first[:, None], 0.0)
    share = torch.full((ROWS,), 0.5, dtype=torch.float64).masked_fill(first, math.nan)
    parts = ("golden", "sigma", "bound", "visible")
    without = replace(expectation(), **{name: getattr(expectation(), name)[1:] for name in parts})
    wanted = replace(without, share=share[1:]).peer_limits()
    assert expectation(sigma=exact, share=share).peer_limits() == pytest.approx(wanted)


def test_a_peer_is_granted_the_spread_of_its_independent_errors():
    alone = expectation().peer_limits()
    assert alone[1] - PEER_RMS[1] == pytest.approx(5 / math.sqrt(2 * ROWS * COLUMNS))
    common = expectation(share=torch.full((ROWS,), 0.5, dtype=torch.float64)).peer_limits()
    one_error_a_row = 2.5 * math.sqrt((0.54 + 2 / COLUMNS) / ROWS)
    assert common[1] - PEER_RMS[1] == pytest.approx(one_error_a_row)
    assert common[0] < alone[0]


def test_shares_of_more_than_the_whole_variance_are_refused():
    with pytest.raises(ValueError, match=r"shares 1.5 of a row's variance"):
        expectation(share=torch.full((ROWS,), 1.5, dtype=torch.float64))


@pytest.mark.parametrize("gate", [ExactBytes(torch.zeros(4, dtype=torch.float64)), expectation()], ids=["exact", "z"])
def test_a_golden_of_another_shape_is_refused_instead_of_broadcast(gate):
    with pytest.raises(ValueError, match="golden of out has shape"):
        gate.judge("out", torch.zeros(1, dtype=torch.float64))


def test_a_plan_names_only_formats_whose_roundoff_is_known():
    assert RoundingPlan((), "moves bytes").exact
    assert not RoundingPlan((("out", "bfloat16"),), "rounds once").exact
    with pytest.raises(ValueError, match=r"unknown formats \['bf16'\]"):
        RoundingPlan((("out", "bf16"),), "rounds once")


def test_a_peer_of_known_order_is_held_to_its_own_sigma_and_a_kernel_to_the_wider_one():
    narrow = expectation()
    gate = expectation(sigma=2 * narrow.sigma, peer_sigma=narrow.sigma)
    peer = rounded(narrow, 1)
    low, high = gate.of_peer().peer_limits()
    assert low <= gate.of_peer().rms_z(peer) <= high
    assert gate.rms_z(peer) < low
    assert gate.of_peer().of_peer().sigma is narrow.sigma
