"""Judges a plan by what must hold in it: invariants I1 to I15, I17 and I18.

Numbering: I1 work_indptr, I2 tiles cover the rows, I3 parts cover the keys, I4 bounds, I5 no empty part, I6 cuts at
the granularity, I7 slot −1 iff unsplit, I8 slots disjoint, I9 slots are the partial map, I10 reduce_indptr, I11 groups
belong to their tile, I12 no group iff unsplit, I13 every row sees a key in every part, I14 load, I15 capacities and
canaries, I16 determinism, I17 empty requests, I18 int32 ranges, I19 equal builders, I20 numbers (the last five of
which `plan_runs` judges, as they need more than one plan or execute it).

Source of the encoding: AITER csrc/kernels/mla/metadata (v1.2) and its consumers; vllm-project/vllm#36574.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rocassay.references.persistent.plan_records import NAMES, Finding, PlanBuffers, Requests, Rules
from rocassay.references.persistent.plan_view import View, owners, view

INT32_LIMIT = 2**31
"""First value that an int32 cannot hold."""

_WORDS = 8
"""int32 of a work item."""

Check = Callable[[Requests, PlanBuffers, Rules, View], Iterator[Finding]]


def check_plan(requests: Requests, plan: PlanBuffers, rules: Rules, *, items: int | None = None) -> list[Finding]:
    """Findings of one plan, at most one a rule; empty when it is right.

    `items` is the number of work items when the builder tells it. Buffers that cannot be read further (wrong shapes,
    a broken work_indptr) end the judgement, so only I1, I15 or I18 is named then.
    """
    stop = [*_shapes(plan), *_ranges(requests)] or list(_work_indptr(plan, rules, items))
    if stop:
        return stop
    decoded = view(requests, plan, rules)
    return [finding for check in CHECKS for finding in check(requests, plan, rules, decoded)]


def _first(bad: NDArray[Any]) -> int | None:
    """Index of the first true element."""
    return int(np.argmax(bad)) if bad.size and bad.any() else None


def _shapes(plan: PlanBuffers) -> Iterator[Finding]:
    wanted = {"work_info_set": _WORDS, "reduce_final_map": 2}
    for name in NAMES:
        buffer = getattr(plan, name)
        dtype = np.uint64 if name == "work_metadata" else np.int32
        if buffer.dtype != dtype:
            yield Finding("I15", name, f"holds {buffer.dtype}, must hold {np.dtype(dtype)}")
        columns = buffer.shape[1:]
        if columns != ((wanted[name],) if name in wanted else ()):
            yield Finding("I15", name, f"has shape {buffer.shape}, rows of {wanted.get(name, 1)} elements are due")
    if plan.work_indptr.size == 0 or plan.reduce_indptr.size == 0:
        yield Finding("I15", "work_indptr, reduce_indptr", "must have at least one element")
    if plan.work_metadata.size != 2:
        yield Finding("I15", "work_metadata", f"has {plan.work_metadata.size} elements, must have 2")


def _ranges(requests: Requests) -> Iterator[Finding]:
    """I18 of the inputs: positions of kv_indices and rows fit int32."""
    tops = {"kv_indptr": requests.kv_begin + requests.pages, "qo_indptr": requests.q_begin + requests.q_len}
    for name, top in tops.items():
        if top.size and int(top.max()) >= INT32_LIMIT:
            yield Finding("I18", name, f"reaches {int(top.max())}, int32 ends at {INT32_LIMIT - 1}")


def _work_indptr(plan: PlanBuffers, rules: Rules, items: int | None) -> Iterator[Finding]:
    indptr = plan.work_indptr.astype(np.int64)
    if len(indptr) != rules.workers + 1:
        yield Finding("I1", "work_indptr", f"has {len(indptr)} elements for {rules.workers} workgroups")
    if indptr[0] != 0:
        yield Finding("I1", "work_indptr[0]", f"is {indptr[0]}, must be 0")
    if (worker := _first(np.diff(indptr) < 0)) is not None:
        yield Finding("I1", f"work_indptr[{worker}]", f"falls from {indptr[worker]} to {indptr[worker + 1]}")
    if items is not None and indptr[-1] != items:
        yield Finding("I1", "work_indptr[-1]", f"is {indptr[-1]}, there are {items} work items")
    if indptr[-1] > len(plan.work_info_set):
        room = len(plan.work_info_set)
        yield Finding("I15", "work_info_set", f"has room for {room} work items, the plan has {indptr[-1]}")


def tiles_cover_rows(requests: Requests, plan: PlanBuffers, rules: Rules, v: View) -> Iterator[Finding]:
    """I2: every query row in exactly one tile of its own request, no tile too high."""
    count = int(plan.work_indptr[-1])
    info = plan.work_info_set[:count].astype(np.int64)
    strangers = np.setdiff1d(np.arange(count), v.item)
    if strangers.size:
        yield Finding("I2", f"work item {strangers[0]}", f"starts at query row {info[strangers[0], 2]} of no request")
    wrong = info[v.item, 0] != requests.label[v.request]
    if (k := _first(wrong)) is not None:
        label = requests.label[v.request[k]]
        yield Finding("I2", v.name(k), f"carries batch {info[v.item[k], 0]}, its rows are of {label}")
    t = v.tiles
    stop = requests.q_begin[t.request] + requests.q_len[t.request]
    height = t.end - t.start
    if (k := _first((height < 1) | (t.end > stop) | (height > rules.tile_tokens))) is not None:
        limit = f"1 to {rules.tile_tokens} rows before row {stop[k]}"
        yield Finding("I2", f"q rows {t.start[k]}:{t.end[k]}", f"is no tile of its request: {limit} are due")
    yield from _rows_once(requests, v)


def _rows_once(requests: Requests, v: View) -> Iterator[Finding]:
    rows = int((requests.q_begin + requests.q_len).max(initial=0))
    steps = np.zeros(rows + 1, np.int64)
    t = v.tiles
    np.add.at(steps, np.clip(t.start, 0, rows), 1)
    np.add.at(steps, np.clip(t.end, 0, rows), -1)
    times = np.cumsum(steps)[:rows]
    owned = owners(requests, np.arange(rows)) >= 0
    if (row := _first(times != owned)) is not None:
        yield Finding("I2", f"query row {row}", f"is in {times[row]} tiles, must be in {int(owned[row])}")


def parts_cover_keys(_: Requests, __: PlanBuffers, rules: Rules, v: View) -> Iterator[Finding]:
    """I3: the parts of a tile join without gap or overlap from key 0 to the last visible key."""
    tile, start, end = v.tile[v.order], v.start[v.order], v.end[v.order]
    before = np.roll(end, 1)
    before[np.flatnonzero(np.diff(tile, prepend=-1) != 0)] = 0
    if (k := _first(start != before)) is not None:
        yield Finding("I3", v.name(v.order[k]), f"starts at key {start[k]}, the parts before it end at {before[k]}")
    need = v.tiles.need[tile]
    short = (end != need) if rules.exact else (end < need)
    if (k := _first((v.last == 1) & short)) is not None:
        yield Finding("I3", v.name(v.order[k]), f"ends its tile at key {end[k]}, the last row sees {need[k]}")


def bounds(requests: Requests, plan: PlanBuffers, rules: Rules, v: View) -> Iterator[Finding]:
    """I4: keys inside the request, pages inside its positions, the page end that belongs to the token end."""
    info = plan.work_info_set[v.item].astype(np.int64)
    length = requests.length[v.request]
    if (k := _first((v.start < 0) | (v.end < v.start) | (v.end > length))) is not None:
        yield Finding("I4", v.name(k), f"has keys {v.start[k]}:{v.end[k]} of 0:{length[k]}")
    due = requests.kv_begin[v.request] - (-v.end // rules.page_size)
    stop = requests.kv_begin[v.request] + requests.pages[v.request]
    if (k := _first((info[:, 5] != due) | (info[:, 5] > stop))) is not None:
        told = f"{info[k, 6]} tokens behind it"
        yield Finding("I4", v.name(k), f"ends at position {info[k, 5]}, with {told} it must end at {due[k]}")
    if (k := _first(info[:, 7] != 0)) is not None:
        yield Finding("I4", v.name(k), f"has {info[k, 7]} in its last word, must have 0")


def no_empty_part(_: Requests, __: PlanBuffers, ___: Rules, v: View) -> Iterator[Finding]:
    """I5: an item without keys only where its tile sees none."""
    if (k := _first((v.end <= v.start) & (v.tiles.need[v.tile] > 0))) is not None:
        need = v.tiles.need[v.tile[k]]
        yield Finding("I5", v.name(k), f"has no key ({v.start[k]}:{v.end[k]}), its tile sees {need}")


def cuts_at_granularity(_: Requests, __: PlanBuffers, rules: Rules, v: View) -> Iterator[Finding]:
    """I6: parts that are not the last of their tile end at a multiple of the granularity."""
    end = v.end[v.order]
    if (k := _first((v.last == 0) & (end % rules.granularity != 0))) is not None:
        yield Finding("I6", v.name(v.order[k]), f"is cut at key {end[k]}, no multiple of {rules.granularity}")


def slot_iff_split(_: Requests, __: PlanBuffers, ___: Rules, v: View) -> Iterator[Finding]:
    """I7: slot −1 exactly where a tile has one part."""
    parts = v.tiles.parts[v.tile]
    if (k := _first((v.slot == -1) != (parts == 1))) is not None:
        yield Finding("I7", v.name(k), f"has slot {v.slot[k]}, its tile has {parts[k]} parts")


def slots_disjoint(_: Requests, __: PlanBuffers, rules: Rules, v: View) -> Iterator[Finding]:
    """I8: slots have rows of their own, inside the buffer, and are aligned to tiles in the clean plan."""
    rows = v.tiles.end[v.tile] - v.tiles.start[v.tile]
    held = np.flatnonzero(v.slot != -1)
    held = held[np.argsort(v.slot[held], kind="stable")]
    slot, stop = v.slot[held], v.slot[held] + rows[held]
    if (k := _first((slot < 0) | (stop > rules.partial_rows))) is not None:
        yield Finding("I8", v.name(held[k]), f"writes rows {slot[k]}:{stop[k]} of {rules.partial_rows} partial rows")
    if (k := _first(slot[1:] < stop[:-1])) is not None:
        other = f"the rows {slot[k]}:{stop[k]} of {v.name(held[k])}"
        yield Finding("I8", v.name(held[k + 1]), f"has slot {slot[k + 1]} in {other}")
    if rules.exact and (k := _first(slot % rules.tile_tokens != 0)) is not None:
        yield Finding("I8", v.name(held[k]), f"has slot {slot[k]}, no multiple of {rules.tile_tokens}")


def slots_are_the_partial_map(_: Requests, plan: PlanBuffers, __: Rules, v: View) -> Iterator[Finding]:
    """I9: the used part of reduce_partial_map lists every slot once."""
    total = int(plan.reduce_indptr[-1])
    listed = np.sort(plan.reduce_partial_map[: max(total, 0)].astype(np.int64))
    slots = np.sort(v.slot[v.slot != -1])
    if len(listed) != len(slots):
        yield Finding("I9", "reduce_partial_map", f"lists {len(listed)} slots, the work items have {len(slots)}")
    elif (k := _first(listed != slots)) is not None:
        yield Finding("I9", "reduce_partial_map", f"lists slot {listed[k]} where the work items have {slots[k]}")


def reduce_indptr(_: Requests, plan: PlanBuffers, __: Rules, ___: View) -> Iterator[Finding]:
    """I10: starts at 0, never falls, fits the partial map; no group of one."""
    indptr = plan.reduce_indptr.astype(np.int64)
    if indptr[0] != 0:
        yield Finding("I10", "reduce_indptr[0]", f"is {indptr[0]}, must be 0")
    sizes = np.diff(indptr)
    if (k := _first(sizes < 0)) is not None:
        yield Finding("I10", f"reduce_indptr[{k}]", f"falls from {indptr[k]} to {indptr[k + 1]}")
    if (k := _first(sizes == 1)) is not None:
        yield Finding("I10", f"group {k}", "has one part, which no reducer writes")
    if indptr[-1] > len(plan.reduce_partial_map):
        room = len(plan.reduce_partial_map)
        yield Finding("I15", "reduce_partial_map", f"has room for {room} parts, the plan has {indptr[-1]}")


def groups_belong(_: Requests, plan: PlanBuffers, __: Rules, v: View) -> Iterator[Finding]:
    """I11: every slot of a group is of the tile that the group's rows name; no rows twice."""
    indptr = np.clip(plan.reduce_indptr.astype(np.int64), 0, len(plan.reduce_partial_map))
    sizes = np.maximum(np.diff(indptr), 0)
    final = plan.reduce_final_map[: len(sizes)].astype(np.int64)
    group = np.arange(len(final)).repeat(sizes[: len(final)])
    slots = plan.reduce_partial_map[: len(group)].astype(np.int64)
    held = np.flatnonzero(v.slot != -1)
    if held.size == 0 or slots.size == 0 or (np.diff(indptr) < 0).any():
        return
    held = held[np.argsort(v.slot[held], kind="stable")]
    place = held[np.minimum(np.searchsorted(v.slot[held], slots), held.size - 1)]
    rows = np.stack([v.tiles.start[v.tile[place]], v.tiles.end[v.tile[place]]], 1)
    bad = (v.slot[place] == slots) & (rows != final[group]).any(1)
    if (k := _first(bad)) is not None:
        named = f"rows {final[group[k], 0]}:{final[group[k], 1]}"
        yield Finding("I11", f"group {group[k]}", f"writes {named} from slot {slots[k]} of {v.name(int(place[k]))}")
    used = final[np.flatnonzero(sizes[: len(final)] > 0)]
    used = used[np.argsort(used[:, 0], kind="stable")]
    if (k := _first(used[1:, 0] < used[:-1, 1])) is not None:
        yield Finding("I11", f"rows {used[k + 1, 0]}:{used[k + 1, 1]}", "are written by two groups")


