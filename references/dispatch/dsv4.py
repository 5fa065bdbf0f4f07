"""Expected decisions of DeepSeek V4's attention, enumerated (vllm-project/vllm#41812)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

ARCHES = ("gfx90a", "gfx942", "gfx950", "gfx1250", "gfx1201")
"""Architectures with a row."""

DECODE: Mapping[tuple[str, bool, bool], str] = {
    ("gfx90a", False, False): "S4", ("gfx90a", True, False): "S4", ("gfx90a", True, True): "S4",
    ("gfx942", False, False): "S2", ("gfx942", True, False): "S2", ("gfx942", True, True): "S2",
    ("gfx950", False, False): "S3", ("gfx950", True, False): "S1", ("gfx950", True, True): "S3",
    ("gfx1250", False, False): "S4", ("gfx1250", True, False): "S4", ("gfx1250", True, True): "S4",
    ("gfx1201", False, False): "S4", ("gfx1201", True, False): "S4", ("gfx1201", True, True): "S4",
}  # fmt: skip
"""(arch, AITER Triton sparse MLA switched on, KV connector) → row of the decode."""

DECODE_PATH: Mapping[str, tuple[str, str | None, int | None, bool]] = {
    "S1": ("aiter_triton", None, None, False),
    "S2": ("split", "gfx942", 512, False),
    "S3": ("split", "gfx950", None, True),
    "S4": ("single", None, None, False),
}
"""Row → path, split rule, NOPE_BLOCK, and whether a bf16 output is written directly."""

SPLITS: Mapping[tuple[str, int, int, int, int], int] = {
    ("gfx942", 1, 16, 128, 0): 4,
    ("gfx942", 1, 16, 128, 512): 16,
    ("gfx942", 224, 16, 224 * 128, 224 * 512): 4,
    ("gfx942", 304, 16, 304 * 128, 304 * 512): 1,
    ("gfx950", 1, 128, 128, 512): 32,
    ("gfx950", 16, 128, 16 * 128, 16 * 512): 4,
    ("gfx950", 17, 16, 17 * 128, 17 * 32): 4,
    ("gfx950", 512, 16, 512 * 128, 512 * 7812): 1,
    ("gfx90a", 1, 16, 128, 512): 1,
    ("gfx1250", 1, 16, 128, 512): 1,
}
"""(arch, queries, heads, elements of the main list, of the extra list) → splits; 304 compute units on gfx942."""

NAN_TRUST: Mapping[tuple[str, str, bool, int], bool] = {
    ("gfx950", "fp8_ds_mla", False, 4): True,
    ("gfx950", "fp8_ds_mla", False, 128): True,
    ("gfx950", "fp8_ds_mla", False, 1): False,
    ("gfx950", "fp8_ds_mla", True, 4): False,
    ("gfx950", "fp8", False, 4): False,
    ("gfx950", "auto", False, 4): False,
    ("gfx942", "fp8_ds_mla", False, 4): False,
    ("gfx90a", "fp8_ds_mla", False, 4): False,
    ("gfx1250", "fp8_ds_mla", False, 4): False,
    ("gfx1201", "fp8_ds_mla", False, 4): False,
}
"""S5: (arch, cache dtype, KV transfer, ratio) → whether the extra cache's NaN scrub is skipped."""

ADAPTIVE: Mapping[tuple[str, int, bool, int, int, int], str] = {
    ("gfx950", 128, True, 16, 16, 512): "adaptive",
    ("gfx950", 128, True, 15, 16, 512): "fixed",
    ("gfx950", 128, True, 2, 128, 512): "adaptive",
    ("gfx950", 128, True, 43, 16, 1024): "adaptive",
    ("gfx950", 128, True, 17, 16, 32): "fixed",
    ("gfx950", 128, False, 16, 16, 512): "off",
    ("gfx950", 4, True, 16, 16, 512): "off",
    ("gfx950", 1, True, 16, 16, 512): "off",
    ("gfx942", 128, True, 16, 16, 512): "off",
    ("gfx90a", 128, True, 16, 16, 512): "off",
    ("gfx1250", 128, True, 16, 16, 512): "off",
    ("gfx1201", 128, True, 16, 16, 512): "off",
}
"""S6: (arch, ratio, metadata built for a capture, queries, heads, extra elements a query) → adaptive splits.

The rule gives 17 queries of 128 + 32 elements 4 splits, which leaves nothing to adapt, and 43 of 128 + 1024 five.
"""

