"""Which indexer kernel runs, and in which layout: vLLM's decisions as data and pure functions.

`DISPATCH` restates vLLM's ROCm indexer (vllm-project/vllm#42062, #43781): row names P1..P5 and D1..D11 are
those of the expected tables in `references/indexer/dispatch.py`. Each field is one decision that can be
replaced on its own with `dataclasses.replace`.
"""

# ruff: noqa: A002
# "aiter" is the package here, not the builtin.
from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from rocassay.harness.arch import cdna_of, is_rdna4, profile
from rocassay.harness.layouts import LayoutError

LayoutName: TypeAlias = Literal["NORMAL", "SHUFFLE"]
"""Arrangement of the values inside a page of the indexer cache."""

PathName: TypeAlias = Literal["single", "block_flat", "two_kernel", "torch"]
"""Which implementation scores the paged cache."""

RowName: TypeAlias = Literal["P1", "P2", "P3", "P4", "P5"]
"""Row of the decode-logits table, evaluated top to bottom."""

_MI3XX = frozenset({"gfx942", "gfx950"})
_TILE = 16


class Aiter(enum.Enum):
    """State of the AITER package as vLLM sees it."""

    OFF = "off"
    """Absent or switched off."""

    ON = "on"
    """Enabled, and its paged-logits function takes the expected parameters."""

    INCOMPATIBLE = "incompatible"
    """Enabled, but the function is missing or lacks a required parameter."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What `rocm_fp8_paged_mqa_logits` calls, and with which arguments."""

    path: PathName
    """Implementation that runs."""

    row: RowName
    """Table row that decided."""

    layout: LayoutName
    """Layout that the implementation assumes when it reads the cache."""

    preshuffle: bool
    """AITER's Preshuffle argument; False where there is none."""

    kv_block_size: int
    """Keys a page, AITER's KVBlockSize."""

    chunk_k: int | None = None
    """AITER's ChunkK; None where the path has no such argument."""

    waves_per_eu: int | None = None
    """AITER's WavePerEU; None where the path has no such argument."""


@dataclass(frozen=True, slots=True)
class BlockSizes:
    """Block sizes that a backend declares: some exact ones, and the multiples of one number."""

    exact: frozenset[int]
    """Sizes allowed one by one."""

    multiple_of: int | None
    """Every positive multiple of this is allowed too; None for no such family."""

    def allows(self, block_size: int) -> bool:
        """Whether a page may hold this many keys."""
        family = self.multiple_of is not None and block_size > 0 and block_size % self.multiple_of == 0
        return block_size in self.exact or family


@dataclass(frozen=True, slots=True)
class KvDtype:
    """Indexer cache element type of DSv4 and whether its mxfp4 kernels run."""

    name: Literal["fp8", "mxfp4"]
    """Stored element type."""

    separate_kernels: bool
    """Whether the cache is read by kernels of its own instead of the fp8 ones."""


def _write_layout(block_size: int, ratio: int) -> LayoutName:
    """D5 and D6: a page of one key can only be linear; the ratio-4 compressor is always block-flat."""
    return "NORMAL" if ratio == 4 or block_size == 1 else "SHUFFLE"


def _preshuffle(block_size: int) -> bool:
    """P3: the single kernel reads tiles whenever the writer tiled."""
    return block_size > 1


