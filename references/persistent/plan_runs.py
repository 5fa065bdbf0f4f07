"""Judges what one plan alone cannot show: canaries (I15), determinism (I16), equal builders (I19), numbers (I20)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from rocassay.references.persistent.plan_records import NAMES, Finding, Ints, PlanBuffers, Requests, Rules
from rocassay.references.persistent.plan_view import View, view

Floats = NDArray[np.float64]

NUMBERS_LIMIT = 1e-12
"""Largest difference, relative to the largest value, between the executed plan and direct attention in float64."""

_GUARD = 64
_POISONS = (0x5AFEC0DE, -0x11111112)


def check_builder(
    build: Callable[[PlanBuffers], None], shapes: Sequence[tuple[int, ...]], rules: Rules
) -> list[Finding]:
    """I15 and I16: builds into two differently poisoned sets of buffers between canaries.

    `shapes` are of the six buffers in the order of `NAMES`. Nothing outside the buffers and nothing behind the last
    work item may change, and what a consumer reads must not depend on what was there before.
    """
    plans: list[PlanBuffers] = []
    findings: list[Finding] = []
    for poison in _POISONS:
        arenas, plan = _guarded(shapes, poison)
        build(plan)
        findings += _canaries(arenas, plan, poison)
        plans.append(plan)
    first, second = plans
    return findings + [
        Finding("I16", f.where, f"depends on what was there before: {f.message}")
        for f in _differences(first, second, rules)
    ]


def check_same(first: PlanBuffers, second: PlanBuffers, rules: Rules) -> list[Finding]:
    """I19: two builders give the same plan, in everything that a consumer reads."""
    return [Finding("I19", f.where, f.message) for f in _differences(first, second, rules)]


def check_numbers(requests: Requests, plan: PlanBuffers, rules: Rules, random: np.random.Generator) -> list[Finding]:
    """I20: executing a plan (that passes the other invariants) in float64 equals direct attention."""
    tokens = int((requests.kv_begin + requests.pages).max(initial=0)) * rules.page_size
    rows = int((requests.q_begin + requests.q_len).max(initial=0))
    q, k = random.normal(size=(rows, 3)) * 2, random.normal(size=(tokens, 3))
    v = view(requests, plan, rules)
    wanted, wanted_lse = _direct(requests, rules, q, k)
    out, lse = _executed(requests, plan, rules, v, q, k)
    for name, have, due in (("output", out, wanted), ("LSE", lse, wanted_lse)):
        limit = NUMBERS_LIMIT * max(1.0, np.abs(due[np.isfinite(due)]).max(initial=0))
        bad = ~np.isclose(have, due, rtol=0, atol=limit)
        if bad.any():
            row = int(np.argmax(bad.reshape(rows, -1).any(1)))
            message = f"{name} is {have[row]}, direct attention gives {due[row]}"
            return [Finding("I20", f"query row {row}", message)]
    return []


def _guarded(shapes: Sequence[tuple[int, ...]], poison: int) -> tuple[list[NDArray[np.int64]], PlanBuffers]:
    arenas, buffers = [], []
    for name, shape in zip(NAMES, shapes, strict=True):
        dtype = np.uint64 if name == "work_metadata" else np.int32
        arena = np.full(int(np.prod(shape)) + 2 * _GUARD, abs(poison) if dtype is np.uint64 else poison, dtype)
        arenas.append(arena)
        buffers.append(arena[_GUARD:-_GUARD].reshape(shape))
    return arenas, PlanBuffers.of(*buffers)


def _canaries(arenas: Sequence[NDArray[np.int64]], plan: PlanBuffers, poison: int) -> Iterator[Finding]:
    for name, arena in zip(NAMES, arenas, strict=True):
        around = np.concatenate([arena[:_GUARD], arena[-_GUARD:]])
        if (around != (abs(poison) if name == "work_metadata" else poison)).any():
            yield Finding("I15", name, f"was written {'before' if around[:_GUARD].std() else 'behind'} its end")
    count = int(plan.work_indptr[-1])
    behind = plan.work_info_set[max(count, 0) :]
    if (behind != poison).any():
        yield Finding("I15", "work_info_set", f"was written behind its {count} work items")


def _differences(first: PlanBuffers, second: PlanBuffers, rules: Rules) -> Iterator[Finding]:
    for name, (a, b) in _read(first, second, rules).items():
        if a.shape != b.shape:
            yield Finding("", name, f"{a.shape} against {b.shape}")
        elif (a != b).any():
            place = tuple(int(i) for i in np.argwhere(a != b)[0])
            yield Finding("", f"{name}{list(place)}", f"{a[place]} against {b[place]}")


def _read(
    first: PlanBuffers, second: PlanBuffers, rules: Rules
) -> dict[str, tuple[NDArray[np.int32], NDArray[np.int32]]]:
    """What consumers read of two plans, by buffer; the addresses in work_metadata differ by nature."""
    pairs = [{name: getattr(plan, name) for name in NAMES[1:]} for plan in (first, second)]
    for buffers in pairs:
        items, parts = int(buffers["work_indptr"][-1]), int(buffers["reduce_indptr"][-1])
        buffers["work_info_set"] = buffers["work_info_set"][: max(items, 0)]
        if not rules.exact:
            buffers["reduce_partial_map"] = buffers["reduce_partial_map"][: max(parts, 0)]
            split = np.diff(buffers["reduce_indptr"]) > 0
            buffers["reduce_final_map"] = buffers["reduce_final_map"][: len(split)][split]
    return {name: (pairs[0][name], pairs[1][name]) for name in NAMES[1:]}


def _attend(q: Floats, k: Floats, visible: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Softmax attention of rows [n, d] over keys [m, d] with V = K; 0 and −inf for rows that see none."""
    scores = np.where(visible, q @ k.T, -np.inf)
    top = scores.max(1, initial=-np.inf)
    weights = np.exp(scores - np.where(np.isfinite(top), top, 0)[:, None])
    total = weights.sum(1)
    with np.errstate(divide="ignore"):
        lse = np.where(np.isfinite(top), top, 0) + np.log(total)
    return weights @ k / np.where(total > 0, total, 1)[:, None], lse


