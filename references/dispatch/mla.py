"""Expected decisions of the MLA backends, enumerated (vllm-project/vllm#36574, #42509, #43781, #56861; AITER)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

ARCHES = ("gfx90a", "gfx942", "gfx950", "gfx1250", "gfx1201")
"""Architectures with a row."""

_DECODE = """
heads qlen dtype mtp  padding  gfx950        others
8     1    bf16  4    auto     gluon_decode  persistent
8     1    bf16  4    gluon    gluon_decode  persistent
8     1    bf16  4    asm      persistent    persistent
12    1    bf16  4    auto     persistent    persistent
12    1    bf16  4    gluon    gluon_decode  persistent
1     1    bf16  1    auto     gluon_decode  persistent
15    1    bf16  1    auto     persistent    persistent
15    1    bf16  1    gluon    gluon_decode  persistent
8     1    fp8   4    auto     persistent    persistent
8     1    fp16  4    gluon    persistent    persistent
16    1    bf16  4    auto     persistent    persistent
24    1    bf16  4    gluon    persistent    persistent
128   1    bf16  4    auto     persistent    persistent
8     2    bf16  4    auto     gluon_verify  persistent
12    4    bf16  4    asm      gluon_verify  persistent
8     5    bf16  8    auto     gluon_verify  split_kv
8     5    fp8   8    auto     persistent    persistent
8     4    fp8   8    auto     persistent    persistent
8     5    fp16  8    auto     split_kv      split_kv
8     4    fp16  8    auto     persistent    persistent
15    5    bf16  8    auto     gluon_verify  split_kv
16    5    bf16  8    auto     persistent    persistent
128   8    bf16  8    auto     persistent    persistent
16    5    bf16  4    auto     split_kv      split_kv
16    2    bf16  1    auto     split_kv      split_kv
8     2    bf16  1    auto     gluon_verify  split_kv
"""

DecodeCase = tuple[int, int, str, int, str]
"""heads, qlen, cache dtype, MTP qlen, VLLM_ROCM_AITER_MLA_ASM_PADDING."""


def _decode(grid: str) -> dict[tuple[str, DecodeCase], str]:
    _, *lines = grid.strip().splitlines()
    cells: dict[tuple[str, DecodeCase], str] = {}
    for line in lines:
        heads, qlen, dtype, mtp, padding, gfx950, others = line.split()
        case = (int(heads), int(qlen), dtype, int(mtp), padding)
        for arch in ARCHES:
            cells[arch, case] = gfx950 if arch == "gfx950" else others
    return cells


DECODE: Mapping[tuple[str, DecodeCase], str] = _decode(_DECODE)
"""(arch, case) → path of a causal decode on one rank."""

DECODE_ROW: Mapping[str, str] = {
    "gluon_decode": "M1", "gluon_verify": "M2", "persistent": "M3", "split_kv": "M3",
}  # fmt: skip
"""Path → row."""

PADDING: Mapping[tuple[int, bool, bool], tuple[str, int] | None] = {
    (1, False, False): ("repeat", 16), (2, False, False): ("repeat", 16), (4, False, False): ("repeat", 16),
    (6, False, False): ("tile", 16), (8, False, False): ("repeat", 16), (12, False, False): ("tile", 16),
    (15, False, False): ("tile", 16),
    (16, False, False): ("none", 16), (20, False, False): ("tile", 32), (24, False, False): ("tile", 32),
    (24, True, False): ("none", 24), (24, True, True): ("tile", 32), (24, False, True): ("tile", 32),
    (32, False, False): ("none", 32), (40, False, False): ("tile", 48), (40, True, False): ("tile", 48),
    (64, False, False): ("none", 64), (100, False, False): ("tile", 112), (127, False, False): ("tile", 128),
    (128, False, False): ("none", 128), (129, False, False): None, (144, False, False): ("none", 144),
    (0, False, False): None, (-16, False, False): None, (136, False, False): None,
}  # fmt: skip
"""M4: (heads, AITER has the 24-head kernel, FP8 prefill) → how they are padded and to what; None is refused."""

SOURCES: Mapping[int, tuple[tuple[int, ...], tuple[int, ...]]] = {
    8: ((0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7), (0, 2, 4, 6, 8, 10, 12, 14)),
    12: ((0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 0, 1, 2, 3), (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11)),
    16: (
        (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
        (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
    ),
}  # fmt: skip
"""M4: heads → real head of each kernel head, and the kernel heads that are the result."""

NON_CAUSAL: Mapping[tuple[str, str, int, int], bool] = {
    ("gfx950", "fp8", 2, 16): False, ("gfx950", "fp8", 2, 8): False, ("gfx950", "fp8", 2, 32): True,
    ("gfx950", "fp8", 2, 24): True, ("gfx950", "fp8", 2, 48): False, ("gfx950", "fp8", 2, 64): True,
    ("gfx950", "fp8", 2, 80): False, ("gfx950", "fp8", 2, 96): True, ("gfx950", "fp8", 2, 112): False,
    ("gfx950", "fp8", 2, 128): True, ("gfx950", "fp8", 2, 120): True, ("gfx950", "fp8", 2, 144): False,
    ("gfx950", "fp8", 1, 16): True, ("gfx950", "fp8", 3, 16): True, ("gfx950", "bf16", 2, 16): True,
    ("gfx942", "bf16", 2, 32): False, ("gfx942", "fp8", 2, 32): False, ("gfx90a", "bf16", 1, 16): False,
    ("gfx1250", "bf16", 1, 16): False, ("gfx1201", "bf16", 1, 16): False,
}  # fmt: skip
"""M5: (arch, cache dtype, qlen, heads) → whether a non-causal block runs."""

DCP_ROUTE: Mapping[tuple[str, int, bool, int, int], str] = {
    ("gfx950", 1, True, 4, 16): "PLAIN", ("gfx950", 8, True, 1, 96): "PLAIN", ("gfx950", 8, True, 2, 96): "SEGMENTED",
    ("gfx950", 8, True, 3, 96): "CPRR", ("gfx950", 8, True, 4, 16): "CPRR", ("gfx950", 8, True, 4, 32): "CPRR",
    ("gfx950", 8, True, 4, 64): "CPRR", ("gfx950", 8, True, 4, 128): "CPRR",
    ("gfx950", 8, True, 4, 256): "SEGMENTED", ("gfx950", 8, False, 4, 96): "PLAIN",
    ("gfx942", 8, True, 4, 96): "TRITON", ("gfx942", 8, True, 2, 16): "TRITON", ("gfx942", 8, True, 1, 16): "PLAIN",
    ("gfx942", 1, True, 4, 16): "PLAIN", ("gfx1250", 8, True, 4, 16): "SEGMENTED",
    ("gfx90a", 8, True, 4, 16): "SEGMENTED", ("gfx1201", 8, True, 4, 16): "SEGMENTED",
}  # fmt: skip
"""M6: (arch, ranks, causal, qlen, heads of all ranks) → route."""

CPRR_WIDTH: Mapping[int, int | None] = {1: 16, 16: 16, 17: 32, 65: 128, 96: 128, 128: 128, 129: None}
"""M6: heads → heads of the round-robin kernel."""

_KERNEL_HEADS = """
arch    dtype qlen   8 12 16 24 32 48 64 80 96 112 128 144
gfx90a  bf16  1      - -  n  -  f  f  f  f  f  f   f   -
gfx90a  fp8   1      - -  n  -  f  f  f  f  f  f   f   -
gfx942  bf16  1      - -  n  -  f  f  f  f  f  f   f   -
gfx942  bf16  2      n -  n  -  f  f  f  f  f  f   f   -
gfx942  bf16  4      - -  n  -  f  f  f  f  f  f   f   -
gfx942  fp8   1      - -  n  -  f  f  n  f  f  f   n   -
gfx942  fp8   2      - -  n  -  f  f  f  f  f  f   n   -
gfx942  fp8   4      - -  n  -  f  f  f  f  f  f   n   -
gfx950  bf16  1      n n  n  n  n  n  n  n  n  n   n   n
gfx950  bf16  2      n n  n  n  n  n  n  n  n  n   n   n
gfx950  bf16  4      n n  n  n  n  n  n  n  n  n   n   n
gfx950  fp8   1      - -  n  -  n  f  n  f  f  f   n   -
gfx950  fp8   2      - -  n  -  n  f  n  f  f  f   n   -
gfx950  fp8   4      n -  n  -  n  f  n  f  f  f   n   -
gfx1250 bf16  1      - -  n  -  f  f  f  f  f  f   f   -
gfx1250 fp8   1      - -  n  -  f  f  f  f  f  f   f   -
gfx1201 bf16  1      - -  n  -  f  f  f  f  f  f   f   -
"""


def _kernel_heads(grid: str) -> dict[tuple[str, str, int, int], str]:
    header, *lines = grid.strip().splitlines()
    heads = [int(count) for count in header.split()[3:]]
    cells: dict[tuple[str, str, int, int], str] = {}
    for line in lines:
        arch, dtype, qlen, *marks = line.split()
        for count, mark in zip(heads, marks, strict=True):
            cells[arch, dtype, int(qlen), count] = mark
    return cells


KERNEL_HEADS: Mapping[tuple[str, str, int, int], str] = _kernel_heads(_KERNEL_HEADS)
"""M7: (arch, dtype of queries and cache, qlen, heads) → n native, f folded to 16, - refused."""

FOLDED_ROWS: Mapping[int, tuple[tuple[int, int, int, int], ...]] = {
    1: ((0, 0, 0, 0), (0, 0, 1, 1), (1, 0, 0, 2), (1, 0, 1, 3)),
    2: (
        (0, 0, 0, 0), (0, 1, 0, 1), (0, 0, 1, 2), (0, 1, 1, 3),
        (1, 0, 0, 4), (1, 1, 0, 5), (1, 0, 1, 6), (1, 1, 1, 7),
    ),
}  # fmt: skip
"""M7: qlen → (request, token, group, row of the kernel's query) of 2 requests and 32 heads."""

DOWNGRADED: Mapping[tuple[str, str, int, int, int, int | None], bool] = {
    ("gfx950", "bf16", 16, 1, 32, None): True, ("gfx950", "bf16", 16, 1, 31, None): False,
    ("gfx950", "bf16", 16, 1, 32, 8): False, ("gfx950", "bf16", 16, 2, 32, None): False,
    ("gfx950", "bf16", 32, 1, 32, None): False, ("gfx950", "fp8", 16, 1, 32, None): False,
    ("gfx942", "bf16", 16, 1, 32, None): False, ("gfx90a", "bf16", 16, 1, 32, None): False,
}  # fmt: skip
"""(arch, dtype, heads, qlen, requests, num_kv_splits) → whether AITER ignores the persistent metadata."""

FP8_PREFILL: Mapping[str, tuple[dict[str, Any], str, str]] = {
    "all holds": ({}, "enabled", "fp8_persistent"),
    "12 heads": ({"heads": 12}, "enabled", "fp8_persistent"),
    "an invalid head count": ({"heads": 136}, "disabled", "parent"),
    "gfx942": ({"arch": "gfx942"}, "disabled", "parent"),
    "gfx90a": ({"arch": "gfx90a"}, "disabled", "parent"),
    "gfx1250": ({"arch": "gfx1250"}, "disabled", "parent"),
    "gfx1201": ({"arch": "gfx1201"}, "disabled", "parent"),
    "no symbols": ({"symbols": False}, "disabled", "parent"),
    "a bf16 cache": ({"kv_dtype": "bf16"}, "disabled", "parent"),
    "an fp16 model": ({"model_dtype": "fp16"}, "disabled", "parent"),
    "no metadata": ({"metadata": False}, "enabled", "parent"),
    "chunked context": ({"chunked_context": True}, "enabled", "parent"),
}
"""M8, M9: what differs from a model that can → for the model, for the batch."""

MERGE: Mapping[tuple[str, str, str, int], str] = {
    ("cuda", "", "bfloat16", 512): "packed", ("cuda", "", "bfloat16", 516): "general",
    ("cpu", "", "bfloat16", 512): "torch", ("rocm", "gfx90a", "bfloat16", 512): "general",
    ("rocm", "gfx942", "bfloat16", 512): "packed", ("rocm", "gfx942", "float16", 128): "packed",
    ("rocm", "gfx942", "float32", 132): "packed", ("rocm", "gfx942", "bfloat16", 132): "general",
    ("rocm", "gfx942", "float32", 130): "general", ("rocm", "gfx942", "float64", 128): "general",
    ("rocm", "gfx950", "bfloat16", 512): "packed", ("rocm", "gfx1250", "bfloat16", 512): "packed",
    ("rocm", "gfx1201", "bfloat16", 512): "general",
}  # fmt: skip
"""M10: (platform, arch, dtype, head dim) → merge kernel."""

SPARSE: Mapping[str, tuple[dict[str, Any], tuple[str, int, int, int | None, int | None]]] = {
    "plain": ({}, ("persistent", 128, 1, None, 16)),
    "gfx942": ({"arch": "gfx942"}, ("persistent", 128, 1, None, 16)),
    "fp8": ({"dtype": "fp8"}, ("persistent", 128, 1, None, 16)),
    "8 heads": ({"heads": 8}, ("persistent", 16, 1, None, 16)),
    "short": ({"max_seq_len": 100}, ("persistent", 128, 1, None, 1)),
    "a key too few for two splits": ({"max_seq_len": 255}, ("persistent", 128, 1, None, 1)),
    "two splits": ({"max_seq_len": 256}, ("persistent", 128, 1, None, 2)),
    "a long bf16 prefill on gfx90a": (
        {"arch": "gfx90a", "pure_prefill": True, "max_prefill_len": 2049}, ("split_kv", 128, 1, None, None)),
    "three splits": ({"max_seq_len": 400}, ("persistent", 128, 1, None, 4)),
    "a long context": ({"max_seq_len": 10**6, "topk": 10**6}, ("persistent", 128, 1, None, 256)),
    "sinks elsewhere": ({"any_sinks": True}, ("split_kv", 128, 1, None, None)),
    "a long bf16 prefill": ({"pure_prefill": True, "max_prefill_len": 2049}, ("split_kv", 128, 1, None, None)),
    "a bf16 prefill of k": ({"pure_prefill": True, "max_prefill_len": 2048}, ("persistent", 128, 1, None, 16)),
    "a long fp8 prefill": (
        {"pure_prefill": True, "max_prefill_len": 2049, "dtype": "fp8"}, ("persistent", 128, 1, None, 16)),
    "a long bf16 prefill on gfx942": (
        {"arch": "gfx942", "pure_prefill": True, "max_prefill_len": 2049}, ("triton", 128, 1, None, None)),
    "without rope": ({"rope_free": True}, ("triton", 128, 1, None, None)),
    "fp8 without rope": ({"rope_free": True, "dtype": "fp8"}, ("persistent", 128, 1, None, 16)),
    "fp16 sinks": ({"sinks": True, "dtype": "fp16"}, ("triton", 128, 1, None, None)),
    "bf16 sinks": ({"sinks": True}, ("lse", 128, 1, None, None)),
    "144 heads with sinks": ({"sinks": True, "heads": 144}, ("triton", 144, 1, None, None)),
    "8 heads with sinks": ({"sinks": True, "heads": 8}, ("lse", 16, 2, None, None)),
    "12 heads with sinks": ({"sinks": True, "heads": 12}, ("lse", 16, 1, None, None)),
    "32 heads with sinks on gfx950": ({"sinks": True, "heads": 32}, ("lse", 32, 1, 1, None)),
    "32 heads with sinks on gfx942": ({"sinks": True, "heads": 32, "arch": "gfx942"}, ("lse", 32, 1, None, None)),
    "33 heads with sinks on gfx942": ({"sinks": True, "heads": 33, "arch": "gfx942"}, ("triton", 33, 1, None, None)),
    "64 heads with sinks on gfx942": ({"sinks": True, "heads": 64, "arch": "gfx942"}, ("triton", 64, 1, None, None)),
    "80 heads with sinks on gfx942": ({"sinks": True, "heads": 80, "arch": "gfx942"}, ("lse", 128, 1, None, None)),
    "48 heads with sinks": ({"sinks": True, "heads": 48}, ("lse", 64, 1, None, None)),
    "fp8 sinks": ({"sinks": True, "dtype": "fp8"}, ("lse", 128, 1, None, None)),
    "32 fp8 heads with sinks": ({"sinks": True, "dtype": "fp8", "heads": 32}, ("lse", 128, 4, None, None)),
    "fp8 sinks on gfx942": (
        {"sinks": True, "dtype": "fp8", "heads": 16, "arch": "gfx942"}, ("lse", 16, 1, 2, None)),
}  # fmt: skip
"""M11: what differs from 128 bf16 heads on gfx950 → path, kernel heads, output stride, splits, max_split_per_batch."""

INDEXER_ROPE: Mapping[tuple[str, bool, bool], tuple[str, bool]] = {
    ("cuda", False, False): ("fused", True), ("cuda", True, True): ("fused", True),
    ("rocm", True, False): ("inplace", True), ("rocm", True, True): ("inplace", False),
    ("rocm", False, False): ("functional", True), ("rocm", False, True): ("functional", True),
}  # fmt: skip
"""M12: (platform, is_inplace_rope, forward is functional) → path, and whether anything ends up rotated."""
