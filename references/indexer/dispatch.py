"""Expected decisions of vLLM's ROCm indexer, enumerated cell by cell.

Read off vLLM `rocm_fp8_paged_mqa_logits` and its backend selection (vllm-project/vllm#42062, #43781): data
only, so that no rule here can share a mistake with the resolver that is tested against it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

ARCHES = ("gfx90a", "gfx942", "gfx950", "gfx1250", "gfx1201")
"""Architectures with a row."""

AITER_STATES = ("off", "on", "incompatible")
"""AITER switched off, working, or enabled with an unexpected function signature."""

BLOCK_SIZES = (1, 16, 32, 64, 128, 256)
"""Keys a page, the columns of the grids."""

RATIOS = (1, 2, 4, 128)
"""Compression ratios: 1 for V3.2, the others for V4."""


@dataclass(frozen=True, slots=True)
class Expected:
    """One cell: what is called, and how it reads the cache."""

    path: str
    """single, block_flat, two_kernel or torch."""

    row: str
    """Table row P1..P5 that decides."""

    layout: str
    """Layout the callee assumes."""

    preshuffle: bool
    """AITER's Preshuffle argument; False where there is none."""

    chunk_k: int | None
    """AITER's ChunkK argument."""

    waves_per_eu: int | None
    """AITER's WavePerEU argument."""


CELLS: Mapping[str, Expected] = {
    "P1": Expected("block_flat", "P1", "NORMAL", False, None, None),
    "P2": Expected("torch", "P2", "NORMAL", False, None, None),
    "P3n": Expected("single", "P3", "NORMAL", False, 256, 2),
    "P3s": Expected("single", "P3", "SHUFFLE", True, 256, 2),
    "P4": Expected("two_kernel", "P4", "NORMAL", False, None, None),
    "P5": Expected("torch", "P5", "NORMAL", False, None, None),
}
"""The cells of the grid: P3n passes Preshuffle=False, P3s passes True."""

