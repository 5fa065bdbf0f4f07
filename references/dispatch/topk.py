"""Expected implementation of the indexer's top-k, enumerated (vLLM rocm_aiter_mla_sparse.py)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

ARCHES = ("gfx90a", "gfx942", "gfx950", "gfx1250", "gfx1201")
"""Architectures with a row."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What selects."""

    path: str
    """identity, aiter or native."""

    absolute: bool
    """Whether the indices count from column 0."""

    scored: bool
    """Whether logits are computed."""


CELLS: Mapping[str, Expected] = {
    "T0": Expected("identity", False, False),
    "T1p": Expected("aiter", True, True),
    "T1d": Expected("aiter", False, True),
    "T2": Expected("aiter", True, True),
    "T3": Expected("aiter", False, True),
    "T4": Expected("native", False, True),
}
"""The cells: T1p is T1 for a prefill, T1d for a decode."""

_GRID = """
phase    ratio topk  rows  columns  max_seq   op_len   mode     gfx950 others
prefill  1     2048  1000  40000    32767     0        eager    T4     T4
prefill  1     2048  1000  40000    32768     0        eager    T1p    T4
prefill  1     2048  1000  40000    100       32768    full     T1p    T4
prefill  1     2048  1000  40000    40000     32767    full     T4     T4
prefill  1     1024  1000  40000    40000     0        eager    T4     T4
prefill  1     512   1000  40000    40000     0        eager    T4     T4
decode   1     2048  1     100      100       0        eager    T1d    T4
decode   1     2048  8     163840   163840    0        eager    T1d    T4
decode   1     2048  8     163840   100       163840   full     T1d    T4
decode   1     1024  8     163840   163840    0        eager    T4     T4
decode   1     512   8     163840   163840    0        eager    T4     T4
decode   1     512   1000  163840   163840    0        eager    T4     T4
prefill  4     1024  1000  40960    163840    0        eager    T2     T4
prefill  4     512   100   1000     4000      0        eager    T2     T4
prefill  128   512   100   1000     128000    0        eager    T2     T4
prefill  4     512   100   512      2051      0        eager    T0     T0
prefill  4     512   100   513      2052      0        eager    T2     T4
prefill  4     512   100   512      2048      0        capture  T2     T4
decode   4     1024  256   65536    262147    0        eager    T3     T4
decode   4     1024  256   65537    262148    0        eager    T4     T4
decode   4     1024  257   65537    262148    0        eager    T3     T4
decode   4     1024  256   65537    100       65537    capture  T4     T4
decode   4     1024  256   65537    262148    65536    full     T3     T4
decode   4     1024  256   65537    262148    65537    full     T4     T4
decode   4     512   384   1048576  200000    0        eager    T4     T4
decode   4     512   385   1048576  200000    0        eager    T3     T4
decode   4     512   384   1048577  200000    0        eager    T3     T4
decode   4     512   257   1048576  200000    0        eager    T4     T4
decode   4     512   257   1048577  200000    0        eager    T3     T4
decode   4     513   384   1048576  200000    0        eager    T3     T4
decode   4     1024  8     1024     4099      0        eager    T0     T0
decode   4     1024  8     1024     4100      0        eager    T3     T4
decode   4     1024  8     1024     4096      0        capture  T3     T4
decode   128   1024  8     1024     131200    0        eager    T3     T4
decode   2     512   8     512      1025      0        eager    T0     T0
"""

Case = tuple[str, int, int, int, int, int, int, str]
"""phase, ratio, k, rows, columns, max_seq_len, op length, mode ("full" decides by the op's length, "capture" too)."""


def _cells(grid: str) -> dict[tuple[str, Case], str]:
    _, *lines = grid.strip().splitlines()
    cells: dict[tuple[str, Case], str] = {}
    for line in lines:
        phase, *numbers, mode, gfx950, others = line.split()
        ratio, topk, rows, columns, max_seq, op_length = map(int, numbers)
        case = (phase, ratio, topk, rows, columns, max_seq, op_length, mode)
        for arch in ARCHES:
            cells[arch, case] = gfx950 if arch == "gfx950" else others
    return cells


TOP_K: Mapping[tuple[str, Case], str] = _cells(_GRID)
"""(arch, case) → cell with AITER on; without AITER gfx950 decides like the others."""
