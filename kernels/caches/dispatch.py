"""The decisions of the MLA cache launches, as data: page layout, flavour per cache, record per cache dtype.

Sources: vLLM deepseek_v4 cache_utils.py (584-byte pages), vLLM csrc/cache_kernels.cu (656-byte and dense
tokens), vllm-project/vllm#42893 and #45681 (which of the two V4 caches has which flavour).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch

from rocassay.harness.arch import Target, fp8_format_of
from rocassay.harness.fp8 import format_of
from rocassay.harness.layouts import Layout, planar_584
from rocassay.kernels.common.tensors import byte_reach

CacheName: TypeAlias = Literal["main", "extra"]
"""The two V4 caches: `main` is the sliding window's, `extra` the compressor's."""

KvCacheDtype: TypeAlias = Literal["auto", "fp8", "fp8_ds_mla"]
"""vLLM's kv_cache_dtype of an MLA layer; `auto` stores the model's bf16."""

Record: TypeAlias = Literal["bf16", "fp8", "ds_mla"]
"""What a cached token is: 576 bf16, 576 fp8 under one scale, or 512 fp8 under four scales and 64 bf16."""


@dataclass(frozen=True, slots=True)
class PageMap:
    """Where a token's parts lie in a 584-byte page: the kernels' whole knowledge of the layout."""

    data_pitch: int
    """Bytes from one token's values to the next one's."""
    scale_base: int
    """Byte of the page at which the first token's scales lie."""
    scale_pitch: int
    """Bytes from one token's scales to the next one's."""


def page_map(layout: Layout) -> PageMap:
    """The three numbers of an index map; pitches are 0 in a page of one token, which needs none."""
    second, scales = min(1, layout.block_size - 1), layout.field("scales").start
    base = int(layout.offset(0, scales))
    return PageMap(int(layout.offset(second, 0)), base, int(layout.offset(second, scales)) - base)


def _always_ocp(_: str) -> str:
    return "e4m3fn"


def _record(kv_cache_dtype: KvCacheDtype) -> Record:
    records: dict[KvCacheDtype, Record] = {"auto": "bf16", "fp8": "fp8", "fp8_ds_mla": "ds_mla"}
    return records[kv_cache_dtype]


@dataclass(frozen=True, slots=True)
class CachesDispatch:
    """The decision table; every field is an entry that can be replaced on its own."""

    page: Callable[[int], Layout] = planar_584
    """block_size → index map of a 584-byte page."""

    main_fp8: Callable[[str], str] = fp8_format_of
    """arch → flavour of the main V4 cache: the platform's."""

    extra_fp8: Callable[[str], str] = _always_ocp
    """arch → flavour of the extra V4 cache: the compressor stores OCP on every chip (vllm-project/vllm#45681)."""

    record: Callable[[KvCacheDtype], Record] = _record
    """kv_cache_dtype → what a cached token is."""

    reach: Callable[[torch.Tensor], int] = byte_reach
    """cache → bytes that its offsets must reach; beyond 2^31 they take 64 bits (ROCm/aiter#4673)."""

    def flavour(self, cache: CacheName, arch: str) -> str:
        """Flavour of one of the two V4 caches; raises UnknownArch."""
        return self.main_fp8(arch) if cache == "main" else self.extra_fp8(arch)


DISPATCH = CachesDispatch()
"""The table as shipped."""


@dataclass(frozen=True, slots=True)
class InsertVariant:
    """Decisions of one `quantize_and_insert_k_cache` launch."""

    page: PageMap
    """Where a token's parts are stored."""
    fp8: str
    """Format of the stored codes, `e4m3fn` or `e4m3fnuz`."""
    scaling_max: float
    """Value that a group's largest magnitude is scaled to: 448 (OCP) or 224 (FNUZ)."""
    native: bool
    """Whether the executing thing converts this format itself."""
    tokens_per_program: int = 8
    """Tokens a program."""
    num_warps: int = 4
    """Waves a program."""


@dataclass(frozen=True, slots=True)
class PlanarGatherVariant:
    """Decisions of one `dequantize_and_gather_k_cache` launch."""

    page: PageMap
    """Where a token's parts are read."""
    fp8: str
    """Format of the stored codes."""
    native: bool
    """Whether the executing thing decodes this format itself."""
    reach: Callable[[torch.Tensor], int] = byte_reach
    """Bytes that offsets into a cache must reach."""
    tokens_per_program: int = 16
    """Rows a program."""
    num_warps: int = 4
    """Waves a program."""


@dataclass(frozen=True, slots=True)
class LatentWriteVariant:
    """Decisions of one `concat_and_cache_ds_mla` or `concat_and_cache_mla` launch."""

    record: Record
    """What is stored for a token."""
    fp8: str
    """Format of the stored codes; a bf16 record has none."""
    scaling_max: float
    """Value that a group's largest magnitude is scaled to; dense records are scaled by the caller."""
    native: bool
    """Whether the executing thing converts this format itself."""
    tokens_per_program: int = 8
    """Tokens a program."""
    num_warps: int = 4
    """Waves a program."""


@dataclass(frozen=True, slots=True)
class LatentGatherVariant:
    """Decisions of one `gather_and_maybe_dequant_cache` launch."""

    record: Record
    """What is read for a token."""
    fp8: str
    """Format of the stored codes; a bf16 record has none."""
    native: bool
    """Whether the executing thing decodes this format itself."""
    tokens_per_program: int = 16
    """Tokens a program."""
    num_warps: int = 4
    """Waves a program."""


def insert_variant(target: Target, *, fp8: str, block_size: int, dispatch: CachesDispatch = DISPATCH) -> InsertVariant:
    """Writer decisions for pages of `block_size` tokens in flavour `fp8`."""
    page = page_map(dispatch.page(block_size))
    return InsertVariant(page, fp8, format_of(fp8).scaling_max, fp8 in target.native_fp8)


def planar_gather_variant(
    target: Target,
    *,
    block_size: int,
    fp8: str | None = None,
    cache: CacheName | None = None,
    dispatch: CachesDispatch = DISPATCH,
) -> PlanarGatherVariant:
    """Gather decisions; the flavour is named, or is that of one of the two V4 caches on this arch.

    Raises ValueError unless exactly one of `fp8` and `cache` is given.
    """
    if (fp8 is None) == (cache is None):
        raise ValueError(f"the flavour follows from fp8={fp8!r} or from cache={cache!r}; give exactly one of them")
    flavour = dispatch.flavour(cache, target.arch) if cache is not None else fp8 or ""
    page = page_map(dispatch.page(block_size))
    return PlanarGatherVariant(page, format_of(flavour).name, flavour in target.native_fp8, dispatch.reach)


def latent_write_variant(
    target: Target, *, kv_cache_dtype: KvCacheDtype, fp8: str, dispatch: CachesDispatch = DISPATCH
) -> LatentWriteVariant:
    """Decisions of the two latent writers."""
    record = dispatch.record(kv_cache_dtype)
    return LatentWriteVariant(record, fp8, format_of(fp8).scaling_max, fp8 in target.native_fp8)


def latent_gather_variant(
    target: Target, *, kv_cache_dtype: KvCacheDtype, fp8: str, dispatch: CachesDispatch = DISPATCH
) -> LatentGatherVariant:
    """Decisions of the latent gather."""
    return LatentGatherVariant(dispatch.record(kv_cache_dtype), fp8, fp8 in target.native_fp8)