def no_group_iff_unsplit(_: Requests, plan: PlanBuffers, rules: Rules, v: View) -> Iterator[Finding]:
    """I12: group k is of the k-th tile, empty iff that is unsplit, and then marked in the clean plan."""
    sizes = np.diff(plan.reduce_indptr.astype(np.int64))
    parts = v.tiles.parts
    if len(sizes) < len(parts) or len(plan.reduce_final_map) < len(parts):
        room = min(len(sizes), len(plan.reduce_final_map))
        yield Finding("I15", "reduce_indptr, reduce_final_map", f"have room for {room} tiles, there are {len(parts)}")
        return
    due = np.zeros(len(sizes), np.int64)
    due[: len(parts)] = np.where(parts > 1, parts, 0)
    if (k := _first((sizes == 0) != (due == 0))) is not None:
        yield Finding("I12", f"group {k}", f"has {sizes[k]} parts, {due[k]} are due")
    final = plan.reduce_final_map[: len(parts)].astype(np.int64)
    if rules.exact and (k := _first((parts == 1) & (final != -1).any(1))) is not None:
        yield Finding("I12", f"reduce_final_map[{k}]", f"is {final[k].tolist()} for an unsplit tile, must be [-1, -1]")


def every_row_sees_a_key(_: Requests, __: PlanBuffers, rules: Rules, v: View) -> Iterator[Finding]:
    """I13: rows that see any key see one in every part of their tile; a part without one merges 0/0."""
    if not (rules.causal and rules.every_row_sees):
        return
    t = v.tiles
    least = np.maximum(t.first_sees, 1)[v.tile]
    living = (t.need > 0)[v.tile]
    if (k := _first(living & (v.start >= least))) is not None:
        yield Finding("I13", v.name(k), f"starts at key {v.start[k]}, its first row sees only {least[k]}")