@dataclass(frozen=True, slots=True)
class IndexerDispatch:
    """The decision table; every field is an entry that can be replaced on its own."""

    single_kernel_arches: frozenset[str] = _MI3XX
    """P3: where AITER's single kernel runs instead of stage 1 and a sum (vllm-project/vllm#42062)."""

    block_flat_arches: frozenset[str] = _MI3XX
    """P1 and P2: where ratio-4 caches bypass AITER."""

    block_flat_ratio: int = 4
    """P1 and P2: compression ratio of the caches that the compressor writes block-flat."""

    block_flat_tile: int = 64
    """P1: the block-flat kernel's key tile, which must divide the page; P2 takes the rest."""

    write_layout: Callable[[int, int], LayoutName] = _write_layout
    """D5, D6: (block_size, ratio) → layout that the writer stores (vllm-project/vllm#43781)."""

    gather_layout: Callable[[int, int], LayoutName] = _write_layout
    """D7: (block_size, ratio) → layout that the prefill gather reads."""

    preshuffle: Callable[[int], bool] = _preshuffle
    """P3: block_size → Preshuffle, which makes the single kernel read SHUFFLE (vllm-project/vllm#43781)."""

    chunk_k: int = 256
    """P3: ChunkK passed to the single kernel."""

    waves_per_eu: int = 2
    """P3: WavePerEU passed to the single kernel."""

    gluon_arches: frozenset[str] = _MI3XX
    """P1 to P3: where the single kernel is the Gluon one, for the flavour that the matrix instructions multiply."""

    gluon_triton: tuple[int, int] = (3, 9)
    """First Triton release whose Gluon this package's kernels are checked with."""

    two_kernel_layout: LayoutName = "NORMAL"
    """P4: stage 1 has no Preshuffle option and reads block-flat pages whatever was written."""

    torch_layout: LayoutName = "NORMAL"
    """P2, P5: the torch implementation never understands SHUFFLE."""

    rocm_block_sizes: BlockSizes = BlockSizes(frozenset({1}), _TILE)
    """D4 on ROCm: SHUFFLE needs whole 16-key tiles, NORMAL is written for one key."""

    cuda_block_sizes: BlockSizes = BlockSizes(frozenset({64}), None)
    """D4 on CUDA."""

    custom_op_enabled: bool = True
    """D11: the custom op `sparse_attn_indexer` is on whenever the platform is ROCm."""

    def aiter_enabled(self, arch: str, aiter: Aiter) -> bool:
        """Whether vLLM counts AITER as enabled: switched on, and CDNA 3 or later or RDNA4.

        A package with an incompatible function still counts (vLLM `rocm_aiter_ops.is_enabled`).
        """
        return aiter is not Aiter.OFF and (is_rdna4(arch) or profile(arch).aiter_supported)

    def paged_logits(self, arch: str, *, aiter: Aiter, block_size: int, ratio: int) -> Decision:
        """P1..P5, top to bottom (vLLM `rocm_fp8_paged_mqa_logits`)."""
        if arch in self.block_flat_arches and ratio == self.block_flat_ratio and block_size > 1:
            if block_size % self.block_flat_tile == 0:
                return Decision("block_flat", "P1", "NORMAL", False, block_size)
            return Decision("torch", "P2", self.torch_layout, False, block_size)
        if aiter is Aiter.ON and self.aiter_enabled(arch, aiter):
            if arch in self.single_kernel_arches:
                return self._single(block_size)
            return Decision("two_kernel", "P4", self.two_kernel_layout, False, block_size)
        return Decision("torch", "P5", self.torch_layout, False, block_size)

    def _single(self, block_size: int) -> Decision:
        shuffled = self.preshuffle(block_size)
        layout: LayoutName = "SHUFFLE" if shuffled else "NORMAL"
        return Decision("single", "P3", layout, shuffled, block_size, self.chunk_k, self.waves_per_eu)

    def fused_write_layout(self, cache_ndim: int, block_size: int) -> LayoutName:
        """D8: layout of the fused V3.2 writer; raises LayoutError for a size that cannot be tiled."""
        if cache_ndim != 3 or block_size == 1:
            return "NORMAL"
        if block_size % _TILE:
            raise LayoutError(
                f"the fused writer tiles its pages, but block_size {block_size} is no multiple of {_TILE}; "
                f"use 1 or a multiple of {_TILE}"
            )
        return "SHUFFLE"

    def attention_backends(
        self, *, sparse: bool, aiter_mla: bool = False, deepseek_v4: bool = False
    ) -> tuple[str, ...]:
        """D1-D3: attention backends on ROCm in the order in which they are tried."""
        if deepseek_v4:
            return ("ROCM_FLASHMLA_SPARSE_DSV4",)
        if sparse:
            return ("ROCM_AITER_MLA_SPARSE",)
        return ("ROCM_AITER_MLA", "TRITON_MLA", "ROCM_AITER_TRITON_MLA") if aiter_mla else ("TRITON_MLA",)

    def kernel_block_sizes(self, platform: Literal["rocm", "cuda"]) -> BlockSizes:
        """D4: block sizes that the indexer backend declares."""
        return self.rocm_block_sizes if platform == "rocm" else self.cuda_block_sizes

    def indexer_kv_dtype(
        self,
        arch: str,
        aiter: Aiter,
        *,
        requested: str = "auto",
        context_parallel: bool = False,
        sparse_logits: bool = False,
    ) -> KvDtype:
        """D9: default element type of the DSv4 indexer cache.

        context_parallel: decode or prefill context parallelism is on. sparse_logits: that option is on.
        """
        plain = requested == "auto" and not context_parallel and not sparse_logits
        if plain and cdna_of(arch) == 4 and self.aiter_enabled(arch, aiter):
            return KvDtype("mxfp4", separate_kernels=True)
        return KvDtype("fp8", separate_kernels=False)

    def indexer_allowed(self, arch: str, aiter: Aiter) -> bool:
        """D10: whether vLLM runs the indexer here at all; elsewhere it raises RuntimeError."""
        return arch == "gfx950" or arch.startswith("gfx11") or self.aiter_enabled(arch, aiter)


DISPATCH = IndexerDispatch()
"""The table as shipped."""
