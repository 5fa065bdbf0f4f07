"""Who touched which part of local memory since the last barrier: two waves, one of them writing, are a race.

A tag of 16 bits a unit holds the epoch, which a barrier moves on, and the wave: what is older than the last barrier is
smaller than everything of the present, so that nothing needs to be wiped.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from rocassay.harness.engines.isa.conflicts import Tagged, Tags, Units
from rocassay.harness.engines.isa.findings import SEVERAL
from rocassay.harness.engines.isa.state import Bits, Ints, State

WAVES = 16
"""Most waves of a workgroup (1024 work-items)."""

_STEP = 64
"""Tags of one epoch: 0 nobody, 1-16 the waves, 17-32 their atomics, 62 several waves' atomics, 63 several waves."""

_ATOMS, _SEVERAL = 62, 63

_LAST_EPOCH = (1 << 16) // _STEP - 1


@dataclass(frozen=True, slots=True)
class Touch:
    """Units of local memory that an access touched.

    Attributes:
        units: those of all lanes, [W, 64].
        lanes: bool [W, 64].
        writes: whether it writes.
    """

    units: Units
    lanes: Bits
    writes: bool

    def part(self, chosen: Bits) -> Touch:
        """Of some of the waves."""
        return Touch(self.units.chosen(chosen), self.lanes[chosen], self.writes)


@dataclass(frozen=True, slots=True)
class Clash:
    """Lanes that race.

    Attributes:
        order: "read after write" and the like.
        lanes: bool [W, 64].
        unit: of the first one.
        other: the wave before; -2 for several.
        unfinished: whether it began before a barrier that did not wait for it.
    """

    order: str
    lanes: Bits
    unit: int
    other: int
    unfinished: bool = False

    @property
    def detail(self) -> str:
        """The order in words."""
        return self.order.replace("after ", "after unfinished ") if self.unfinished else self.order


