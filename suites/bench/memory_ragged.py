"""Benches of the builders of ragged index lists: one decode or prefill chunk's lists at a time."""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch

from rocassay.harness.bench.bench import SHIPPED, Arguments, Bench, Call, Place, Traffic, register
from rocassay.kernels.ragged.build_ragged_indices_from_dense import build_ragged_indices_from_dense
from rocassay.kernels.ragged.combine_topk_swa_indices_ragged import combine_topk_swa_indices_ragged
from rocassay.kernels.ragged.compute_global_topk_ragged_indices_and_indptr import (
    compute_global_topk_ragged_indices_and_indptr,
)
from rocassay.kernels.ragged.mla_paged_kv_metadata import mla_paged_kv_metadata
from rocassay.kernels.ragged.variants import ragged_variant
from rocassay.references.ragged import build_ragged_indices_from_dense as dense_reference
from rocassay.references.ragged import combine_topk_swa_indices_ragged as combine_reference
from rocassay.references.ragged import compute_global_topk_ragged_indices_and_indptr as global_reference
from rocassay.references.ragged import mla_paged_kv_metadata as paged_reference
from rocassay.references.ragged.combine_topk_swa_indices import ChunkShape
from rocassay.suites.bench.draws import generator, permutation
from rocassay.suites.bench.exactness import same_bytes

BLOCK_SIZE = 64
WINDOW, RATIO = 128, 4


def _integers(random: torch.Generator, high: int, shape: tuple[int, ...]) -> torch.Tensor:
    return torch.randint(high, shape, generator=random, device=random.device, dtype=torch.int32)


def _empty(device: torch.device, *shape: int) -> torch.Tensor:
    return torch.empty(shape, dtype=torch.int32, device=device)


def dense_bench(tokens: int, columns: int) -> Bench:
    """Every row full: as many entries are kept as there are."""

    def make(where: Place, count: int) -> list[Arguments]:
        random, device = generator(where.device, 51), where.device
        lengths = torch.full((tokens,), columns, dtype=torch.int32, device=device)
        return [
            {
                "indices": _integers(random, 2**30, (tokens, columns)),
                "lengths": lengths,
                "flat": _empty(device, tokens * columns),
                "indptr": _empty(device, tokens + 1),
                "counts": _empty(device, tokens),
            }
            for _ in range(count)
        ]

    def calls(where: Place) -> dict[str, Call]:
        variant = ragged_variant(where.target, columns=columns)
        return {SHIPPED: lambda a: build_ragged_indices_from_dense(**a, variant=variant)}

    def peer(_: Place, a: Arguments) -> None:
        own = {name: value for name, value in a.items() if name != "counts"}
        dense_reference.peer_build_ragged_indices_from_dense(**own)

    return Bench(
        op="build_ragged_indices_from_dense",
        name=f"t{tokens}-k{columns}",
        traffic=Traffic(4 * tokens * (columns + 1), 4 * (tokens * (columns + 1) + 1)),
        make=make,
        implementations=calls,
        outputs=("flat", "indptr"),
        check=same_bytes(("flat", "indptr"), peer),
        shape={"tokens": tokens, "columns": columns},
    )


