"""Deterministic inputs: a counter-based generator, placement in memory, and digests.

Word i of a stream is a pure function of (case id, tensor name, i): Philox4x64-10 (Salmon et al., SC 2011), whose
raw output NumPy keeps stable. Numbers are made from words by integer arithmetic and exact scaling only, so the
bytes are equal on every machine and device.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# (numpy's stubs type reshape and view only partially)

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from rocassay.harness.cases import Case

Scalar = int | float | str
"""A keyword argument that is no tensor."""


class Stream:
    """A named, counter-based source of random numbers."""

    def __init__(self, *key: str | int) -> None:
        text = "\x1f".join(str(part) for part in key).encode()
        self._key = key
        self._seed = np.frombuffer(hashlib.blake2b(text, digest_size=16).digest(), dtype=np.uint64)

    @classmethod
    def of(cls, case: Case) -> Stream:
        """The stream of a case.

        The arch is left out: both chips are then judged on the same numbers, and one golden serves both.
        """
        return cls(case.op, case.fp8, case.block_size, repr(case.params), case.recipe, case.seed)

    def child(self, name: str) -> Stream:
        """An independent stream for one tensor."""
        return Stream(*self._key, name)

    def words(self, count: int) -> NDArray[np.uint64]:
        """The first `count` raw 64-bit words."""
        words: NDArray[np.uint64] = np.random.Philox(key=self._seed, counter=0).random_raw(count)
        return words

    def integers(self, low: int, high: int, size: tuple[int, ...] | int) -> NDArray[np.int64]:
        """Integers in [low, high), by multiply and shift (bias below 2^-32 for spans under 2^31)."""
        shape = (size,) if isinstance(size, int) else size
        words = self.words(math.prod(shape)) >> np.uint64(32)
        scaled: NDArray[np.int64] = ((words * np.uint64(high - low)) >> np.uint64(32)).astype(np.int64)
        return scaled.reshape(shape) + low

    def permutation(self, count: int) -> NDArray[np.int64]:
        """A permutation of 0..count-1."""
        return np.argsort(self.words(count), kind="stable").astype(np.int64)

    def gaussian(self, size: tuple[int, ...] | int) -> NDArray[np.float64]:
        """Nearly normal numbers, mean 0 and standard deviation 1.001: four uniform 16-bit lanes summed.

        Each is an integer times 111 * 2^-22, so float64 holds it exactly on every machine.
        """
        shape = (size,) if isinstance(size, int) else size
        lanes: NDArray[np.uint16] = self.words(math.prod(shape)).view(np.uint16)
        centred = lanes.reshape(*shape, 4).astype(np.int64).sum(axis=-1) - 2 * 65535
        # The variance of one lane is 2^32/12, of the sum 2^32/3; 111/64 ~ sqrt(3) keeps the arithmetic exact.
        return centred * (111.0 / 64.0) / 65536.0


@dataclass(frozen=True, slots=True)
class Placement:
    """How a tensor lies in memory: element strides and the room in front of it."""

    strides: tuple[int, ...] | None = None
    """Element strides; None means contiguous."""
    lead: int = 0
    """Bytes reserved before the first element, beyond the guard band (a wrapped 32-bit offset lands there)."""


@dataclass(frozen=True, slots=True)
class Operands:
    """Everything an op is called with; logical values on the CPU, placement apart."""

    inputs: Mapping[str, torch.Tensor]
    """Tensors the op may only read."""
    outputs: Mapping[str, torch.Tensor]
    """Tensors the op writes, filled with what it must leave untouched or overwrite."""
    scalars: Mapping[str, Scalar] = field(default_factory=dict[str, Scalar])
    """Further keyword arguments."""
    workspaces: Mapping[str, torch.Tensor] = field(default_factory=dict[str, torch.Tensor])
    """Scratch memory the caller owns; poisoned, never compared."""
    placements: Mapping[str, Placement] = field(default_factory=dict[str, Placement])
    """Placement by tensor name; missing names are contiguous."""
    unread: Mapping[str, torch.Tensor] = field(default_factory=dict[str, torch.Tensor])
    """For input tensors: bool mask of the elements on which no visible result may depend."""
    unwritten: Mapping[str, torch.Tensor] = field(default_factory=dict[str, torch.Tensor])
    """For workspaces: bool mask of the elements that are nobody's, which a store out of its rows would reach."""

    def tensors(self) -> dict[str, torch.Tensor]:
        """All tensors by name."""
        return {**self.inputs, **self.outputs, **self.workspaces}


def _plain(value: Scalar) -> Scalar:
    """Python's own number: its repr is the shortest text that reads back as the same bits, on every machine."""
    return float(value) if isinstance(value, float) else value


def mismatch(first: Operands, second: Operands) -> str | None:
    """Why `second` cannot be called with the pointers, shapes and scalars of `first`, in words; None when it can."""
    one, other = first.tensors(), second.tensors()
    if one.keys() != other.keys():
        return f"one call has {', '.join(sorted(one.keys() ^ other.keys()))} and the other has not"
    for name, tensor in one.items():
        have, want = (tensor.dtype, tuple(tensor.shape)), (other[name].dtype, tuple(other[name].shape))
        if have != want:
            return f"{name} is {have[0]} {list(have[1])} in one call and {want[0]} {list(want[1])} in the other"
    if dict(first.scalars) != dict(second.scalars):
        return f"the scalars are {dict(first.scalars)} in one call and {dict(second.scalars)} in the other"
    return None


def as_bytes(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor's elements as uint8 in a new last dimension (contiguous copy if needed)."""
    if not tensor.numel():  # it may carry strides that no view accepts
        return torch.empty((*tensor.shape, tensor.element_size()), dtype=torch.uint8)
    strides = torch.empty(tensor.shape, device="meta").stride()  # a dimension of size 1 may carry any, and keeps it
    return tensor.contiguous().as_strided((*tensor.shape, 1), (*strides, 1)).view(torch.uint8)


def digest(operands: Operands) -> str:
    """First 16 hex digits of the SHA-256 of all inputs and outputs: names, dtypes, shapes, strides and bytes."""
    sha = hashlib.sha256()
    for name, tensor in sorted({**operands.inputs, **operands.outputs}.items()):
        placement = operands.placements.get(name, Placement())
        sha.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} {placement.strides}".encode())
        sha.update(as_bytes(tensor).numpy().tobytes())
    sha.update(repr([(name, _plain(value)) for name, value in sorted(operands.scalars.items())]).encode())
    return sha.hexdigest()[:16]


def digest_of(tensors: Mapping[str, torch.Tensor]) -> str:
    """First 16 hex digits of the SHA-256 of tensors: names, dtypes, shapes and bytes."""
    sha = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        sha.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        sha.update(as_bytes(tensor).numpy().tobytes())
    return sha.hexdigest()[:16]