class Watch:
    """Tags of all units of the local memories of a chunk."""

    def __init__(self, units: int, groups: int, first: int) -> None:
        self._units, self._first = units, first
        self.writers, self.readers = Tagged(units * groups), Tagged(units * groups)
        self._copies: Tagged | None = None
        self._carried: dict[bool, Tagged] = {}
        self._epoch = np.ones(groups, np.int64)
        self._lowest = np.full(groups, -1, np.int64)
        self._batch: tuple[Ints | None, Tags, Tags] = (None, np.zeros(0, np.uint16), np.zeros(0, np.uint16))

    def barrier(self, groups: Ints) -> None:
        """What these workgroups did before is over."""
        local = np.unique(groups - self._first)
        self._epoch[local] += 1
        for group in local[self._epoch[local] > _LAST_EPOCH].tolist():
            part = slice(group * self._units, (group + 1) * self._units)
            for tagged in (self.writers, self.readers, *self._carried.values()):
                tagged.tags[part] = 0
            self._epoch[group] = 1
        self._batch = (None, *self._batch[1:])

    def _rows(self, state: State) -> tuple[Tags, Tags]:
        """(last tag before this epoch, own tag) of every wave, uint16 [W]."""
        known, base, mine = self._batch
        if known is not state.waves:
            local = state.group - self._first
            base = (self._epoch[local] * _STEP).astype(np.uint16)
            mine = base + (state.waves % WAVES + 1).astype(np.uint16)
            self._batch = (state.waves, base, mine)
            lowest = self._lowest[local]
            fresh = (lowest < 0) | (state.waves < lowest)
            for group, wave in zip(local[fresh].tolist(), state.waves[fresh].tolist(), strict=True):
                held = self._lowest[group]
                self._lowest[group] = wave if held < 0 else min(held, wave)
        return base, mine

    def read(self, touch: Touch, full: bool, state: State) -> list[Clash]:
        """Note a load; its races."""
        rows = _Rows(touch, full, *self._rows(state))
        found = self._against(self.writers, touch, rows, "read after write", state)
        self._begun(rows, writes=False)
        self._note_readers(rows)
        return found

    def write(self, touch: Touch, full: bool, state: State) -> tuple[list[Clash], bool]:
        """Note a store; its races with what other waves stored and loaded, and whether waves meet in it."""
        rows = _Rows(touch, full, *self._rows(state))
        found = self._against(self.writers, touch, rows, "write after write", state)
        found += self._against(self.readers, touch, rows, "write after read", state)
        self._begun(rows, writes=True)
        return found, not rows.put(self.writers)

    def met(self, touch: Touch, state: State) -> list[Clash]:
        """Lanes of a store whose unit another wave took in the same instruction."""
        rows = _Rows(touch, False, *self._rows(state))
        return self._against(self.writers, touch, rows, "write after write", state)

    def update(self, touch: Touch, full: bool, state: State) -> list[Clash]:
        """Note an atomic; its races with what other waves loaded and stored otherwise."""
        rows = _Rows(touch, full, *self._rows(state))
        found = self._against(self.writers, touch, rows, "atomic after write", state, atomic=True)
        found += self._against(self.readers, touch, rows, "atomic after read", state)
        for view, index, held in rows.held(self.writers):
            alone = (held <= rows.base) | (held == rows.mine + np.uint16(WAVES)) | (held == rows.mine)
            new = np.where(alone, rows.mine + np.uint16(WAVES), rows.base + np.uint16(_ATOMS))
            self._settle(view, index, _widened(new, view, index), rows, _ATOMS)
        return found

    def carry(self, touch: Touch, state: State) -> None:
        """An access that was begun before a barrier and that nobody waited for: it may happen behind it."""
        rows = _Rows(touch, False, *self._rows(state))
        rows.put(self.writers if touch.writes else self.readers)
        if touch.writes not in self._carried:
            self._carried[touch.writes] = Tagged(len(self.writers.tags))
        rows.put(self._carried[touch.writes])

    def _begun(self, rows: _Rows, *, writes: bool) -> None:
        """An access behind the barrier: of its units it is no longer one from before that races."""
        if carried := self._carried.get(writes):
            rows.clear(carried)

    def fly(self, touch: Touch, state: State, landed: bool) -> None:
        """Note that an asynchronous copy is under way to these units, or has arrived."""
        if self._copies is None:
            self._copies = Tagged(len(self.writers.tags))
        tags = np.where(landed, 0, state.waves % WAVES + 1).astype(np.uint16)
        units = touch.units.first[touch.lanes]
        for n in range(touch.units.count):
            self._copies.tags[units + n] = np.broadcast_to(tags[:, None], touch.lanes.shape)[touch.lanes]

    def flying(self, touch: Touch, state: State) -> tuple[Bits, Bits, int, int] | None:
        """(lanes whose unit an own copy is under way to, those of another wave's, unit, wave); None for none."""
        if self._copies is None:
            return None
        for n in range(touch.units.count):
            tags = self._copies.tags.take(touch.units.first + n)
            if tags.any():
                under_way = touch.lanes & (tags != 0)
                own = under_way & (tags == (state.waves % WAVES + 1)[:, None])
                if under_way.any():
                    lanes = own if own.any() else under_way
                    row, lane = (int(part[0]) for part in np.nonzero(lanes))
                    other = self._wave(state, row, int(tags[row, lane]))
                    return own, under_way & ~own, int(touch.units.first[row, lane]) + n, other
        return None

    def _against(
        self, tagged: Tagged, touch: Touch, rows: _Rows, order: str, state: State, atomic: bool = False
    ) -> list[Clash]:
        """Races with what other waves did since the last barrier."""
        there = (held for _, _, held in rows.held(tagged) if not rows.stale(held))
        if not any(_foreign(held, rows.base, rows.mine, atomic).any() for held in there):
            return []
        lanes, first = np.zeros(touch.lanes.shape, np.bool_), 0
        base, mine = rows.base.ravel(), rows.mine.ravel()
        if rows.full:
            base, mine = (np.broadcast_to(part[:, None], touch.lanes.shape).ravel() for part in (base, mine))
        for n in range(touch.units.count):
            held = tagged.tags.take(touch.units.first[touch.lanes] + n)
            bad = _foreign(held, base, mine, atomic)
            first = n if bad.any() and not lanes.any() else first
            lanes[touch.lanes] |= bad
        if not lanes.any():
            return []
        row, lane = (int(part[0]) for part in np.nonzero(lanes))
        unit = int(touch.units.first[row, lane]) + first
        inner = int(tagged.tags[unit]) - int(self._rows(state)[0][row])
        carried = self._carried.get(tagged is self.writers)
        unfinished = carried is not None and bool(carried.tags[unit] == tagged.tags[unit])
        return [Clash(order, lanes, unit, self._wave(state, row, inner), unfinished)]

    def _wave(self, state: State, row: int, inner: int) -> int:
        """The wave of a tag, in the workgroup of a row."""
        if inner > 2 * WAVES:
            return SEVERAL
        lowest = int(self._lowest[int(state.group[row]) - self._first])
        return lowest + ((inner - 1) % WAVES - lowest) % WAVES

    def _note_readers(self, rows: _Rows) -> None:
        """Units that several waves read are tagged as such."""
        for view, index, held in rows.held(self.readers):
            if rows.stale(held):
                self._settle(view, index, rows.wide(rows.mine), rows)
                continue
            own = held == rows.mine
            if own.all():
                continue
            new = np.where((held > rows.base) & ~own, rows.base + np.uint16(_SEVERAL), rows.mine)
            self._settle(view, index, _widened(new, view, index), rows)

    def _settle(self, view: Any, index: Ints, wide: Any, rows: _Rows, meeting: int = _SEVERAL) -> None:
        """Write tags as wide as a piece; where waves of one workgroup meet in this, the tag for several."""
        view[index] = wide
        lost = view.take(index) != wide
        if lost.any():
            several = np.broadcast_to(rows.wide(rows.base + np.uint16(meeting)), index.shape)
            view[index[lost]] = several[lost]


