"""Guarded memory: damage is found and named to the byte, strides are kept, wide tensors stay unmapped."""

from __future__ import annotations

import resource
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rocassay.harness.arena import DENSE_LIMIT, GUARD_BYTES, Guarded, Placed
from rocassay.harness.inputs import Operands, Placement

CPU = torch.device("cpu")
WIDE = Placement((2**29, 1), lead=2**31)
"""float32 rows that lie 2^31 bytes apart, with as much room in front."""


def guarded(logical: torch.Tensor, placement: Placement | None = None) -> Guarded:
    return Guarded("x", logical, placement or Placement(), CPU)


def overwrite(tensor: Guarded, offset: int, by: int = 1) -> None:
    """Change the byte at `offset` from the tensor's first one, whatever lies there."""
    storage = torch.tensor([], dtype=torch.uint8).set_(tensor.view.untyped_storage())
    first = tensor.view.storage_offset() * tensor.view.element_size()
    storage[first + offset] += by


def counting(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.arange(torch.Size(shape).numel()).reshape(shape).to(dtype)


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


@pytest.mark.parametrize(
    ("offset", "named"),
    [
        (-1, "the first 1 bytes before x"),
        (-GUARD_BYTES, f"the first {GUARD_BYTES} bytes before x"),
        (12, "the first in a stride gap of x, 12 bytes from its start"),
        (19, "the first in a stride gap of x, 19 bytes from its start"),
        (32, "the first 0 bytes past the end of x"),
        (31 + GUARD_BYTES, f"the first {GUARD_BYTES - 1} bytes past the end of x"),
    ],
)
def test_a_changed_byte_outside_the_elements_is_found_and_named(offset: int, named: str):
    tensor = guarded(counting(2, 3), Placement((5, 1)))
    assert tensor.damage() is None
    overwrite(tensor, offset)
    assert str(tensor.damage()) == f"1 guard bytes overwritten, {named}"


@settings(max_examples=15, deadline=None)
@given(st.sets(st.integers(-GUARD_BYTES, 31 + GUARD_BYTES), min_size=1, max_size=5))
def test_every_guard_byte_is_watched_and_no_element_is(offsets: set[int]):
    tensor = guarded(counting(2, 3), Placement((5, 1)))
    elements = set(range(12)) | set(range(20, 32))
    for offset in offsets:
        overwrite(tensor, offset, by=17)
    outside = sorted(offsets - elements)
    damage = tensor.damage()
    assert (damage.offset, damage.count) == (outside[0], len(outside)) if damage else not outside


def test_a_shifted_copy_of_the_guard_band_is_damage():
    tensor = guarded(counting(8))
    storage = torch.tensor([], dtype=torch.uint8).set_(tensor.view.untyped_storage())
    storage[4096:8192] = storage[0:4096].clone()
    assert tensor.damage() is not None


@pytest.mark.parametrize("dtype", [torch.uint8, torch.bfloat16, torch.int32, torch.float64])
@pytest.mark.parametrize("placement", [Placement(), Placement((29, 7, 2)), Placement((1, 2, 6), lead=300)], ids=str)
def test_a_view_has_the_values_and_the_strides_that_were_asked_for(dtype: torch.dtype, placement: Placement):
    logical = counting(2, 3, 2, dtype=dtype)
    tensor = guarded(logical, placement)
    assert tensor.view.stride() == (placement.strides or logical.stride())
    assert torch.equal(tensor.view, logical)
    assert tensor.view.data_ptr() % logical.element_size() == 0
    assert tensor.unchanged()
    assert tensor.damage() is None


@pytest.mark.parametrize("shape", [(0,), (3, 0), (1,)])
def test_empty_and_tiny_tensors_are_guarded_too(shape: tuple[int, ...]):
    tensor = guarded(torch.zeros(shape))
    assert tensor.unchanged()
    overwrite(tensor, tensor.span)
    assert str(tensor.damage()) == "1 guard bytes overwritten, the first 0 bytes past the end of x"


def test_strides_of_another_rank_are_refused():
    with pytest.raises(ValueError, match="zip"):
        guarded(counting(2, 3), Placement((1,)))


def test_a_wide_tensor_does_not_become_resident():
    before = resident_bytes()
    tensor = guarded(counting(4, 64), WIDE)
    assert tensor.damage() is None
    assert torch.equal(tensor.view, counting(4, 64))
    assert tensor.span > 3 * 2**31
    assert resident_bytes() - before < DENSE_LIMIT


@pytest.mark.parametrize(
    ("offset", "named"),
    [
        (-1, "the first 1 bytes before x"),
        (-(2**31) - GUARD_BYTES, f"the first {2**31 + GUARD_BYTES} bytes before x"),
        (3 * 2**31 + 256, "the first 0 bytes past the end of x"),
    ],
)
def test_the_bands_of_a_wide_tensor_are_watched(offset: int, named: str):
    tensor = guarded(counting(4, 64), WIDE)
    overwrite(tensor, offset)
    assert str(tensor.damage()).endswith(named)


@pytest.mark.parametrize("lead", [0, 256, 4096, GUARD_BYTES, GUARD_BYTES + 256, 3 * GUARD_BYTES])
def test_overlapping_bands_of_a_wide_tensor_raise_no_false_alarm(lead: int):
    tensor = guarded(counting(2, 4), Placement((DENSE_LIMIT, 1), lead=lead))
    assert tensor.damage() is None
    overwrite(tensor, -1)
    assert str(tensor.damage()).endswith("the first 1 bytes before x")


def call() -> Operands:
    return Operands(
        inputs={"x": counting(2, 3), "nan": torch.full((2,), torch.nan)},
        outputs={"out": counting(3, 2).bfloat16()},
        scalars={"n": 5, "word": "ue8m0"},
        workspaces={"scratch": torch.full((4,), torch.nan)},
        placements={"out": Placement((9, 2)), "x": Placement((5, 1))},
    )


def test_a_launcher_gets_guarded_views_of_every_tensor_and_the_scalars():
    placed = Placed(call(), CPU)
    arguments = placed.arguments()
    assert sorted(arguments) == ["n", "nan", "out", "scratch", "word", "x"]
    assert (arguments["n"], arguments["word"]) == (5, "ue8m0")
    assert arguments["x"] is placed.guarded["x"].view


def test_outputs_are_contiguous_copies_of_what_was_written_through_the_view():
    placed = Placed(call(), CPU)
    placed.guarded["out"].view[1, 1] = 40
    outputs = placed.outputs()
    wanted = counting(3, 2).bfloat16()
    wanted[1, 1] = 40
    assert list(outputs) == ["out"]
    assert torch.equal(outputs["out"], wanted)
    assert outputs["out"].is_contiguous()
    placed.guarded["out"].view.zero_()
    assert torch.equal(outputs["out"], wanted)


def test_outputs_are_copies_of_contiguous_tensors_too():
    placed = Placed(Operands(inputs={}, outputs={"out": counting(3, 2)}), CPU)
    outputs = placed.outputs()
    placed.guarded["out"].view.zero_()
    assert torch.equal(outputs["out"], counting(3, 2))


def test_refilling_keeps_the_address_and_makes_values_and_guards_those_of_a_first_fill():
    placed = Placed(call(), CPU)
    address = placed.guarded["x"].view.data_ptr()
    overwrite(placed.guarded["out"], -3)
    placed.guarded["x"].view.zero_()
    placed.refill(replace(call(), inputs={"x": counting(2, 3) + 1, "nan": torch.zeros(2)}))
    assert placed.guarded["x"].view.data_ptr() == address
    assert torch.equal(placed.guarded["x"].view, counting(2, 3) + 1)
    assert torch.equal(placed.outputs()["out"], counting(3, 2).bfloat16())
    assert placed.damages() == []
    assert placed.mutated_inputs() == []


def test_only_inputs_whose_bytes_changed_are_named_and_nan_equals_itself():
    placed = Placed(call(), CPU)
    assert placed.mutated_inputs() == []
    placed.guarded["out"].view.zero_()
    placed.guarded["scratch"].view.zero_()
    assert placed.mutated_inputs() == []
    placed.guarded["x"].view[0, 0] = -0.0
    assert placed.mutated_inputs() == ["x"]
    placed.guarded["nan"].view[1] = 0
    assert placed.mutated_inputs() == ["x", "nan"]


def test_damage_is_listed_for_every_tensor_in_argument_order():
    placed = Placed(call(), CPU)
    for name in ("scratch", "x"):
        overwrite(placed.guarded[name], -3)
    assert [damage.tensor for damage in placed.damages()] == ["x", "scratch"]


def test_operands_themselves_are_never_written():
    operands = call()
    placed = Placed(operands, CPU)
    for tensor in placed.guarded.values():
        tensor.view.fill_(9)
    assert torch.equal(operands.inputs["x"], counting(2, 3))
    assert torch.equal(operands.outputs["out"], counting(3, 2).bfloat16())


def test_elements_of_nobody_that_change_are_damage_and_others_are_not():
    operands = replace(call(), unwritten={"scratch": torch.tensor([False, True, False, True])})
    placed = Placed(operands, CPU)
    assert placed.damages() == []
    placed.guarded["scratch"].view[::2] = 1
    assert placed.damages() == []
    placed.guarded["scratch"].view[3] = 1
    (damage,) = placed.damages()
    assert str(damage).endswith("bytes of nobody's elements overwritten, the first in scratch[3]")
    placed.refill(operands)
    assert placed.damages() == []


def test_a_refill_tells_anew_which_elements_are_nobodys():
    placed = Placed(call(), CPU)
    placed.refill(replace(call(), unwritten={"scratch": torch.ones(4, dtype=torch.bool)}))
    placed.guarded["scratch"].view[1] = 0
    assert [damage.element for damage in placed.damages()] == [(1,)]
