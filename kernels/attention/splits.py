"""How many splits share one query's keys: pure functions of shapes and compute units.

Source: vLLM rocm_aiter_mla_sparse.py, the split heuristics of the sparse decode (vllm-project/vllm#41812). Their
list lengths are averages of the buffers' capacity, so that no device value is read.
"""

from __future__ import annotations

import functools
from typing import Literal, TypeAlias

SplitRule: TypeAlias = Literal["gfx942", "gfx950"]
"""Whose heuristic: "gfx942" balances waves against a cost of 0.04 a split, "gfx950" fills the device twice."""

BLOCK_K = 32
"""Keys of an iteration, as the heuristics count them."""

MAX_SPLITS = 32
"""No rule ever gives more."""

_GFX942_MOST = 16
_GFX942_COST = 0.04
_TIE = 1e-9
_BUSY = 16
"""Workgroups from which the gfx950 rule looks at iterations and waves."""

_BF16_SPLIT_FROM = 512


def iterations(splits: int, main_length: int, extra_length: int) -> int:
    """Key tiles that the longest split walks: each list is cut into `splits` slices of equal length."""
    lengths = (main_length, extra_length)
    return sum(_cdiv(_cdiv(length, splits), BLOCK_K) for length in lengths if length > 0)


# Launches repeat shapes, and the search costs as much as a launch.
@functools.lru_cache(maxsize=4096)
def decode_splits(
    rule: SplitRule,
    *,
    queries: int,
    head_blocks: int,
    main_length: int,
    extra_length: int,
    compute_units: int,
) -> int:
    """Splits of the fp8 decode for average list lengths; at least 1, at most `MAX_SPLITS`."""
    base = max(1, queries * head_blocks)
    if rule == "gfx942":
        costs = {s: _cdiv(base * s, compute_units) * (1 / s + _GFX942_COST) for s in range(1, _GFX942_MOST + 1)}
        splits = min(s for s in costs if costs[s] <= min(costs.values()) + _TIE)
        return _fewest(splits, base, main_length, extra_length, compute_units)
    splits = min(MAX_SPLITS, max(1, _cdiv(2 * compute_units, base)))
    if base >= _BUSY and splits > 4 and iterations(4, main_length, extra_length) <= 3:
        splits = 4
    if _BUSY <= base < 64:
        one_wave = max(1, compute_units // base)
        waves = 1 if iterations(one_wave, main_length, extra_length) <= 9 else 2
        splits = min(splits, max(1, waves * compute_units // base))
    if base >= _BUSY and splits > 1:
        splits = _fewest(splits, base, main_length, extra_length, compute_units)
    return splits


def bf16_decode_splits(rule: SplitRule, *, queries: int, heads: int, length: int, compute_units: int) -> int:
    """Splits of the decode over an unquantised cache: none below 512 keys, never less than a tile each."""
    if length < _BF16_SPLIT_FROM:
        return 1
    splits = decode_splits(
        rule,
        queries=queries,
        head_blocks=_cdiv(heads, 16),
        main_length=length,
        extra_length=0,
        compute_units=compute_units,
    )
    return min(splits, _cdiv(length, BLOCK_K))


def _fewest(splits: int, base: int, main_length: int, extra_length: int, compute_units: int) -> int:
    """The smallest number of splits with the same waves and the same iterations."""
    wanted = _cdiv(base * splits, compute_units), iterations(splits, main_length, extra_length)
    return next(
        s
        for s in range(1, splits + 1)
        if (_cdiv(base * s, compute_units), iterations(s, main_length, extra_length)) == wanted
    )


def _cdiv(a: int, b: int) -> int:
    return -(-a // b)