def _widened(tags: Tags, view: Any, index: Ints) -> Any:
    """Tags of units as those of pieces."""
    return np.ascontiguousarray(tags).view(view.dtype).reshape(index.shape)


class _Rows:
    """The units of the lanes that take part, with tags that broadcast against those of the units.

    Attributes:
        units: [W, 64], or [n] when not all lanes take part.
        base, mine: last tag before this epoch and own tag, [W, 1] or [n, 1].
    """

    def __init__(self, touch: Touch, full: bool, base: Tags, mine: Tags) -> None:
        self.full = full
        if full:
            self.units, self.base, self.mine = touch.units, base[:, None], mine[:, None]
        else:
            counts = np.count_nonzero(touch.lanes, axis=1)
            self.units = touch.units.chosen(touch.lanes)
            self.base, self.mine = base.repeat(counts)[:, None], mine.repeat(counts)[:, None]
        self._oldest = int(base.min())

    def held(self, tagged: Tagged) -> Iterator[tuple[Any, Ints, Tags]]:
        """(view, index, tags there as uint16 [rows, any]) of every piece."""
        view, rows = tagged.views[self.units.wide], len(self.units.first)
        for index in self.units.pieces:
            yield view, index, view.take(index).view(np.uint16).reshape(rows, -1)

    def stale(self, held: Tags) -> bool:
        """Whether all tags are older than the last barrier."""
        return int(held.max(initial=0)) <= self._oldest

    def wide(self, tags: Tags) -> Any:
        """A tag of each row as wide as a piece; broadcasts against the pieces."""
        return self.units.repeated(tags if self.full else tags[:, 0])

    def clear(self, tagged: Tagged) -> None:
        """Nobody's tag in all units."""
        view = tagged.views[self.units.wide]
        for index in self.units.pieces:
            view[index] = 0

    def put(self, tagged: Tagged) -> bool:
        """Write the own tags; False when waves of one workgroup meet in this."""
        mine = self.mine if self.full else self.mine[:, 0]
        return tagged.put(self.units, mine)


def _foreign(held: Tags, base: Tags, mine: Tags, atomic: bool) -> Bits:
    """Whether another wave touched a unit since the last barrier; atomics do not mind each other."""
    live = held > base
    if not live.any():
        return live
    live &= held != mine
    if not live.any():
        return live
    live &= held != mine + np.uint16(WAVES)
    if atomic:
        inner = held - base
        live &= ~((inner > WAVES) & (inner <= 2 * WAVES)) & (inner != _ATOMS)
    return live
