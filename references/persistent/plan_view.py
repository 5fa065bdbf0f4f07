"""A plan decoded into work items and tiles, as the checks need it: everything int64, nothing judged."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rocassay.references.persistent.plan_records import Ints, PlanBuffers, Requests, Rules

_SHIFT = 32


@dataclass(frozen=True, slots=True, eq=False)
class Tiles:
    """Distinct (q start, q end) of the items, in the order in which work reaches them; all [tiles]."""

    request: Ints
    start: Ints
    end: Ints
    parts: Ints
    need: Ints
    """Keys that the last row may see: where the last part has to end, in tokens."""

    first_sees: Ints
    """Keys that the first row may see; not positive when it sees none."""


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """Items [N] that lie in some request, their tokens, and their tiles."""

    item: Ints
    """Index into work_info_set."""

    request: Ints
    slot: Ints
    start: Ints
    """First key, in tokens of the request."""

    end: Ints
    """Behind the last key: the length less the tokens behind the item."""

    tile: Ints
    """Index into `tiles`."""

    worker: Ints
    tiles: Tiles
    order: Ints
    """Items by tile and then by their keys."""

    last: Ints
    """True where `order` ends a tile, as 0 and 1."""

    def name(self, index: int) -> str:
        """Work item and rows, for a message."""
        tile = self.tile[index]
        return f"work item {self.item[index]} (q rows {self.tiles.start[tile]}:{self.tiles.end[tile]})"


def owners(requests: Requests, rows: Ints) -> Ints:
    """Request of every query row; −1 for a row of nobody."""
    living = np.flatnonzero(requests.q_len > 0)
    if living.size == 0:
        return np.full(rows.shape, -1, np.int64)
    living = living[np.argsort(requests.q_begin[living], kind="stable")]
    found = living[np.maximum(np.searchsorted(requests.q_begin[living], rows, side="right") - 1, 0)]
    inside = (rows >= requests.q_begin[found]) & (rows < requests.q_begin[found] + requests.q_len[found])
    return np.where(inside, found, -1)


def view(requests: Requests, plan: PlanBuffers, rules: Rules) -> View:
    """Decodes the items that work_indptr counts; those in no request are left out."""
    indptr = plan.work_indptr.astype(np.int64)
    info = plan.work_info_set[: indptr[-1]].astype(np.int64)
    worker = np.arange(len(indptr) - 1).repeat(np.diff(indptr))
    request = owners(requests, info[:, 2])
    item = np.flatnonzero(request >= 0)
    info, worker, request = info[item], worker[item], request[item]
    start = (info[:, 4] - requests.kv_begin[request]) * rules.page_size
    end = requests.length[request] - info[:, 6]
    tiles, tile = _tiles(requests, rules, info, request)
    order = np.lexsort((end, start, tile))
    last = np.append(np.diff(tile[order]) != 0, tile.size > 0)[: tile.size].astype(np.int64)
    return View(item, request, info[:, 1], start, end, tile, worker, tiles, order, last)


def _tiles(requests: Requests, rules: Rules, info: Ints, request: Ints) -> tuple[Tiles, Ints]:
    key = (info[:, 2] << _SHIFT) + info[:, 3]
    _, first, inverse, parts = np.unique(key, return_index=True, return_inverse=True, return_counts=True)
    rank = np.argsort(first)
    position = np.empty_like(rank)
    position[rank] = np.arange(rank.size)
    first = first[rank]
    owner, start, end = request[first], info[first, 2], info[first, 3]
    length, begin = requests.length[owner], requests.q_begin[owner]
    hidden = length - requests.q_len[owner]
    need = np.clip(hidden + end - begin, 0, length) if rules.causal else length
    sees = np.minimum(hidden + start - begin + 1, length) if rules.causal else length
    return Tiles(owner, start, end, parts[rank], need, sees), position[inverse.reshape(-1)]
