"""One instruction on registers that a test fills: what the tests of the machine-code engine's units share."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rocassay.harness.engines.isa import asm, mfma, salu, valu
from rocassay.harness.engines.isa.state import LANES, State
from rocassay.harness.engines.isa.steps import Step

ALL = (1 << LANES) - 1
"""Every lane executes."""

SPECIALS = np.array(
    [0, 0x80000000, 1, 0x80000001, 0x007FFFFF, 0x00800000, 0x80800000, 0x3F800000, 0xBF800000, 0x7F7FFFFF, 0xFF7FFFFF,
     0x7F800000, 0xFF800000, 0x7FC00000, 0xFFC12345, 0x7F800001, 0xFFA00000, 0x7FFFFFFF, 0xFFFFFFFF, 0x4B800000],
    np.uint32,
)  # fmt: skip
"""float32 bits of zeros, denormals, ones, the largest numbers, infinities and NaNs; as integers the extremes."""


def words(seed: int, *shape: int) -> NDArray[np.uint32]:
    """Random bits, one word in eight a special one."""
    draw = np.random.default_rng(seed)
    plain = draw.integers(0, 1 << 32, shape, dtype=np.uint32)
    return np.where(draw.random(shape) < 1 / 8, draw.choice(SPECIALS, shape), plain)


def blank(waves: int = 1, vectors: int = 64, accumulators: int = 0) -> State:
    """Registers full of rubbish; all lanes execute."""
    state = State(
        pc=0,
        waves=np.arange(waves),
        group=np.zeros(waves, np.int64),
        world=np.zeros(waves, np.int64),
        v=words(101, vectors, waves, LANES),
        a=words(102, accumulators, waves, LANES),
        s=words(103, 128, waves),
        scc=np.zeros(waves, np.bool_),
        mask=np.ones((waves, LANES), np.bool_),
    )
    execute(state, ALL)
    return state


def execute(state: State, lanes: int) -> None:
    """Let these lanes of every wave execute."""
    state.put_scalar64(asm.EXEC, np.full(state.count, lanes, np.uint64))


@functools.cache
def step(text: str, arch: str = "gfx950") -> Step:
    """The step of an instruction, as the machine builds it."""
    instruction = asm.instruction(text)
    built = salu.build(instruction) or mfma.build(instruction, arch) or valu.build(instruction, arch)
    assert built, text
    return built


def run(text: str, state: State, arch: str = "gfx950") -> State:
    """Execute one instruction; the state is changed and returned."""
    with np.errstate(all="ignore"):
        step(text, arch)(state)
    return state


def lanes_of(values: Mapping[int, Any], *, exec_: int = ALL, scalars: Mapping[int, int] | None = None) -> State:
    """A state with enough waves for the longest array, across lanes and waves; the last value is repeated."""
    length = max((np.size(value) for value in values.values()), default=1)
    state = blank(-(-length // LANES))
    for index, value in values.items():
        flat = np.ravel(np.asarray(value))
        bits = flat.view(np.uint32) if flat.dtype.itemsize == 4 else flat.astype(np.uint32)
        full = np.full(state.count * LANES, bits[-1], np.uint32)
        full[: len(bits)] = bits
        state.v[index] = full.reshape(state.count, LANES)
    for index, value in (scalars or {}).items():
        state.s[index] = value
    execute(state, exec_)
    return state


def result(state: State, index: int, count: int, kind: Any = np.uint32) -> Any:
    """The first `count` values of a vector register across lanes and waves."""
    return state.v[index].reshape(-1)[:count].view(kind)


def mask(state: State, index: int, count: int) -> NDArray[np.bool_]:
    """The first `count` bits of a lane mask in scalar registers across waves."""
    return state.mask_of(index).reshape(-1)[:count]
