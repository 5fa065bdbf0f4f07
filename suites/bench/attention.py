"""Benches of sparse attention: ragged prefill over bf16 rows and decode over 584-byte tokens, V3.2 and V4."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import torch

from rocassay.harness.bench.bench import SHIPPED, Arguments, Bench, Call, Place, Reference, Traffic, register
from rocassay.harness.gates import Verdict
from rocassay.harness.layouts import planar_584
from rocassay.kernels.attention.dispatch import DecodePath, decode_variant, prefill_variant
from rocassay.kernels.attention.sparse_attn_decode import sparse_attn_decode
from rocassay.kernels.attention.sparse_attn_prefill import sparse_attn_prefill
from rocassay.references.attention import sparse_attn_decode as decode_reference
from rocassay.references.attention import sparse_attn_prefill as prefill_reference
from rocassay.suites.bench import naive
from rocassay.suites.bench.draws import (
    H200,
    PRODUCTION,
    choices,
    even_indptr,
    generator,
    normal,
    on_host,
    planar_cache,
    windows,
)
from rocassay.suites.kernels.attention_inputs import per_head

RECORD = 584
ROW_BYTES = 448 + 128 + 7
"""Bytes of a token that a decode reads: codes, RoPE and scales, not the pad byte."""

MAIN_BLOCK, EXTRA_BLOCK = 256, 64
MAIN_POOL, EXTRA_POOL = 65536, 262144
"""Tokens of the two caches, whatever the batch: several times the last-level cache of any device."""

FEW = 3
"""Queries that a verification compares with the golden."""


@dataclass(frozen=True, slots=True)
class Prefill:
    """Shape of one launch of the sparse prefill."""

    name: str
    tokens: int
    heads: int
    dim: int
    width: int
    keys: int
    pool: int
    reference: float | None = None

    @property
    def traffic(self) -> Traffic:
        """Every row of the pool that is listed once, queries and outputs once; both products of every pair."""
        rows = min(self.pool, self.tokens * self.keys)
        queries = self.tokens * self.heads * self.dim
        read = 2 * (rows * self.dim + queries) + 4 * self.tokens * self.keys
        flops = 2 * self.tokens * self.heads * self.keys * (self.dim + self.width)
        return Traffic(read, 2 * self.tokens * self.heads * self.width, flops, "bf16")


@dataclass(frozen=True, slots=True)
class Decode:
    """Shape of one launch of the sparse decode."""

    name: str
    batch: int
    heads: int
    window: int
    topk: int
    reference: float | None = None

    @property
    def traffic(self) -> Traffic:
        """Every listed token once for all heads."""
        keys = self.batch * (self.window + self.topk)
        state = 2 * self.batch * self.heads * 512
        flops = 2 * keys * self.heads * (512 + 512)
        return Traffic(keys * (ROW_BYTES + 4) + state, state, flops, "bf16")


def make_prefill(shape: Prefill, where: Place, count: int) -> list[Arguments]:
    """A pool of rows, queries and lists for each set."""
    random = generator(where.device, 11)
    return [
        {
            "q": normal(random, (shape.tokens, shape.heads, shape.dim)),
            "kv": normal(random, (shape.pool, 1, shape.dim)),
            "ragged_indices": choices(random, shape.tokens, shape.keys, shape.pool),
            "ragged_indptr": even_indptr(where.device, shape.tokens, shape.keys),
            "output": torch.empty(shape.tokens, shape.heads, shape.width, dtype=torch.bfloat16, device=where.device),
        }
        for _ in range(count)
    ]


def prefill_calls(shape: Prefill, where: Place) -> dict[str, Call]:
    """The shipped kernel and the naive one."""
    scale = shape.dim**-0.5
    variant = prefill_variant(where.target, heads=shape.heads, head_dim=shape.dim)
    order = ("q", "kv", "ragged_indices", "ragged_indptr", "output")
    return {
        SHIPPED: lambda a: sparse_attn_prefill(**a, scale=scale, variant=variant),
        "naive": lambda a: naive.sparse_prefill(*(a[name] for name in order), scale=scale),
    }


def check_prefill(shape: Prefill, where: Place, a: Arguments) -> list[Verdict]:
    """Some tokens, all heads, against the float64 golden."""
    tokens = _few(shape.tokens)
    lists = a["ragged_indices"].view(shape.tokens, shape.keys).cpu()[tokens]
    # Only the listed rows travel: float64 of a whole pool would not fit everywhere.
    rows, inverse = torch.unique(lists, return_inverse=True)
    attended = prefill_reference.sparse_attn_prefill(
        a["q"].cpu()[tokens],
        a["kv"][rows.long().to(where.device)].cpu(),
        inverse.int().flatten(),
        even_indptr(torch.device("cpu"), len(tokens), shape.keys),
        scale=shape.dim**-0.5,
        width=shape.width,
        dtype=torch.bfloat16,
    )
    return per_head(attended).judge("output", a["output"].cpu()[tokens])


def make_decode(shape: Decode, where: Place, count: int) -> list[Arguments]:
    """Both caches are shared by all sets, each with lists of its own; buffers of partial results are shared too."""
    random, device = generator(where.device, 12), where.device
    main = planar_cache(random, MAIN_POOL // MAIN_BLOCK, MAIN_BLOCK, where.fp8)
    extra = planar_cache(random, EXTRA_POOL // EXTRA_BLOCK, EXTRA_BLOCK, "e4m3fn")
    splits = decode_variant(where.target, fp8=where.fp8, heads=shape.heads, path="split").splits(
        shape.batch, shape.heads, shape.batch * shape.window, shape.batch * shape.topk
    )
    part = torch.empty(shape.batch, splits, shape.heads, 514, device=device)
    return [
        {
            "q": normal(random, (shape.batch, shape.heads, 512)),
            "swa_k_cache": main,
            "swa_ragged_indices": windows(random, shape.batch, shape.window, MAIN_POOL),
            "swa_ragged_indptr": even_indptr(device, shape.batch, shape.window),
            "kv_cache": extra,
            "topk_ragged_indices": choices(random, shape.batch, shape.topk, EXTRA_POOL),
            "topk_ragged_indptr": even_indptr(device, shape.batch, shape.topk),
            "attn_sink": normal(random, (shape.heads,), torch.float32),
            "output": torch.empty(shape.batch, shape.heads, 512, dtype=torch.bfloat16, device=device),
            "part_m": torch.empty(shape.batch, splits, shape.heads, device=device),
            "part_l": torch.empty(shape.batch, splits, shape.heads, device=device),
            "part_acc": part[..., :512].contiguous(),
        }
        for part in [part] * count
    ]


def decode_calls(shape: Decode, where: Place) -> dict[str, Call]:
    """What the dispatcher chooses; one pass; partial results and their reduction; the naive kernel."""
    scale = 512**-0.5

    def by(path: DecodePath | None) -> Call:
        variant = decode_variant(where.target, fp8=where.fp8, heads=shape.heads, path=path)
        return lambda a: sparse_attn_decode(**a, scale=scale, variant=variant)

    shipped = decode_variant(where.target, fp8=where.fp8, heads=shape.heads)
    order = ("q", "swa_k_cache", "swa_ragged_indices", "swa_ragged_indptr", "kv_cache", "topk_ragged_indices",
             "topk_ragged_indptr", "attn_sink", "output")  # fmt: skip
    return {
        SHIPPED: by(None),
        "one pass": by("single"),
        "two passes": by("split"),
        "naive": lambda a: naive.sparse_decode(
            *(a[name] for name in order),
            scale=scale,
            formats=(shipped.main_fp8, shipped.extra_fp8),
            native=(shipped.main_native, shipped.extra_native),
        ),
    }


def check_decode(shape: Decode, where: Place, a: Arguments) -> list[Verdict]:
    """Some queries, all heads, against the float64 golden."""
    queries = _few(shape.batch)
    main, main_slots = _listed(where, a["swa_k_cache"], a["swa_ragged_indices"].view(shape.batch, -1), queries)
    extra, extra_slots = _listed(where, a["kv_cache"], a["topk_ragged_indices"].view(shape.batch, -1), queries)
    cpu = torch.device("cpu")
    attended = decode_reference.sparse_attn_decode(
        a["q"].cpu()[queries],
        main,
        main_slots,
        even_indptr(cpu, len(queries), shape.window),
        extra,
        extra_slots,
        even_indptr(cpu, len(queries), shape.topk),
        scale=512**-0.5,
        fp8=where.fp8,
        dtype=torch.bfloat16,
        **on_host(a, "attn_sink"),
    )
    return per_head(attended).judge("output", a["output"].cpu()[queries])


def _listed(
    where: Place, cache: torch.Tensor, lists: torch.Tensor, queries: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The pages that some queries list, on the CPU, and their lists over these pages alone."""
    block = cache.shape[1]
    slots = lists.cpu()[queries].flatten()
    pages, inverse = torch.unique(slots // block, return_inverse=True)
    stride = planar_584(block).default_block_stride
    flat = cache.as_strided((cache.shape[0], stride), (cache.stride(0), 1))[pages.long().to(where.device)].cpu()
    return flat.as_strided((len(pages), block, RECORD), (stride, RECORD, 1)), (inverse * block + slots % block).int()


def _few(count: int) -> torch.Tensor:
    """First, middle and last of so many."""
    return torch.tensor(sorted({0, count // 2, count - 1})[:FEW])


PREFILLS = (
    Prefill("v32-q256", 256, 128, 576, 512, 2048, 32768, 3712),
    Prefill("v4-q256", 256, 64, 512, 512, 640, 32768, 257),
    Prefill("v32-q2048", 2048, 128, 576, 512, 2048, 131072),
    Prefill("v4-q2048", 2048, 64, 512, 512, 1152, 32768),
)
DECODES = (
    Decode("b1-h16-k640", 1, 16, 128, 512, 48),
    Decode("b16-h16-k640", 16, 16, 128, 512, 61),
    Decode("b64-h16-k640", 64, 16, 128, 512, 104),
    Decode("b256-h16-k640", 256, 16, 128, 512, 225),
    Decode("b64-h64-k1152", 64, 64, 128, 1024, 365),
    Decode("b64-h128-k1152", 64, 128, 128, 1024),
)

for _prefill in PREFILLS:
    register(
        Bench(
            op="sparse_attn_prefill",
            name=_prefill.name,
            traffic=_prefill.traffic,
            make=functools.partial(make_prefill, _prefill),
            implementations=functools.partial(prefill_calls, _prefill),
            outputs=("output",),
            check=functools.partial(check_prefill, _prefill),
            shape={"queries": _prefill.tokens, "heads": _prefill.heads, "dim": _prefill.dim, "keys": _prefill.keys},
            reference=Reference(_prefill.reference, PRODUCTION, H200) if _prefill.reference else None,
        )
    )

for _decode in DECODES:
    register(
        Bench(
            op="sparse_attn_decode",
            name=_decode.name,
            traffic=_decode.traffic,
            make=functools.partial(make_decode, _decode),
            implementations=functools.partial(decode_calls, _decode),
            outputs=("output",),
            check=functools.partial(check_decode, _decode),
            shape={"batch": _decode.batch, "heads": _decode.heads, "window": _decode.window, "topk": _decode.topk},
            reference=Reference(_decode.reference, PRODUCTION, H200) if _decode.reference else None,
        )
    )
