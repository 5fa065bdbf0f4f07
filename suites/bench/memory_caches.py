"""Benches of cache writers and gathers: tokens of 584, 656 and 576 elements, and the indexer's keys of 132 bytes."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from rocassay.harness.bench.bench import SHIPPED, Arguments, Bench, Call, Place, Traffic, register
from rocassay.harness.gates import Verdict
from rocassay.kernels.caches.concat_and_cache_ds_mla import concat_and_cache_ds_mla
from rocassay.kernels.caches.concat_and_cache_mla import concat_and_cache_mla
from rocassay.kernels.caches.dequantize_and_gather_k_cache import dequantize_and_gather_k_cache
from rocassay.kernels.caches.dispatch import (
    KvCacheDtype,
    insert_variant,
    latent_gather_variant,
    latent_write_variant,
    planar_gather_variant,
)
from rocassay.kernels.caches.gather_and_maybe_dequant_cache import gather_and_maybe_dequant_cache
from rocassay.kernels.caches.quantize_and_insert_k_cache import quantize_and_insert_k_cache
from rocassay.kernels.indexer.cp_gather_indexer_k_quant_cache import cp_gather_indexer_k_quant_cache
from rocassay.kernels.indexer.dispatch import gather_variant
from rocassay.references.caches import concat_and_cache_ds_mla as ds_mla_reference
from rocassay.references.caches import concat_and_cache_mla as dense_reference
from rocassay.references.caches import dequantize_and_gather_k_cache as planar_reference
from rocassay.references.caches import gather_and_maybe_dequant_cache as gather_reference
from rocassay.references.caches import quantize_and_insert_k_cache as insert_reference
from rocassay.references.indexer import cp_gather_indexer_k_quant_cache as indexer_reference
from rocassay.suites.bench import naive_memory
from rocassay.suites.bench.draws import codes, generator, indexer_cache, normal, permutation, planar_cache
from rocassay.suites.bench.exactness import byte_verdict, same_bytes, some

BLOCK_SIZE = 64
FEW = 64
"""Tokens that the verification of a writer compares."""

SCALE = 0.0137
"""Of a dense FP8 cache; no power of two."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A token's record in a cache."""

    dtype: KvCacheDtype
    width: int
    """Elements of a row of the cache tensor."""
    nbytes: int
    """Bytes of a token that are written or read."""


KINDS = {
    "656": Kind("fp8_ds_mla", 656, 656),
    "576-fp8": Kind("fp8", 576, 576),
    "576-bf16": Kind("auto", 576, 1152),
}


def _empty_cache(kind: str, pages: int, device: torch.device) -> torch.Tensor:
    if kind == "584":
        return torch.empty(pages, BLOCK_SIZE, 584, dtype=torch.uint8, device=device)
    dtype = torch.bfloat16 if KINDS[kind].dtype == "auto" else torch.uint8
    return torch.empty(pages, BLOCK_SIZE, KINDS[kind].width, dtype=dtype, device=device)


def write_calls(kind: str, where: Place) -> dict[str, Call]:
    """The writer of a record."""
    if kind == "584":
        insert = insert_variant(where.target, fp8=where.fp8, block_size=BLOCK_SIZE)
        return {SHIPPED: lambda a: quantize_and_insert_k_cache(a["k"], a["cache"], a["slot_mapping"], variant=insert)}
    variant = latent_write_variant(where.target, kv_cache_dtype=KINDS[kind].dtype, fp8=where.fp8)
    if kind == "656":
        return {
            SHIPPED: lambda a: concat_and_cache_ds_mla(
                a["kv_c"], a["k_pe"], a["cache"], a["slot_mapping"], scale_fmt="float", variant=variant
            )
        }
    return {
        SHIPPED: lambda a: concat_and_cache_mla(
            a["kv_c"], a["k_pe"], a["cache"], a["slot_mapping"], a["scale"], variant=variant
        )
    }


def _write_peer(
    kind: str, where: Place, rows: dict[str, torch.Tensor], cache: torch.Tensor, slots: torch.Tensor
) -> None:
    if kind == "584":
        insert_reference.peer_quantize_and_insert_k_cache(rows["k"], cache, slots, fp8=where.fp8)
    elif kind == "656":
        ds_mla_reference.peer_concat_and_cache_ds_mla(
            rows["kv_c"], rows["k_pe"], cache, slots, fp8=where.fp8, scale_fmt="float"
        )
    else:
        dense_reference.peer_concat_and_cache_mla(
            rows["kv_c"], rows["k_pe"], cache, slots, rows["scale"], fp8=where.fp8
        )


