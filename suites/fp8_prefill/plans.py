"""Batches that hypothesis draws, their plans, and ways to break one."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from hypothesis import strategies as st

from rocassay.kernels.persistent.prefill_planner import plan_prefill
from rocassay.references.fp8_prefill.plan_invariants import PrefillBuffers, PrefillRules

HEADS_AND_WORKERS = ((1, 1), (2, 4), (3, 8), (16, 256), (12, 304), (16, 80), (5, 7))
TILES = ((256, 128), (32, 16), (16, 64))

LENGTHS = st.one_of(st.sampled_from((0, 1, 127, 128, 129, 255, 256, 257)), st.integers(0, 1200))
PREFIXES = st.one_of(st.just(0), st.integers(-300, 700))


@st.composite
def asked(draw: st.DrawFn) -> PrefillRules:
    """What a planner may be asked for."""
    rows = draw(st.lists(LENGTHS, min_size=1, max_size=7))
    keys = [max(0, n + draw(PREFIXES)) for n in rows]
    heads, workers = draw(st.sampled_from(HEADS_AND_WORKERS))
    tile_q, unit_kv = draw(st.sampled_from(TILES))
    qo, kv = (tuple(np.cumsum([0, *lengths]).tolist()) for lengths in (rows, keys))
    return PrefillRules(qo, kv, heads, workers, tile_q, unit_kv)


def host_plan(rules: PrefillRules) -> PrefillBuffers:
    """The host planner's plan."""
    shape = {"heads": rules.heads, "workers": rules.workers, "tile_q": rules.tile_q, "unit_kv": rules.unit_kv}
    plan = plan_prefill(rules.qo_indptr, np.diff(rules.kv_indptr), causal=rules.causal, **shape)
    arrays = (plan.work_indptr, plan.work_info, plan.reduce_indptr, plan.final_map, plan.partial_map)
    return PrefillBuffers(*(array.astype(np.int64) for array in arrays))


def _changed(**changes: Callable[[np.ndarray], np.ndarray]) -> Callable[[PrefillBuffers], PrefillBuffers]:
    names = ("work_indptr", "work_info_set", "reduce_indptr", "reduce_final_map", "reduce_partial_map")

    def change(plan: PrefillBuffers) -> PrefillBuffers:
        return PrefillBuffers(*(changes.get(n, lambda x: x)(getattr(plan, n).copy()) for n in names))

    return change


def _word(word: int, value: Callable[[int], int], item: int = -1) -> Callable[[np.ndarray], np.ndarray]:
    def change(info: np.ndarray) -> np.ndarray:
        info[item, word] = value(int(info[item, word]))
        return info

    return change


def _first_split(word: int, value: Callable[[int], int]) -> Callable[[np.ndarray], np.ndarray]:
    def change(info: np.ndarray) -> np.ndarray:
        return _word(word, value, int(np.argmax(info[:, 1] >= 0)))(info)

    return change


def _swapped(array: np.ndarray) -> np.ndarray:
    array[[0, 1]] = array[[1, 0]]
    return array


BREAKS: Mapping[str, tuple[Callable[[PrefillBuffers], PrefillBuffers], str]] = {
    "a workgroup too few": (_changed(work_indptr=lambda x: x[:-1]), "P1"),
    "bounds that fall": (_changed(work_indptr=lambda x: x[::-1].copy()), "P1"),
    "more work than items": (_changed(work_info_set=lambda x: x[:-1]), "P13"),
    "rows of another request": (_changed(work_info_set=_word(0, lambda x: x + 1)), "P2"),
    "a tile cut short": (_changed(work_info_set=_word(3, lambda x: x - 1)), "P2"),
    "the head's range swapped": (_changed(work_info_set=_word(7, lambda x: x >> 16 | (x & 0xFFFF) << 16)), "P3"),
    "a head of another cluster": (_changed(work_info_set=_word(7, lambda _: 1 << 16)), "P3"),
    "a key left out": (_changed(work_info_set=_first_split(5, lambda x: x - 1)), "P4"),
    "a key twice": (_changed(work_info_set=_first_split(4, lambda x: x + 1)), "P4"),
    "a slot for a whole tile": (_changed(work_info_set=_word(1, lambda _: 0, 0)), "P6"),
    "no slot for a part": (_changed(work_info_set=_first_split(1, lambda _: -1)), "P6"),
    "a slot of another head's": (_changed(work_info_set=_first_split(1, lambda x: x + 512)), "P7"),
    "an offset to the tile's end": (_changed(work_info_set=_first_split(6, lambda x: x + 1)), "P8"),
    "a group of one part": (_changed(reduce_indptr=lambda x: x - (x > 0)), "P9"),
    "other rows in a group": (_changed(reduce_final_map=lambda x: x + 1), "P10"),
    "parts in another order": (_changed(reduce_partial_map=_swapped), "P11"),
}
"""What is broken in a plan of 600 tokens -> how, and the rule that must see it."""
