"""Who touched which byte of local memory between two barriers, written down and compared pair by pair.

An argument of its own for what the mutation suite needs: whether waves meet where a barrier or a wait is missing.
"""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from rocassay.harness.engines.isa.findings import By
from rocassay.harness.engines.isa.localmem import Lds
from rocassay.harness.engines.isa.state import State

Ints: TypeAlias = NDArray[np.int64]
Way: TypeAlias = Literal["read", "write", "atomic"]

_FAR = 1 << 30


@dataclass(slots=True)
class Access:
    """Bytes that the waves of a workgroup touched: as many of each of wave, byte and value."""

    way: Way
    wave: Ints
    byte: Ints
    value: Ints


class LocalLog:
    """Watches a local memory through its calls; `meetings` counts the intervals in which waves meet."""

    def __init__(self, lds: Lds) -> None:
        self.meetings = 0
        self._lds = lds
        self._held: dict[int, list[Access]] = {}
        self._under_way: list[tuple[By, Ints, Any, int, NDArray[np.bool_]]] = []
        self._calls: dict[str, Callable[..., Any]] = {
            name: getattr(lds, name) for name in ("load", "store", "update", "copy", "barrier")
        }
        for name in self._calls:
            setattr(lds, name, getattr(self, f"_{name}"))

    def close(self) -> None:
        """Compare what was touched behind the last barrier, and watch no longer."""
        for group in list(self._held):
            self._compare(group)
        for name in self._calls:
            delattr(self._lds, name)

    def _load(self, at: Any, offset: int, size: int, lanes: Any, by: By, *rest: Any) -> Any:
        self._note("read", at, offset, None, size, lanes, by)
        return self._calls["load"](at, offset, size, lanes, by, *rest)

    def _store(self, at: Any, offset: int, values: Any, size: int, lanes: Any, by: By, *rest: Any) -> Any:
        self._note("write", at, offset, values, size, lanes, by)
        return self._calls["store"](at, offset, values, size, lanes, by, *rest)

    def _update(self, at: Any, offset: int, values: Any, lanes: Any, by: By, operation: Any, *rest: Any) -> Any:
        self._note("atomic", at, offset, None, operation.size, lanes, by)
        return self._calls["update"](at, offset, values, lanes, by, operation, *rest)

    def _copy(self, places: Ints, values: Any, size: int, by: By) -> Callable[[Any], None]:
        state, none = by.state, np.zeros((0, 0), np.uint32)
        then = By(
            State(0, state.waves, state.group, state.world, none, none, none, state.scc, state.mask), by.instruction
        )
        left = by.state.mask.copy()
        entry = (then, places, values, size, left)
        self._note("write", places, 0, values, size, left, then)
        self._under_way.append(entry)
        land = self._calls["copy"](places, values, size, by)

        def landed(lanes: NDArray[np.bool_]) -> None:
            left[lanes] = False
            self._note("write", places, 0, values, size, lanes, then)
            land(lanes)

        return landed

    def _barrier(self, states: Sequence[State]) -> None:
        for group in {int(group) for state in states for group in state.group}:
            self._compare(group)
        self._calls["barrier"](states)
        for state in states:
            for pending in state.pending:
                for touch in pending.touches:
                    self._carry(touch, state)
        for by, places, values, size, left in self._under_way:
            self._note("write", places, 0, values, size, left, by)

    def _carry(self, touch: Any, state: State) -> None:
        """What nobody waited for may happen behind the barrier."""
        unit = 1 << self._lds.grain
        base = (state.group - self._lds.first)[:, None] * self._lds.size
        at = (touch.units.first << self._lds.grain) - base
        way: Way = "write" if touch.writes else "read"
        nobody: Any = None
        self._note(way, at, 0, None, unit * touch.units.count, touch.lanes, By(state, nobody))

    def _note(self, way: Way, at: Any, offset: int, values: Any, size: int, lanes: Any, by: By) -> None:
        shape = at.shape
        taking = np.ones(shape, np.bool_) if lanes is None else lanes
        groups, waves = (np.broadcast_to(part[:, None], shape)[taking] for part in (by.state.group, by.state.waves))
        first = at.astype(np.int64)[taking] + offset
        bytes_ = (first[:, None] + np.arange(size)).ravel()
        if values is None:
            value = np.repeat(_FAR + waves, size)
        else:
            parts = [values[n // 4][taking] >> np.uint32(8 * (n % 4)) & np.uint32(0xFF) for n in range(size)]
            value = np.stack(parts, axis=1).astype(np.int64).ravel()
        waves, groups = np.repeat(waves, size), np.repeat(groups, size)
        for group in np.unique(groups).tolist():
            here = groups == group
            self._held.setdefault(group, []).append(Access(way, waves[here], bytes_[here], value[here]))

    def _compare(self, group: int) -> None:
        accesses = self._held.pop(group, [])
        self.meetings += _meet(accesses, self._lds.size)


def _meet(accesses: Sequence[Access], size: int) -> bool:
    """Whether two waves touch a byte, one of them storing, and neither both atomically nor both the same value."""
    owners: dict[Way, tuple[Ints, Ints]] = {}
    for way in ("write", "atomic", "read"):
        low, high = np.full(size, _FAR), np.full(size, -1)
        for one in accesses:
            if one.way == way:
                np.minimum.at(low, one.byte, one.wave)
                np.maximum.at(high, one.byte, one.wave)
        owners[way] = low, high
    least, most = np.full(size, 2 * _FAR), np.full(size, -1)
    for one in accesses:
        if one.way == "write":
            np.minimum.at(least, one.byte, one.value)
            np.maximum.at(most, one.byte, one.value)
    low, high = owners["write"]
    if ((low < high) & (least < most)).any():
        return True
    pairs: tuple[tuple[Way, Way], ...] = (("write", "read"), ("write", "atomic"), ("atomic", "read"))
    return any(_apart(owners[first], owners[second]) for first, second in pairs)


def _apart(first: tuple[Ints, Ints], second: tuple[Ints, Ints]) -> bool:
    """Whether a byte is touched in both ways, by more than one wave together."""
    both = (first[1] >= 0) & (second[1] >= 0)
    return bool((both & (np.minimum(first[0], second[0]) < np.maximum(first[1], second[1]))).any())
