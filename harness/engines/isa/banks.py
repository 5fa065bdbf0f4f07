"""Bank conflicts of local memory, counted by a stated model.

The model: 32 banks of 4 bytes, dword n in bank n % 32, and lanes served in phases whose dwords would fit in one cycle:
32 lanes of up to 4 bytes, 16 of 8 bytes, 8 of 12 or 16 bytes. The lanes of a phase are consecutive, but for reads of 16
bytes, whose phases are lanes 0-3 with 20-23, 4-7 with 16-19, 8-11 with 28-31, 12-15 with 24-27 and the same 32 on (AMD
Composable Kernel documentation, "Understanding AMD GPU LDS and Bank Conflicts"; for the reads AMD's blog "Avoiding LDS
Bank Conflicts on AMD GPUs Using CK-Tile Framework"). A phase costs as many cycles as the most dwords that one bank must
give; lanes that want the same dword share it. gfx950 has 64 banks, for which no phases are documented: it is counted as
gfx942 is, so that counts of the two compare. Conflicts between waves are not modelled.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from rocassay.harness.engines.isa.state import LANES, U32, Bits, Ints

BANKS = 32

Way: TypeAlias = Literal["read", "write"]

_PERIOD = 16
"""Waves after which patterns repeat when all workgroups do the same."""

_KEPT = 512
"""Patterns whose count is remembered."""

_READ_QUADS = np.concatenate(
    [
        np.r_[first : first + 4, second : second + 4] + half
        for half in (0, 32)
        for first, second in ((0, 20), (4, 16), (8, 28), (12, 24))
    ]
)


def extra_cycles(at: U32 | Ints, size: int, way: Way, lanes: Bits | None = None) -> int:
    """Cycles beyond those without conflicts, of one access of `size` bytes at byte addresses [W, 64]."""
    dwords = max(1, size // 4)
    together = {1: 32, 2: 16}.get(dwords, 8)
    order = _READ_QUADS if dwords == 4 and way == "read" else np.arange(LANES)
    wanted = (np.asarray(at, np.int64) >> 2)[..., None] + np.arange(dwords)
    if lanes is not None:
        wanted = np.where(lanes[..., None], wanted, -1)
    phases = wanted[:, order].reshape(-1, together * dwords)
    phases = np.sort(phases, axis=1)
    counted = phases >= 0
    counted[:, 1:] &= phases[:, 1:] != phases[:, :-1]
    places = np.arange(len(phases))[:, None] * BANKS + phases % BANKS
    cycles = np.bincount(places[counted], minlength=len(phases) * BANKS).reshape(-1, BANKS).max(axis=1)
    return int(np.maximum(cycles - 1, 0).sum())


def _repeats(rows: NDArray[Any]) -> bool:
    whole = len(rows) > _PERIOD and not len(rows) % _PERIOD
    return whole and bool((rows[_PERIOD:] == rows[:-_PERIOD]).all())


class Banks:
    """Sum of the extra cycles; `conflicts`."""

    def __init__(self) -> None:
        self.conflicts = 0
        self._known: dict[tuple[Way, int, int, bytes, bytes], int] = {}

    def access(self, way: Way, at: U32 | Ints, offset: int, size: int, lanes: Bits | None) -> None:
        """Count an access at byte addresses at + offset within the workgroup."""
        times = 1
        if _repeats(at) and (lanes is None or _repeats(lanes)):
            times, at = len(at) // _PERIOD, at[:_PERIOD]
            lanes = None if lanes is None else lanes[:_PERIOD]
        shift = offset % (4 * BANKS)
        key = (way, size, shift, at.tobytes(), b"" if lanes is None else lanes.tobytes())
        found = self._known.get(key)
        if found is None:
            if len(self._known) >= _KEPT:
                self._known.clear()
            found = self._known[key] = extra_cycles(at.astype(np.int64) + shift, size, way, lanes)
        self.conflicts += times * found