def global_bench(tokens: int, topk: int, requests: int, length: int) -> Bench:
    """Positions of full top-k rows through block tables to slots."""
    width = length // BLOCK_SIZE

    def make(where: Place, count: int) -> list[Arguments]:
        random, device = generator(where.device, 52), where.device
        owner = torch.arange(requests, dtype=torch.int32, device=device).repeat_interleave(tokens // requests)
        table = permutation(random, requests * width).view(requests, width)
        return [
            {
                "topk_indices": _integers(random, length, (tokens, topk)),
                "token_to_req_indices": owner,
                "block_table": table,
                "is_valid_token": torch.ones(tokens, dtype=torch.bool, device=device),
                "ragged": _empty(device, tokens * topk),
                "indptr": _empty(device, tokens + 1),
                "lens": _empty(device, tokens),
            }
            for _ in range(count)
        ]

    def calls(where: Place) -> dict[str, Call]:
        variant = ragged_variant(where.target, columns=topk)
        return {
            SHIPPED: lambda a: compute_global_topk_ragged_indices_and_indptr(
                **a, block_size=BLOCK_SIZE, variant=variant
            )
        }

    def peer(_: Place, a: Arguments) -> None:
        global_reference.peer_compute_global_topk_ragged_indices_and_indptr(**a, block_size=BLOCK_SIZE)

    outputs = ("ragged", "indptr", "lens")
    return Bench(
        op="compute_global_topk_ragged_indices_and_indptr",
        name=f"t{tokens}-k{topk}",
        traffic=Traffic(4 * (tokens * (topk + 1) + requests * width), 4 * (tokens * (topk + 2) + 1)),
        make=make,
        implementations=calls,
        outputs=outputs,
        check=same_bytes(outputs, peer),
        shape={"tokens": tokens, "topk": topk, "requests": requests},
    )


def combine_bench(requests: int, chunk: int, length: int, topk: int) -> Bench:
    """Chosen compressed tokens and the window of every token of a prefill chunk."""
    tokens, compressed = requests * chunk, length // RATIO
    gathered = chunk + WINDOW
    shape = ChunkShape(WINDOW, RATIO, topk, compressed + gathered, compressed)

    def make(where: Place, count: int) -> list[Arguments]:
        random, device = generator(where.device, 53), where.device
        return [
            {
                "topk_indices": _integers(random, compressed, (tokens, topk)),
                "query_start_loc": torch.arange(requests + 1, dtype=torch.int32, device=device) * chunk,
                "seq_lens": torch.full((requests,), length, dtype=torch.int32, device=device),
                "gather_lens": torch.full((requests,), gathered, dtype=torch.int32, device=device),
                "ragged": _empty(device, tokens * (topk + WINDOW)),
                "indptr": _empty(device, tokens + 1),
                "counts": _empty(device, tokens),
            }
            for _ in range(count)
        ]

    def calls(where: Place) -> dict[str, Call]:
        variant = ragged_variant(where.target, columns=topk + WINDOW)
        return {
            SHIPPED: lambda a: combine_topk_swa_indices_ragged(
                **a, window_size=WINDOW, compress_ratio=RATIO, topk=topk, M=shape.M, N=shape.N, variant=variant
            )
        }

    def peer(_: Place, a: Arguments) -> None:
        own = {name: value for name, value in a.items() if name != "counts"}
        combine_reference.peer_combine_topk_swa_indices_ragged(**own, shape=shape)

    return Bench(
        op="combine_topk_swa_indices_ragged",
        name=f"t{tokens}-k{topk + WINDOW}",
        traffic=Traffic(4 * tokens * topk, 4 * (tokens * (topk + WINDOW + 1) + 1)),
        make=make,
        implementations=calls,
        outputs=("ragged", "indptr"),
        check=same_bytes(("ragged", "indptr"), peer),
        shape={"tokens": tokens, "topk": topk, "window": WINDOW},
    )


def paged_bench(requests: int, length: int) -> Bench:
    """Blocks of a decode step listed slot by slot, for kernels of page size 1."""
    width = length // BLOCK_SIZE

    def make(where: Place, count: int) -> list[Arguments]:
        random, device = generator(where.device, 54), where.device
        lens = torch.full((requests,), length, dtype=torch.int32, device=device)
        return [
            {
                "block_table": permutation(random, requests * width).view(requests, width),
                "seq_lens": lens,
                "kv_indptr": _empty(device, requests + 1),
                "kv_indices": _empty(device, requests * length),
                "kv_last_page_lens": _empty(device, requests),
                "counts": _empty(device, requests),
            }
            for _ in range(count)
        ]

    def calls(where: Place) -> dict[str, Call]:
        variant = ragged_variant(where.target, columns=length)
        return {SHIPPED: lambda a: mla_paged_kv_metadata(**a, block_size=BLOCK_SIZE, page_size=1, variant=variant)}

    def peer(_: Place, a: Arguments) -> None:
        own = {name: value for name, value in a.items() if name != "counts"}
        paged_reference.peer_mla_paged_kv_metadata(**own, block_size=BLOCK_SIZE, page_size=1)

    outputs = ("kv_indptr", "kv_indices", "kv_last_page_lens")
    return Bench(
        op="mla_paged_kv_metadata",
        name=f"b{requests}x{length // 1024}k",
        traffic=Traffic(4 * requests * (width + 1), 4 * (requests * (length + 2) + 1)),
        make=make,
        implementations=calls,
        outputs=outputs,
        check=same_bytes(outputs, peer),
        shape={"requests": requests, "length": length, "block_size": BLOCK_SIZE},
    )


BENCHES: tuple[Callable[[], Bench], ...] = (
    functools.partial(dense_bench, 8192, 2048),
    functools.partial(global_bench, 8192, 2048, 64, 32768),
    functools.partial(combine_bench, 4, 2048, 32768, 512),
    functools.partial(paged_bench, 64, 32768),
)

for _bench in BENCHES:
    register(_bench())