def load(requests: Requests, _: PlanBuffers, rules: Rules, v: View) -> Iterator[Finding]:
    """I14: no workgroup above the quota plus one tile, the sum within all quotas, few enough parts."""
    c, used = rules.overhead, rules.used_workers
    planned = v.tiles.need if rules.exact else requests.length[v.tiles.request]
    quota = _up(int((_up(planned, rules.granularity) + c).sum()), used) + c
    cost = _up(v.end - v.start, rules.granularity) + c
    loads = np.bincount(v.worker, cost, minlength=rules.workers).astype(np.int64)
    most = quota + _up(rules.tile_tokens, rules.granularity)
    if (w := _first(loads > most)) is not None:
        yield Finding("I14", f"workgroup {w}", f"has load {loads[w]}, the quota {quota} allows {most}")
    if int(loads.sum()) > used * quota:
        yield Finding("I14", "all workgroups", f"have load {loads.sum()} of {used} quotas of {quota}")
    if loads[used:].any():
        yield Finding("I14", f"workgroup {used + int(np.argmax(loads[used:] > 0))}", f"works, only {used} may")
    tiles = len(v.tiles.parts)
    if len(v.item) > tiles + max(used, 1) - 1:
        yield Finding("I14", "work_info_set", f"has {len(v.item)} parts of {tiles} tiles on {used} workgroups")
    if (k := _first(v.tiles.parts > used)) is not None:
        rows = f"q rows {v.tiles.start[k]}:{v.tiles.end[k]}"
        yield Finding("I14", rows, f"has {v.tiles.parts[k]} parts on {used} workgroups")