_GRID = """
arch     aiter         ratio 1    16   32   64   128  256
gfx90a   off           1     P5   P5   P5   P5   P5   P5
gfx90a   off           2     P5   P5   P5   P5   P5   P5
gfx90a   off           4     P5   P5   P5   P5   P5   P5
gfx90a   off           128   P5   P5   P5   P5   P5   P5
gfx90a   on            1     P5   P5   P5   P5   P5   P5
gfx90a   on            2     P5   P5   P5   P5   P5   P5
gfx90a   on            4     P5   P5   P5   P5   P5   P5
gfx90a   on            128   P5   P5   P5   P5   P5   P5
gfx90a   incompatible  1     P5   P5   P5   P5   P5   P5
gfx90a   incompatible  2     P5   P5   P5   P5   P5   P5
gfx90a   incompatible  4     P5   P5   P5   P5   P5   P5
gfx90a   incompatible  128   P5   P5   P5   P5   P5   P5
gfx942   off           1     P5   P5   P5   P5   P5   P5
gfx942   off           2     P5   P5   P5   P5   P5   P5
gfx942   off           4     P5   P2   P2   P1   P1   P1
gfx942   off           128   P5   P5   P5   P5   P5   P5
gfx942   on            1     P3n  P3s  P3s  P3s  P3s  P3s
gfx942   on            2     P3n  P3s  P3s  P3s  P3s  P3s
gfx942   on            4     P3n  P2   P2   P1   P1   P1
gfx942   on            128   P3n  P3s  P3s  P3s  P3s  P3s
gfx942   incompatible  1     P5   P5   P5   P5   P5   P5
gfx942   incompatible  2     P5   P5   P5   P5   P5   P5
gfx942   incompatible  4     P5   P2   P2   P1   P1   P1
gfx942   incompatible  128   P5   P5   P5   P5   P5   P5
gfx950   off           1     P5   P5   P5   P5   P5   P5
gfx950   off           2     P5   P5   P5   P5   P5   P5
gfx950   off           4     P5   P2   P2   P1   P1   P1
gfx950   off           128   P5   P5   P5   P5   P5   P5
gfx950   on            1     P3n  P3s  P3s  P3s  P3s  P3s
gfx950   on            2     P3n  P3s  P3s  P3s  P3s  P3s
gfx950   on            4     P3n  P2   P2   P1   P1   P1
gfx950   on            128   P3n  P3s  P3s  P3s  P3s  P3s
gfx950   incompatible  1     P5   P5   P5   P5   P5   P5
gfx950   incompatible  2     P5   P5   P5   P5   P5   P5
gfx950   incompatible  4     P5   P2   P2   P1   P1   P1
gfx950   incompatible  128   P5   P5   P5   P5   P5   P5
gfx1250  off           1     P5   P5   P5   P5   P5   P5
gfx1250  off           2     P5   P5   P5   P5   P5   P5
gfx1250  off           4     P5   P5   P5   P5   P5   P5
gfx1250  off           128   P5   P5   P5   P5   P5   P5
gfx1250  on            1     P4   P4   P4   P4   P4   P4
gfx1250  on            2     P4   P4   P4   P4   P4   P4
gfx1250  on            4     P4   P4   P4   P4   P4   P4
gfx1250  on            128   P4   P4   P4   P4   P4   P4
gfx1250  incompatible  1     P5   P5   P5   P5   P5   P5
gfx1250  incompatible  2     P5   P5   P5   P5   P5   P5
gfx1250  incompatible  4     P5   P5   P5   P5   P5   P5
gfx1250  incompatible  128   P5   P5   P5   P5   P5   P5
gfx1201  off           1     P5   P5   P5   P5   P5   P5
gfx1201  off           2     P5   P5   P5   P5   P5   P5
gfx1201  off           4     P5   P5   P5   P5   P5   P5
gfx1201  off           128   P5   P5   P5   P5   P5   P5
gfx1201  on            1     P4   P4   P4   P4   P4   P4
gfx1201  on            2     P4   P4   P4   P4   P4   P4
gfx1201  on            4     P4   P4   P4   P4   P4   P4
gfx1201  on            128   P4   P4   P4   P4   P4   P4
gfx1201  incompatible  1     P5   P5   P5   P5   P5   P5
gfx1201  incompatible  2     P5   P5   P5   P5   P5   P5
gfx1201  incompatible  4     P5   P5   P5   P5   P5   P5
gfx1201  incompatible  128   P5   P5   P5   P5   P5   P5
"""


def _cells(grid: str) -> dict[tuple[str, str, int, int], Expected]:
    header, *lines = grid.strip().splitlines()
    sizes = [int(size) for size in header.split()[3:]]
    cells: dict[tuple[str, str, int, int], Expected] = {}
    for line in lines:
        arch, state, ratio, *names = line.split()
        for size, name in zip(sizes, names, strict=True):
            cells[arch, state, size, int(ratio)] = CELLS[name]
    return cells


PAGED_LOGITS: Mapping[tuple[str, str, int, int], Expected] = _cells(_GRID)
"""(arch, AITER state, block_size, ratio) → decision of the decode logits."""

_WRITE_GRID = """
ratio 1       16      32      64      128     256
1     NORMAL  SHUFFLE SHUFFLE SHUFFLE SHUFFLE SHUFFLE
2     NORMAL  SHUFFLE SHUFFLE SHUFFLE SHUFFLE SHUFFLE
4     NORMAL  NORMAL  NORMAL  NORMAL  NORMAL  NORMAL
128   NORMAL  SHUFFLE SHUFFLE SHUFFLE SHUFFLE SHUFFLE
"""

_GATHER_GRID = """
ratio 1       16      32      64      128     256
1     NORMAL  SHUFFLE SHUFFLE SHUFFLE SHUFFLE SHUFFLE
2     NORMAL  SHUFFLE SHUFFLE SHUFFLE SHUFFLE SHUFFLE
4     NORMAL  NORMAL  NORMAL  NORMAL  NORMAL  NORMAL
128   NORMAL  SHUFFLE SHUFFLE SHUFFLE SHUFFLE SHUFFLE
"""