def write_bench(kind: str, tokens: int, *, scattered: bool = False) -> Bench:
    """Tokens into pages of their own set: whole pages of a prefill, or every token on some page of a decode."""
    op = {"584": "quantize_and_insert_k_cache", "656": "concat_and_cache_ds_mla"}.get(kind, "concat_and_cache_mla")
    names = ("k",) if kind == "584" else ("kv_c", "k_pe")

    def make(where: Place, count: int) -> list[Arguments]:
        random, device = generator(where.device, 41), where.device
        pages = -(-tokens * count // BLOCK_SIZE)
        cache = _empty_cache(kind, pages, device)
        slots = permutation(random, pages * BLOCK_SIZE if scattered else pages).long()
        if not scattered:
            slots = (slots[:, None] * BLOCK_SIZE + torch.arange(BLOCK_SIZE, device=device)).flatten()
        widths = {"k": 512, "kv_c": 512, "k_pe": 64}
        return [
            {
                **{name: normal(random, (tokens, widths[name])) for name in names},
                "cache": cache,
                "slot_mapping": slots[index * tokens : (index + 1) * tokens],
                "scale": torch.tensor([SCALE], device=device),
            }
            for index in range(count)
        ]

    def check(where: Place, a: Arguments) -> list[Verdict]:
        few = some(tokens, FEW)
        slots = a["slot_mapping"].cpu()[few]
        pages, inverse = torch.unique(slots // BLOCK_SIZE, return_inverse=True)
        found = a["cache"][pages.to(where.device)].cpu()
        due = found.clone()
        rows = {name: a[name].cpu()[few] for name in names} | {"scale": a["scale"].cpu()}
        # What was found is kept except for the records of these tokens: only they can differ.
        _write_peer(kind, where, rows, due, inverse * BLOCK_SIZE + slots % BLOCK_SIZE)
        return [byte_verdict("cache", found, due)]

    read = tokens * (2 * (512 if kind == "584" else 576) + 8)
    written = tokens * (584 if kind == "584" else KINDS[kind].nbytes)
    return Bench(
        op=op,
        name=f"{kind}-t{tokens}-{'scattered' if scattered else 'pages'}",
        traffic=Traffic(read, written),
        make=make,
        implementations=functools.partial(write_calls, kind),
        outputs=("cache",),
        check=check,
        shape={"tokens": tokens, "block_size": BLOCK_SIZE},
    )


def _tables(random: torch.Generator, requests: int, length: int, count: int) -> torch.Tensor:
    """int32 [count, requests, pages of a request]: a permutation of all pages."""
    pages = length // BLOCK_SIZE
    return permutation(random, count * requests * pages).view(count, requests, pages)


def _ragged(requests: int, length: int, device: torch.device) -> dict[str, torch.Tensor]:
    """Where requests begin among the gathered rows, and whose each row is."""
    starts = torch.arange(requests + 1, dtype=torch.int32, device=device) * length
    owner = torch.arange(requests, dtype=torch.int32, device=device).repeat_interleave(length)
    return {"starts": starts, "token_to_seq": owner}


def gather_bench(kind: str, requests: int, length: int) -> Bench:
    """Context of some requests out of their pages, dequantised to bf16 rows."""
    tokens, record = requests * length, KINDS[kind]

    def make(where: Place, count: int) -> list[Arguments]:
        random, device = generator(where.device, 42), where.device
        tables = _tables(random, requests, length, count)
        cache = _latents(random, kind, tables.numel(), where.fp8)
        lists = _ragged(requests, length, device)
        return [
            {
                "src_cache": cache,
                "dst": torch.empty(tokens, 576, dtype=torch.bfloat16, device=device),
                "block_table": table,
                "cu_seq_lens": lists["starts"],
                "token_to_seq": lists["token_to_seq"],
                "scale": torch.tensor([SCALE], device=device),
            }
            for table in tables
        ]

    def calls(where: Place) -> dict[str, Call]:
        variant = latent_gather_variant(where.target, kv_cache_dtype=record.dtype, fp8=where.fp8)
        order = ("src_cache", "dst", "block_table", "cu_seq_lens", "token_to_seq")
        found: dict[str, Call] = {SHIPPED: lambda a: gather_and_maybe_dequant_cache(**a, variant=variant)}
        if kind == "656":
            found["naive"] = lambda a: naive_memory.gather_656(
                *(a[name] for name in order), fp8=where.fp8, native=variant.native
            )
        return found

    def peer(where: Place, a: Arguments) -> None:
        record_name: Any = {"fp8_ds_mla": "ds_mla", "fp8": "fp8", "auto": "bf16"}[record.dtype]
        gather_reference.peer_gather_and_maybe_dequant_cache(**a, record=record_name, fp8=where.fp8)

    return Bench(
        op="gather_and_maybe_dequant_cache",
        name=f"{kind}-t{tokens}",
        traffic=Traffic(tokens * (record.nbytes + 4) + tokens // BLOCK_SIZE * 4, tokens * 1152),
        make=make,
        implementations=calls,
        outputs=("dst",),
        check=same_bytes(("dst",), peer),
        shape={"requests": requests, "length": length, "block_size": BLOCK_SIZE},
    )


def _latents(random: torch.Generator, kind: str, pages: int, fp8: str) -> torch.Tensor:
    if kind == "576-bf16":
        return normal(random, (pages, BLOCK_SIZE, 576))
    cache = codes(random, (pages, BLOCK_SIZE, KINDS[kind].width), fp8)
    if kind == "656":
        scales = torch.rand(pages, BLOCK_SIZE, 4, generator=random, device=random.device).add_(0.5).mul_(2.0**-6)
        cache[..., 512:528] = scales.view(torch.uint8)
        cache[..., 528:] = normal(random, (pages, BLOCK_SIZE, 64)).view(torch.uint8)
    return cache


def planar_bench(requests: int, length: int) -> Bench:
    """Context of some requests out of 584-byte pages."""
    tokens = requests * length

    def make(where: Place, count: int) -> list[Arguments]:
        random, device = generator(where.device, 43), where.device
        tables = _tables(random, requests, length, count)
        cache = planar_cache(random, tables.numel(), BLOCK_SIZE, where.fp8)
        lens = torch.full((requests,), length, dtype=torch.int32, device=device)
        return [
            {
                "out": torch.empty(requests, length, 512, dtype=torch.bfloat16, device=device),
                "k_cache": cache,
                "seq_lens": lens,
                "block_table": table,
            }
            for table in tables
        ]

    def calls(where: Place) -> dict[str, Call]:
        variant = planar_gather_variant(where.target, block_size=BLOCK_SIZE, fp8=where.fp8)
        return {SHIPPED: lambda a: dequantize_and_gather_k_cache(**a, offset=0, variant=variant)}

    def peer(where: Place, a: Arguments) -> None:
        planar_reference.peer_dequantize_and_gather_k_cache(**a, offset=0, fp8=where.fp8)

    return Bench(
        op="dequantize_and_gather_k_cache",
        name=f"584-t{tokens}",
        traffic=Traffic(tokens * 583 + tokens // BLOCK_SIZE * 4, tokens * 1024),
        make=make,
        implementations=calls,
        outputs=("out",),
        check=same_bytes(("out",), peer),
        shape={"requests": requests, "length": length, "block_size": BLOCK_SIZE},
    )


def indexer_gather_bench(requests: int, length: int) -> Bench:
    """The indexer's keys of some requests and their scales."""
    tokens = requests * length

    def make(where: Place, count: int) -> list[Arguments]:
        random, device = generator(where.device, 44), where.device
        tables = _tables(random, requests, length, count)
        cache = indexer_cache(random, tables.numel(), BLOCK_SIZE, where.fp8)
        lists = _ragged(requests, length, device)
        return [
            {
                "kv_cache": cache,
                "k_fp8": torch.empty(tokens, 128, dtype=torch.uint8, device=device),
                "k_fp8_scale": torch.empty(tokens, 4, dtype=torch.uint8, device=device),
                "block_table": table,
                "cu_seqlen": lists["starts"],
                "token_to_seq": lists["token_to_seq"],
            }
            for table in tables
        ]

    def calls(where: Place) -> dict[str, Call]:
        variant = gather_variant(where.target, block_size=BLOCK_SIZE, ratio=1)
        return {SHIPPED: lambda a: cp_gather_indexer_k_quant_cache(**a, variant=variant)}

    def peer(where: Place, a: Arguments) -> None:
        layout = gather_variant(where.target, block_size=BLOCK_SIZE, ratio=1).layout
        indexer_reference.peer_cp_gather_indexer_k_quant_cache(**a, layout=layout)

    return Bench(
        op="cp_gather_indexer_k_quant_cache",
        name=f"132-t{tokens}",
        traffic=Traffic(tokens * (132 + 4) + tokens // BLOCK_SIZE * 4, tokens * 132),
        make=make,
        implementations=calls,
        outputs=("k_fp8", "k_fp8_scale"),
        check=same_bytes(("k_fp8", "k_fp8_scale"), peer),
        shape={"requests": requests, "length": length, "block_size": BLOCK_SIZE},
    )


BENCHES: tuple[Callable[[], Bench], ...] = (
    *(functools.partial(write_bench, kind, 65536) for kind in ("584", *KINDS)),
    *(functools.partial(write_bench, kind, 8192, scattered=True) for kind in ("584", "656")),
    *(functools.partial(gather_bench, kind, 8, 16384) for kind in KINDS),
    functools.partial(planar_bench, 8, 16384),
    functools.partial(indexer_gather_bench, 8, 32768),
)

for _bench in BENCHES:
    register(_bench())
