"""Out-of-bounds accesses are found, named and suppressed."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest
import torch
import triton
import triton.language as tl
from hypothesis import given
from hypothesis import strategies as st

from rocassay.harness.engines.base import Finding
from rocassay.harness.engines.interpreter import InterpreterEngine
from rocassay.harness.engines.memory import Memory, Span, span_of

POISON = torch.full((4,), 0x7F, dtype=torch.uint8).view(torch.int32).item()


@triton.jit
def copy(src, dst, n, shift, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    x = tl.load(src + i + shift, i < n, other=-1)
    tl.store(dst + i, x, i < n)


@triton.jit
def store_at(dst, offset, value):
    tl.store(dst + offset, value)


@triton.jit
def store_many(src, places, dst, n, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    tl.store(dst + tl.load(places + i), tl.load(src + i), i < n)


@triton.jit
def add_at(dst, offset):
    tl.atomic_add(dst + offset, 1)


def run(kernel: Any, grid: tuple[int, ...], *args: Any, **kwargs: Any) -> list[Finding]:
    with InterpreterEngine().session() as trace:
        kernel[grid](*args, **kwargs)
    return trace.findings


def line_of(kernel: Any, text: str) -> int:
    lines, start = inspect.getsourcelines(kernel.fn)
    (line,) = (start + index for index, line in enumerate(lines) if text in line)
    return line


def ints(count: int) -> torch.Tensor:
    return torch.arange(count, dtype=torch.int32)


def test_accesses_within_the_tensors_are_no_finding():
    src, dst = ints(64), torch.zeros(64, dtype=torch.int32)
    assert run(copy, (4,), src, dst, 64, 0, BLOCK=16) == []
    assert torch.equal(src, dst)


def test_a_read_past_the_end_is_found_named_and_poisoned():
    src, dst = ints(64)[:62], torch.zeros(64, dtype=torch.int32)
    (finding,) = run(copy, (4,), src, dst, 64, 0, BLOCK=16)
    assert finding == Finding(
        kind="out_of_bounds_read",
        kernel="copy",
        tensor="src",
        byte_offset=62 * 4,
        program=(3, 0, 0),
        line=line_of(copy, "tl.load"),
        lanes=2,
    )
    assert dst.tolist() == [*range(62), POISON, POISON]


def test_a_read_before_the_start_has_a_negative_offset():
    storage, dst = ints(64), torch.zeros(16, dtype=torch.int32)
    (finding,) = run(copy, (1,), storage[32:], dst, 16, -3, BLOCK=16)
    assert (finding.tensor, finding.byte_offset, finding.lanes) == ("src", -12, 3)
    assert dst.tolist() == [POISON] * 3 + list(range(32, 45))


def test_the_storage_around_a_view_is_out_of_bounds_but_its_gaps_are_not():
    storage, dst = ints(64), torch.zeros(8, dtype=torch.int32)
    strided = storage[:15:2]
    assert run(copy, (1,), strided, dst, 8, 7, BLOCK=8) == []
    (finding,) = run(copy, (1,), strided, dst, 8, 8, BLOCK=8)
    assert (finding.byte_offset, finding.lanes) == (15 * 4, 1)


@pytest.mark.parametrize("offset", [-1, 8, 2**40, -(2**40), 2**61 - 1])
def test_a_write_outside_is_found_and_dropped_however_far(offset: int):
    storage = torch.zeros(24, dtype=torch.int32)
    (finding,) = run(store_at, (1,), storage[8:16], offset, 5)
    assert (finding.kind, finding.tensor, finding.byte_offset) == ("out_of_bounds_write", "dst", offset * 4)
    assert not storage.any()


def test_an_atomic_outside_is_a_write_and_dropped():
    storage = torch.zeros(8, dtype=torch.int32)
    (finding,) = run(add_at, (1,), storage[:4], 4)
    assert (finding.kind, finding.byte_offset) == ("out_of_bounds_write", 16)
    assert not storage.any()


def test_lanes_of_a_store_that_meet_with_different_values_are_found():
    places, dst = torch.tensor([3, 1, 0, 3, 2, 1, 7, 6]), torch.zeros(8, dtype=torch.int32)
    (finding,) = run(store_many, (1,), ints(8), places, dst, 8, BLOCK=8)
    assert (finding.kind, finding.tensor, finding.lanes) == ("write_conflict", "dst", 2)
    assert (finding.byte_offset, finding.line) == (4, line_of(store_many, "tl.store"))


@pytest.mark.parametrize(("values", "stored"), [((5, 6, 7, 5, 8, 6, 9, 9), 8), ((0, 1, 2, 3, 4, 5, 6, 7), 3)])
def test_lanes_that_store_the_same_or_are_masked_do_not_meet(values: tuple[int, ...], stored: int):
    places, dst = torch.tensor([3, 1, 0, 3, 2, 1, 7, 6]), torch.zeros(8, dtype=torch.int32)
    source = torch.tensor(values, dtype=torch.int32)
    assert run(store_many, (1,), source, places, dst, stored, BLOCK=8) == []


def test_masked_lanes_are_never_a_finding():
    src, dst = ints(4), torch.zeros(4, dtype=torch.int32)
    assert run(copy, (2,), src, dst, 4, 0, BLOCK=16) == []
    assert dst.tolist() == [0, 1, 2, 3]


def test_a_line_is_reported_once_with_all_its_lanes():
    # The room behind src is its own storage: elsewhere the allocator could have put dst there.
    src, dst = ints(128)[:8], torch.zeros(64, dtype=torch.int32)
    (finding,) = run(copy, (4,), src, dst, 64, 0, BLOCK=16)
    assert finding.lanes == 56
    assert finding.program == (0, 0, 0)


def test_an_access_that_straddles_the_end_is_outside():
    payload = torch.zeros(7, dtype=torch.uint8)
    memory = Memory([span_of("payload", payload)])
    start = np.uint64(payload.data_ptr())
    assert memory.outside(np.array([start + np.uint64(3)]), None, 4) is None
    outside = memory.outside(np.array([start + np.uint64(4)]), None, 4)
    assert outside is not None
    assert outside.tolist() == [True]


def test_a_finding_names_the_nearest_tensor():
    memory = Memory([Span("a", 1000, 1100), Span("b", 2000, 2100)])
    assert memory.nearest(1104, 4) == ("a", 104)
    assert memory.nearest(1990, 4) == ("b", -10)
    assert memory.nearest(1, 4) == ("a", -999)
    assert memory.nearest(2**64 - 8, 4) == ("a", -1008)


def test_an_empty_tensor_has_no_bytes_but_a_name():
    empty = torch.empty((4, 0))
    memory = Memory([span_of("empty", empty)])
    outside = memory.outside(np.array([empty.data_ptr()], dtype=np.uint64), None, 1)
    assert outside is not None
    assert outside.all()
    assert memory.nearest(empty.data_ptr(), 1)[0] == "empty"


def test_a_span_reaches_from_the_first_to_the_last_element_of_a_view():
    storage = torch.zeros(10, 16, dtype=torch.float16)
    view = storage[2:5, 3:7]
    span = span_of("view", view)
    assert span.start - storage.data_ptr() == (2 * 16 + 3) * 2
    assert span.stop - storage.data_ptr() == (4 * 16 + 7) * 2


spans = st.lists(st.tuples(st.integers(64, 160), st.integers(0, 24)), max_size=5)
addresses = st.lists(st.tuples(st.integers(0, 255), st.booleans()), min_size=1, max_size=32)


@given(spans=spans, lanes=addresses, size=st.sampled_from([1, 2, 4, 8]))
def test_outside_means_that_some_byte_belongs_to_no_tensor(
    spans: list[tuple[int, int]], lanes: list[tuple[int, bool]], size: int
):
    memory = Memory(Span(f"t{i}", start, start + length) for i, (start, length) in enumerate(spans))
    owned = {byte for start, length in spans for byte in range(start, start + length)}
    expected = [active and not owned.issuperset(range(at, at + size)) for at, active in lanes]
    mask = np.array([active for _, active in lanes])
    found = memory.outside(np.array([at for at, _ in lanes], dtype=np.uint64), mask, size)
    assert (found.tolist() if found is not None else [False] * len(lanes)) == expected