def _layouts(grid: str) -> dict[tuple[int, int], str]:
    header, *lines = grid.strip().splitlines()
    sizes = [int(size) for size in header.split()[1:]]
    return {
        (size, int(line.split()[0])): name for line in lines for size, name in zip(sizes, line.split()[1:], strict=True)
    }


WRITE_LAYOUT: Mapping[tuple[int, int], str] = _layouts(_WRITE_GRID)
"""D5 and D6: (block_size, ratio) → layout stored by the writers."""

GATHER_LAYOUT: Mapping[tuple[int, int], str] = _layouts(_GATHER_GRID)
"""D7: (block_size, ratio) → layout read by the prefill gather."""

ATTENTION_BACKENDS: Mapping[str, tuple[str, ...]] = {
    "sparse": ("ROCM_AITER_MLA_SPARSE",),
    "dense with AITER MLA": ("ROCM_AITER_MLA", "TRITON_MLA", "ROCM_AITER_TRITON_MLA"),
    "dense": ("TRITON_MLA",),
    "DeepSeek V4": ("ROCM_FLASHMLA_SPARSE_DSV4",),
}
"""D1 to D3: attention backends in the order in which they are tried."""

BLOCK_SIZE_ALLOWED: Mapping[tuple[str, int], bool] = {
    ("rocm", 1): True, ("rocm", 8): False, ("rocm", 16): True, ("rocm", 24): False, ("rocm", 48): True,
    ("rocm", 64): True, ("rocm", 256): True, ("rocm", 0): False,
    ("cuda", 1): False, ("cuda", 16): False, ("cuda", 64): True, ("cuda", 128): False,
}  # fmt: skip
"""D4: (platform, block_size) → whether the indexer backend declares it."""

FUSED_WRITE_LAYOUT: Mapping[tuple[int, int], str | None] = {
    (3, 1): "NORMAL", (3, 16): "SHUFFLE", (3, 64): "SHUFFLE", (3, 24): None,
    (2, 1): "NORMAL", (2, 24): "NORMAL", (2, 64): "NORMAL",
}  # fmt: skip
"""D8: (cache dimensions, block_size) → layout of the fused V3.2 writer, None where it refuses."""

MXFP4_KV: Mapping[tuple[str, str], bool] = {
    ("gfx90a", "off"): False, ("gfx90a", "on"): False, ("gfx90a", "incompatible"): False,
    ("gfx942", "off"): False, ("gfx942", "on"): False, ("gfx942", "incompatible"): False,
    ("gfx950", "off"): False, ("gfx950", "on"): True, ("gfx950", "incompatible"): True,
    ("gfx1250", "off"): False, ("gfx1250", "on"): False, ("gfx1250", "incompatible"): False,
    ("gfx1201", "off"): False, ("gfx1201", "on"): False, ("gfx1201", "incompatible"): False,
}  # fmt: skip
"""D9: (arch, AITER state) → whether DSv4's indexer cache defaults to mxfp4 rather than fp8."""

INDEXER_ALLOWED: Mapping[tuple[str, str], bool] = {
    ("gfx90a", "off"): False, ("gfx90a", "on"): False, ("gfx90a", "incompatible"): False,
    ("gfx942", "off"): False, ("gfx942", "on"): True, ("gfx942", "incompatible"): True,
    ("gfx950", "off"): True, ("gfx950", "on"): True, ("gfx950", "incompatible"): True,
    ("gfx1250", "off"): False, ("gfx1250", "on"): True, ("gfx1250", "incompatible"): True,
    ("gfx1201", "off"): False, ("gfx1201", "on"): True, ("gfx1201", "incompatible"): True,
    ("gfx1100", "off"): True,
}  # fmt: skip
"""D10: (arch, AITER state) → whether vLLM runs the indexer at all; elsewhere it raises RuntimeError."""

CUSTOM_OP_ENABLED = True
"""D11: the custom op `sparse_attn_indexer` on ROCm."""

SPLITS: Mapping[tuple[int, int], int] = {
    (160, 1): 3, (8192, 1): 128, (163840, 1): 256, (163840, 8): 128, (163840, 1024): 1, (163840, 2000): 1,
}  # fmt: skip
"""(max_model_len, rows) → programs a request of the block-flat kernel on 256 compute units."""
