"""Expected implementation of the prefill logits, enumerated (vLLM rocm_aiter_mla_sparse.py, AITER fp8_mqa_logits)."""

from __future__ import annotations

from collections.abc import Mapping

ARCHES = ("gfx90a", "gfx942", "gfx950", "gfx1250", "gfx1201")
"""Architectures with a row."""

AITER_STATES = ("off", "on", "incompatible")
"""AITER switched off, working, or enabled without a usable function."""

ROW: Mapping[tuple[str, str], str] = {
    ("gfx90a", "off"): "L3", ("gfx90a", "on"): "L3", ("gfx90a", "incompatible"): "L3",
    ("gfx942", "off"): "L3", ("gfx942", "on"): "L1", ("gfx942", "incompatible"): "L1",
    ("gfx950", "off"): "L3", ("gfx950", "on"): "L2", ("gfx950", "incompatible"): "L3",
    ("gfx1250", "off"): "L3", ("gfx1250", "on"): "L2", ("gfx1250", "incompatible"): "L3",
    ("gfx1201", "off"): "L3", ("gfx1201", "on"): "L2", ("gfx1201", "incompatible"): "L3",
}  # fmt: skip
"""(arch, AITER state) → row. gfx90a never has AITER; gfx942 never asks whether AITER's module is usable."""

PATH: Mapping[str, tuple[str, str]] = {
    "L1": ("flydsl", "undefined"),
    "L2": ("aiter", "undefined"),
    "L3": ("torch", "-inf"),
}
"""Row → package entry and what it leaves outside the window; no fast path cleans it."""

AITER_KERNEL: Mapping[tuple[str, tuple[int, int], int], tuple[str, int | None, int | None]] = {
    ("gfx942", (3, 5), 65536): ("triton", 128, 2),
    ("gfx942", (3, 5), 65537): ("triton", 64, 1),
    ("gfx942", (3, 6), 0): ("triton", 128, 2),
    ("gfx942", (3, 9), 98304): ("triton", 64, 1),
    ("gfx950", (3, 5), 0): ("triton", 128, 2),
    ("gfx950", (3, 5), 98304): ("triton", 128, 2),
    ("gfx950", (3, 6), 0): ("gluon", None, None),
    ("gfx950", (3, 9), 0): ("gluon", None, None),
    ("gfx1250", (3, 5), 0): ("triton", 128, 2),
    ("gfx1250", (3, 6), 0): ("gluon", None, None),
    ("gfx1201", (3, 5), 0): ("triton", 128, 2),
    ("gfx1201", (3, 9), 0): ("triton", 128, 2),
}
"""(arch, Triton version, LDS bytes of the staged tile) → kernel inside AITER's function, keys a tile, stages."""
