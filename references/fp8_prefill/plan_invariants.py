"""Judges a plan of the persistent FP8 prefill by what must hold in it, whoever made it.

P1 work_indptr, P2 items lie in a tile of their request, P3 one head an item, P4 every (head, tile) has its visible
keys exactly once, P5 cuts on units, P6 slot −1 iff unsplit, P7 slots are disjoint and the same for all heads, P8
kv_offset, P9 reduce_indptr, P10 groups are the split tiles in the order of their rows, P11 the partial map is the slots
of each group, P12 load of the workgroups, P13 capacities.

Source of the encoding: AITER `get_ps_metadata_v1` and its consumers (vllm-project/vllm#42509).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import gcd

import numpy as np
from numpy.typing import NDArray

from rocassay.references.persistent.plan_records import Finding

Ints = NDArray[np.int64]
_WORDS = 8


@dataclass(frozen=True, slots=True, eq=False)
class PrefillBuffers:
    """The five buffers of one plan, with or without room behind it."""

    work_indptr: Ints
    work_info_set: Ints
    reduce_indptr: Ints
    reduce_final_map: Ints
    reduce_partial_map: Ints


@dataclass(frozen=True, slots=True)
class PrefillRules:
    """What the planner was asked for."""

    qo_indptr: tuple[int, ...]
    kv_indptr: tuple[int, ...]
    heads: int
    workers: int
    tile_q: int = 256
    unit_kv: int = 128
    causal: bool = True

    @property
    def clusters(self) -> int:
        """Groups of workgroups that share heads."""
        return gcd(self.heads, self.workers)

    def tiles(self) -> dict[tuple[int, int], tuple[int, int, int]]:
        """Rows (start, end) of every query tile -> request, visible keys, keys."""
        found: dict[tuple[int, int], tuple[int, int, int]] = {}
        for request in range(len(self.qo_indptr) - 1):
            begin, end = self.qo_indptr[request : request + 2]
            length = self.kv_indptr[request + 1] - self.kv_indptr[request]
            for start in range(begin, end, self.tile_q):
                stop = min(start + self.tile_q, end)
                seen = min(max(length - (end - stop), 0), length) if self.causal else length
                found[start, stop] = (request, seen, length)
        return found


@dataclass(frozen=True, slots=True)
class _Item:
    """One work item, decoded."""

    number: int
    worker: int
    request: int
    slot: int
    rows: tuple[int, int]
    begin: int
    end: int
    behind: int
    head: int
    head_end: int

    def __str__(self) -> str:
        return f"work item {self.number} (head {self.head}, rows {self.rows[0]}:{self.rows[1]})"


@dataclass(frozen=True, slots=True)
class _View:
    plan: PrefillBuffers
    rules: PrefillRules
    items: tuple[_Item, ...]
    tiles: dict[tuple[int, int], tuple[int, int, int]]
    parts: dict[tuple[int, tuple[int, int]], list[_Item]]
    """(head, rows) -> items, by their keys."""


def check_prefill_plan(plan: PrefillBuffers, rules: PrefillRules) -> list[Finding]:
    """Findings, at most one a rule; empty when the plan is right. A plan that cannot be read names P1 or P13 only."""
    stop = [*_capacities(plan), *_work_indptr(plan, rules)]
    if stop:
        return stop
    view = _decoded(plan, rules)
    found: list[Finding] = []
    for check in CHECKS:
        found += [finding for finding, _ in zip(check(view), range(1), strict=False)]
    return found


def _decoded(plan: PrefillBuffers, rules: PrefillRules) -> _View:
    bounds = plan.work_indptr.tolist()
    workers = np.repeat(np.arange(rules.workers), np.diff(bounds))
    items = tuple(
        _Item(number, int(workers[number]), w[0], w[1], (w[2], w[3]), w[4], w[5], w[6], w[7] & 0xFFFF, w[7] >> 16)
        for number, w in enumerate(plan.work_info_set[: bounds[-1]].tolist())
    )
    parts: dict[tuple[int, tuple[int, int]], list[_Item]] = {}
    for item in sorted(items, key=lambda item: (item.begin, item.end)):
        parts.setdefault((item.head, item.rows), []).append(item)
    return _View(plan, rules, items, rules.tiles(), parts)


def _capacities(plan: PrefillBuffers) -> Iterator[Finding]:
    """P13: every bound lies within the buffer that it points into."""
    ends = {
        "work_info_set": (plan.work_indptr, len(plan.work_info_set)),
        "reduce_partial_map": (plan.reduce_indptr, len(plan.reduce_partial_map)),
    }
    for name, (indptr, room) in ends.items():
        if not len(indptr) or int(indptr.max()) > room or int(indptr.min()) < 0:
            yield Finding("P13", name, f"has {room} rows, its bounds reach {indptr.max(initial=0)}")
    groups = int((np.diff(plan.reduce_indptr) > 0).sum())
    if groups > len(plan.reduce_final_map):
        yield Finding("P13", "reduce_final_map", f"has {len(plan.reduce_final_map)} rows for {groups} groups")
    if plan.work_info_set.shape[1:] != (_WORDS,):
        yield Finding("P13", "work_info_set", f"has rows of {plan.work_info_set.shape[1:]}, {_WORDS} words are due")


def _work_indptr(plan: PrefillBuffers, rules: PrefillRules) -> Iterator[Finding]:
    indptr = plan.work_indptr
    if len(indptr) != rules.workers + 1:
        yield Finding("P1", "work_indptr", f"has {len(indptr)} elements for {rules.workers} workgroups")
    elif indptr[0] != 0 or (np.diff(indptr) < 0).any():
        yield Finding("P1", "work_indptr", "must start at 0 and never fall")


def _in_tiles(view: _View) -> Iterator[Finding]:
    for item in view.items:
        known = view.tiles.get(item.rows)
        if known is None:
            yield Finding("P2", str(item), f"no tile of {view.rules.tile_q} has these rows")
        elif known[0] != item.request:
            yield Finding("P2", str(item), f"names request {item.request}, its rows are of {known[0]}")


def _one_head(view: _View) -> Iterator[Finding]:
    each, group = view.rules.heads // view.rules.clusters, view.rules.workers // view.rules.clusters
    for item in view.items:
        if item.head_end != item.head + 1 or item.head >= view.rules.heads:
            yield Finding("P3", str(item), f"heads [{item.head}, {item.head_end}) of {view.rules.heads}")
        elif item.head // each != item.worker // group:
            yield Finding("P3", str(item), f"workgroup {item.worker} belongs to another cluster than the head")


def _covered(view: _View) -> Iterator[Finding]:
    wanted = {(head, rows) for head in range(view.rules.heads) for rows in view.tiles}
    for key in sorted(wanted - view.parts.keys()):
        yield Finding("P4", f"head {key[0]}, rows {key[1][0]}:{key[1][1]}", "has no work item")
    for key in sorted(wanted & view.parts.keys()):
        request, seen, _ = view.tiles[key[1]]
        begin = reached = view.rules.kv_indptr[request]
        for item in view.parts[key]:
            if item.begin != reached or item.end < item.begin or (item.end == item.begin and seen):
                yield Finding("P4", str(item), f"starts at key {item.begin}, the part before it ends at {reached}")
            reached = item.end
        if reached != begin + seen:
            yield Finding("P4", f"head {key[0]}, rows {key[1]}", f"ends at key {reached}, {begin + seen} is visible")


def _on_units(view: _View) -> Iterator[Finding]:
    for parts in view.parts.values():
        for item in parts[:-1]:
            if (item.end - parts[0].begin) % view.rules.unit_kv:
                yield Finding("P5", str(item), f"is cut at key {item.end}, no multiple of {view.rules.unit_kv}")


def _slot_iff_split(view: _View) -> Iterator[Finding]:
    for parts in view.parts.values():
        for item in parts:
            if (item.slot == -1) != (len(parts) == 1) or (item.slot != -1 and item.slot % view.rules.tile_q):
                yield Finding("P6", str(item), f"has slot {item.slot}, its tile {len(parts)} parts")


def _slots_disjoint(view: _View) -> Iterator[Finding]:
    of_head: dict[int, list[tuple[tuple[int, int], int, int]]] = {head: [] for head in range(view.rules.heads)}
    for (head, rows), parts in view.parts.items():
        of_head.setdefault(head, []).extend((rows, item.begin, item.slot) for item in parts if item.slot >= 0)
    reference = sorted(of_head.get(0, []))
    slots = sorted(slot for _, _, slot in reference)
    if len(set(slots)) != len(slots):
        yield Finding("P7", "head 0", f"slots {slots} are not disjoint")
    for head, mine in of_head.items():
        if sorted(mine) != reference:
            yield Finding("P7", f"head {head}", "has other slots than head 0, the reduction has one map for all")


def _offsets(view: _View) -> Iterator[Finding]:
    for (_, rows), parts in view.parts.items():
        if rows not in view.tiles:
            continue
        request, _, length = view.tiles[rows]
        for item in parts:
            due = 0 if item is parts[-1] else length - (item.end - view.rules.kv_indptr[request])
            if item.behind != due:
                yield Finding("P8", str(item), f"has kv_offset {item.behind}, {due} is due")


def _reduce_indptr(view: _View) -> Iterator[Finding]:
    indptr = view.plan.reduce_indptr
    counts = np.diff(indptr)
    if indptr[0] != 0 or (counts < 0).any():
        yield Finding("P9", "reduce_indptr", "must start at 0 and never fall")
    groups = int((counts > 0).sum())
    if (counts[:groups] < 2).any() or (counts[groups:] != 0).any():
        yield Finding("P9", "reduce_indptr", "groups have two parts or more, and none follows an empty one")


def _split_rows(view: _View) -> list[tuple[int, int]]:
    return sorted({rows for (_, rows), parts in view.parts.items() if len(parts) > 1})


def _groups(view: _View) -> Iterator[Finding]:
    groups = int((np.diff(view.plan.reduce_indptr) > 0).sum())
    listed = [(start, end) for start, end in view.plan.reduce_final_map[:groups].tolist()]
    if listed != _split_rows(view):
        yield Finding("P10", "reduce_final_map", f"lists {listed}, split are {_split_rows(view)}")


def _partial_map(view: _View) -> Iterator[Finding]:
    bounds = view.plan.reduce_indptr.tolist()
    groups = int((np.diff(view.plan.reduce_indptr) > 0).sum())
    for group in range(groups):
        rows = tuple(view.plan.reduce_final_map[group].tolist())
        mapped = view.plan.reduce_partial_map[bounds[group] : bounds[group + 1]].tolist()
        slots = sorted(item.slot for item in view.parts.get((0, (rows[0], rows[1])), []))
        if mapped != slots:
            yield Finding("P11", f"group {group}", f"lists slots {mapped}, its parts have {slots}")
    found = sum(len(parts) for (head, _), parts in view.parts.items() if head == 0 and len(parts) > 1)
    if bounds[-1] != found:
        yield Finding("P11", "reduce_indptr[-1]", f"counts {bounds[-1]} partial tiles, there are {found}")


def _load(view: _View) -> Iterator[Finding]:
    """Workgroups of a cluster hold numbers of units that differ by one at most; nobody idles before another."""
    units = np.zeros(view.rules.workers, np.int64)
    for item in view.items:
        units[item.worker] += -(-(item.end - item.begin) // view.rules.unit_kv)
    each = view.rules.heads // view.rules.clusters
    for cluster, held in enumerate(units.reshape(view.rules.clusters, -1)):
        total = int(held.sum()) // each
        group = len(held)
        due = [total // group + (worker < total % group) for worker in range(group)]
        if held.tolist() != [each * share for share in due]:
            yield Finding("P12", f"cluster {cluster}", f"its workgroups hold {held.tolist()} units of {each} heads")


Check = Callable[[_View], Iterator[Finding]]
CHECKS: Sequence[Check] = (
    _in_tiles,
    _one_head,
    _covered,
    _on_units,
    _slot_iff_split,
    _slots_disjoint,
    _offsets,
    _reduce_indptr,
    _groups,
    _partial_map,
    _load,
)
"""P2 to P12, each naming its first finding."""