def _visible(requests: Requests, rules: Rules, request: int, rows: Ints, start: int, end: int) -> NDArray[np.bool_]:
    keys = np.arange(start, end)
    if not rules.causal:
        return np.ones((len(rows), len(keys)), bool)
    limit = requests.length[request] - requests.q_len[request] + (rows - requests.q_begin[request]) + 1
    return keys[None, :] < limit[:, None]


def _direct(requests: Requests, rules: Rules, q: Floats, k: Floats) -> tuple[Floats, Floats]:
    out, lse = np.zeros_like(q), np.full(len(q), -np.inf)
    for request in np.flatnonzero(requests.q_len).tolist():
        rows = np.arange(int(requests.q_len[request])) + requests.q_begin[request]
        base, length = requests.kv_begin[request] * rules.page_size, int(requests.length[request])
        seen = _visible(requests, rules, request, rows, 0, length)
        out[rows], lse[rows] = _attend(q[rows], k[base : base + length], seen)
    return out, lse


def _executed(
    requests: Requests, plan: PlanBuffers, rules: Rules, v: View, q: Floats, k: Floats
) -> tuple[Floats, Floats]:
    out, lse = np.full_like(q, np.nan), np.full(len(q), np.nan)
    partial, partial_lse = np.full((rules.partial_rows, q.shape[1]), np.nan), np.full(rules.partial_rows, np.nan)
    for n, (slot, tile) in enumerate(zip(v.slot.tolist(), v.tile.tolist(), strict=True)):
        request, start, end = int(v.request[n]), int(v.start[n]), int(v.end[n])
        rows = np.arange(int(v.tiles.start[tile]), int(v.tiles.end[tile]))
        base = requests.kv_begin[request] * rules.page_size
        seen = _visible(requests, rules, request, rows, start, end)
        result = _attend(q[rows], k[base + start : base + end], seen)
        if slot < 0:
            out[rows], lse[rows] = result
        else:
            partial[slot : slot + len(rows)], partial_lse[slot : slot + len(rows)] = result
    _merge(plan, partial, partial_lse, out, lse)
    return out, lse


def _merge(plan: PlanBuffers, partial: Floats, partial_lse: Floats, out: Floats, lse: Floats) -> None:
    indptr = plan.reduce_indptr
    for group in np.flatnonzero(np.diff(indptr) > 1):
        first, stop = plan.reduce_final_map[group]
        place = plan.reduce_partial_map[indptr[group] : indptr[group + 1], None] + np.arange(stop - first)
        each = partial_lse[place]
        top = each.max(0)
        weight = np.exp(each - np.where(np.isfinite(top), top, 0))
        total = weight.sum(0)
        out[first:stop] = (weight[:, :, None] * partial[place]).sum(0) / np.where(total > 0, total, 1)[:, None]
        with np.errstate(divide="ignore"):
            lse[first:stop] = np.where(np.isfinite(top), top, 0) + np.log(total)
