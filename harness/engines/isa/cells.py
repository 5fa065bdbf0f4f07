"""Bytes in memory reached by many lanes at once, in the widest pieces that their alignment allows."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rocassay.harness.engines.isa.state import U32, Ints

QUAD = 16
"""Bytes of the widest access, and the alignment that `Cells` wants of its first byte."""


def alignment(addresses: Ints) -> int:
    """All addresses or-ed together: its low bits are 0 where those of every address are."""
    return int(np.bitwise_or.reduce(addresses, axis=None))


def _dwords_first(values: U32) -> U32:
    return values.transpose(2, 0, 1) if values.ndim == 3 else values.T


class Cells:
    """One array of bytes and its views as wider words."""

    def __init__(self, data: NDArray[np.uint8], *, window: bool = False) -> None:
        """data: uint8 [a multiple of 16 bytes], its first byte aligned to 16.

        window: whether it spans memory that is not its own, of which nothing may be copied as a whole.
        """
        self.window = window
        self.bytes = data
        self.halves = data.view(np.uint16)
        self.words: U32 = data.view(np.uint32)
        self.pairs = data.view(np.uint64)
        self.quads = self.words.reshape(-1, 4)

    def load(self, index: Ints, size: int, aligned: int) -> U32:
        """uint32 [dwords, *index.shape]: `size` bytes from every index, those of a part of a dword zero-extended.

        aligned: `alignment(index)`, or less precise: set low bits mean less alignment.
        """
        if size == 4 and not aligned & 3:
            return self.words.take(index >> 2)[None]
        if size == QUAD and not aligned & 15:
            return _dwords_first(self.quads.take(index >> 4, axis=0))
        if size == 8 and not aligned & 7:
            found: U32 = self.pairs.take(index >> 3).view(np.uint32).reshape(*index.shape, 2)
            return _dwords_first(found)
        if size == 1:
            return self.bytes.take(index).astype(np.uint32)[None]
        if size == 2 and not aligned & 1:
            return self.halves.take(index >> 1).astype(np.uint32)[None]
        if size >= 4 and not aligned & 3:
            return self._in_dwords(index >> 2, size // 4)
        return self._in_bytes(index, size)

    def _in_dwords(self, index: Ints, count: int) -> U32:
        if index.shape[-1] == 1:
            return self.words.take(index + np.arange(count)).T[..., None]
        return np.stack([self.words[n:].take(index) for n in range(count)])

    def _in_bytes(self, index: Ints, size: int) -> U32:
        result = np.zeros((max(1, size // 4), *index.shape), np.uint32)
        for byte in range(size):
            result[byte // 4] |= self.bytes[byte:].take(index).astype(np.uint32) << np.uint32(8 * (byte % 4))
        return result

    def store(self, index: Ints, values: U32, size: int, aligned: int) -> None:
        """Write `size` bytes of uint32 [dwords, *index.shape]; of lanes that meet at a place the last one wins."""
        if size >= 4 and not aligned & 3:
            place = index >> 2
            for n in range(size // 4):
                self.words[n:][place] = values[n]
        elif size == 2 and not aligned & 1:
            self.halves[index >> 1] = values[0].astype(np.uint16)
        elif size == 1:
            self.bytes[index] = values[0].astype(np.uint8)
        else:
            for byte in range(size):
                self.bytes[byte:][index] = (values[byte // 4] >> np.uint32(8 * (byte % 4))).astype(np.uint8)