INVERSE_ROPE: Mapping[tuple[str, bool, bool], tuple[str, bool, bool]] = {
    ("gfx90a", False, False): ("fused", True, False),
    ("gfx942", False, False): ("fused", True, True),
    ("gfx950", False, False): ("fused", True, True),
    ("gfx1250", False, False): ("standalone", False, False),
    ("gfx1201", False, False): ("fused", True, False),
    ("gfx90a", True, False): ("standalone", False, False),
    ("gfx942", True, False): ("standalone", False, False),
    ("gfx950", True, False): ("standalone", False, False),
    ("gfx1250", True, False): ("standalone", False, False),
    ("gfx1201", True, False): ("standalone", False, False),
    ("gfx950", False, True): ("standalone", False, False),
    ("gfx942", False, True): ("fused", True, True),
}
"""S7: (arch, wo_a quantised beforehand, AITER Triton sparse MLA on) → path, rows reported, rows really rotated.

gfx90a and RDNA4 report rows that nobody has rotated.
"""

MAIN_FP8: Mapping[str, str] = {
    "gfx90a": "e4m3fn", "gfx942": "e4m3fnuz", "gfx950": "e4m3fn", "gfx1250": "e4m3fn", "gfx1201": "e4m3fn",
}  # fmt: skip
"""S8: format of the main cache."""

EXTRA_FP8 = "e4m3fn"
"""S8: format of the extra cache, everywhere."""

OPUS_BREAKS: Mapping[str, dict[str, Any]] = {
    "another arch": {"arch": "gfx942"},
    "gfx1250": {"arch": "gfx1250"},
    "1023 queries": {"queries": 1023},
    "a CPU tensor": {"device": "cpu"},
    "a narrower output": {"output_shape": (1024, 16, 448)},
    "a wider key": {"kv_dim": 576},
    "another key dtype": {"kv_dtype": "fp16"},
    "another output dtype": {"output_dtype": "fp16"},
    "fp32 everywhere": {"dtype": "fp32"},
    "a key on another device": {"kv_device": "cuda:1"},
    "a strided key": {"kv_strides": (1024, 1024, 2)},
    "a padded output": {"output_strides": (16 * 640, 640, 1)},
    "no sink": {"sink": None},
    "a longer sink": {"sink_shape": (32,)},
    "a bf16 sink": {"sink_dtype": "bf16"},
    "a sink on another device": {"sink_device": "cuda:1"},
    "AITER off": {"aiter": "off"},
    "AITER MLA off": {"aiter_mla": False},
    "no OPUS kernel": {"opus_importable": False},
}
"""S9: what keeps a prefill of 1024 queries, 16 heads, 512 dims on gfx950 from OPUS, one thing at a time."""

BLOCK_K: Mapping[int, int] = {64: 32, 128: 32, 255: 32, 256: 16, 512: 16, 576: 16}
"""S10: head dim → BLOCK_K."""

INDICES: Mapping[int, str | None] = {
    0: "swa_only", 1: "swa_only", 4: "per_step", 128: "precomputed", 2: None, 64: None,
}  # fmt: skip
"""S11: compression ratio → where decode indices come from; None for a ratio that no layer has."""

MXFP8: Mapping[str, bool] = {
    "gfx90a": False, "gfx942": False, "gfx950": True, "gfx1250": False, "gfx1201": False,
}  # fmt: skip
"""S12: arch → MXFP8 output."""

RAGGED_ELEMENTS: Mapping[tuple[str, int, int], int] = {
    ("gfx90a", 512, 4096): 4096, ("gfx942", 512, 4096): 4096, ("gfx950", 512, 4096): 512,
    ("gfx1250", 512, 4096): 4096, ("gfx1201", 512, 4096): 4096, ("gfx950", 4096, 4096): 4096,
}  # fmt: skip
"""S13: (arch, elements of the source, of the graph buffer) → elements that the attention kernel sees."""

FNUZ_WRITER: Mapping[str, bool] = {
    "gfx90a": False, "gfx942": True, "gfx950": False, "gfx1250": False, "gfx1201": False,
}  # fmt: skip
"""S15: arch → whether the writer accepts use_fnuz."""