def empty_requests(requests: Requests, plan: PlanBuffers, _: Rules, v: View) -> Iterator[Finding]:
    """I17: no work for a request without queries, one empty item a tile for one without keys."""
    label = plan.work_info_set[: int(plan.work_indptr[-1]), 0].astype(np.int64)
    quiet = np.setdiff1d(requests.label[requests.q_len == 0], requests.label[requests.q_len > 0])
    if (k := _first(np.isin(label, quiet))) is not None:
        yield Finding("I17", f"work item {k}", f"is of request {label[k]}, which has no query")
    bare = requests.length[v.request] == 0
    if (k := _first(bare & ((v.end != v.start) | (v.tiles.parts[v.tile] != 1)))) is not None:
        yield Finding("I17", v.name(k), f"has keys {v.start[k]}:{v.end[k]} of a request without keys")


def offsets_fit(_: Requests, __: PlanBuffers, rules: Rules, v: View) -> Iterator[Finding]:
    """I18: element offsets of partial rows fit int32, unless the kernels address with 64 bits."""
    top = (int(v.slot.max(initial=-1)) + rules.tile_tokens) * rules.row_elements
    if not rules.wide_addressing and top >= INT32_LIMIT:
        yield Finding("I18", "partial rows", f"reach element {top}, int32 ends at {INT32_LIMIT - 1}")


def _up(value: Any, unit: int) -> Any:
    return -(-value // max(unit, 1))


CHECKS: tuple[Check, ...] = (
    tiles_cover_rows,
    parts_cover_keys,
    bounds,
    no_empty_part,
    cuts_at_granularity,
    slot_iff_split,
    slots_disjoint,
    slots_are_the_partial_map,
    reduce_indptr,
    groups_belong,
    no_group_iff_unsplit,
    every_row_sees_a_key,
    load,
    empty_requests,
    offsets_fit,
)
"""The rules that judge one decoded plan."""
