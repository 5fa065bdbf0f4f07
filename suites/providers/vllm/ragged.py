"""vLLM's builders of ragged index lists and of packed batches."""

from __future__ import annotations

from typing import Any

import torch

from rocassay.harness.cases import Case
from rocassay.harness.providers.foreign import Adapter, Call, fp8_dtype
from rocassay.harness.providers.functions import Gap, Offer
from rocassay.suites.providers.vllm.indexer import SPARSE
from rocassay.suites.providers.vllm.machine import BACKENDS, OPS

ROCM = "vllm.models.deepseek_v4.amd.rocm"
CHUNK = 1024
"""Tokens of a program of `_expand_page_indices_kernel`."""


def kept(flat: torch.Tensor, found: torch.Tensor, indptr: torch.Tensor) -> None:
    """Write the entries that `indptr` bounds; what lies behind them in a list of its own is nobody's."""
    found = found[: len(flat)]
    mine = torch.arange(len(found), device=found.device) < indptr[-1]
    torch.where(mine, found, flat[: len(found)], out=flat[: len(found)])


def ragged(call: Call) -> None:
    """`build_ragged_indices_from_dense`."""
    build = call.function(f"{SPARSE}:build_ragged_indices_from_dense")
    flat, indptr = build(call["indices"], call["lengths"], num_rows=call.get("num_rows") or -1)
    kept(call["flat"], flat, indptr)
    call["indptr"].copy_(indptr)


def slots(call: Call) -> None:
    """`compute_global_topk_ragged_indices_and_indptr`, which takes what belongs to a token to be contiguous."""
    build = call.function(f"{ROCM}:compute_global_topk_ragged_indices_and_indptr")
    tokens = call.dense("token_to_req_indices"), call.dense("is_valid_token")
    table = (tokens[0], call["block_table"], call["block_size"], tokens[1])
    flat, indptr, lens = build(call["topk_indices"], *table)
    kept(call["ragged"], flat, indptr)
    call["indptr"].copy_(indptr)
    call["lens"].copy_(lens)


def combined(call: Call) -> tuple[torch.Tensor, torch.Tensor]:
    """`combine_topk_swa_indices` of the ROCm model, which takes what belongs to a request to be contiguous."""
    build: Any = call.function(f"{ROCM}:combine_topk_swa_indices")
    chunk = (call["topk_indices"], *map(call.dense, ("query_start_loc", "seq_lens", "gather_lens")))
    shape = {name: call[name] for name in ("window_size", "compress_ratio", "topk", "M", "N")}
    image = {"left_visible": call.get("image_left"), "right_visible": call.get("image_right")}
    return build(*chunk, **shape, max_image_tokens=call.get("max_image_tokens") or 0, **image)


def combine(call: Call) -> None:
    """The rows and their lengths."""
    rows, lens = combined(call)
    call["combined"].copy_(rows)
    call["lens"].copy_(lens)


def combine_ragged(call: Call) -> None:
    """`combine_topk_swa_indices`, and what the prefill kernel makes of its rows: `build_ragged_indices_from_dense`."""
    rows, lens = combined(call)
    flat, indptr = call.function(f"{SPARSE}:build_ragged_indices_from_dense")(rows, lens)
    kept(call["ragged"], flat, indptr)
    call["indptr"].copy_(indptr)


def pages(call: Call) -> None:
    """The decode builder's steps for pages of one token: `_build_decode` without its graph buffers."""
    expand: Any = call.function(f"{BACKENDS}.rocm_aiter_mla:_expand_page_indices_kernel")
    table, lens, indptr = call["block_table"], call["seq_lens"], call["kv_indptr"]
    requests, size = len(lens), call["block_size"]
    indptr[:1] = 0
    torch.cumsum(lens, dim=0, out=indptr[1 : requests + 1])
    indptr[requests + 1 :] = indptr[requests]
    call["kv_last_page_lens"].fill_(1)
    if requests:
        grid = (requests, max(1, -(-table.shape[1] * size // CHUNK)))
        given = (call["kv_indices"], table, table.stride(0), table.stride(1), indptr, lens)
        expand[grid](*given, KERNEL_BLOCK_SIZE=size, BLOCK_SIZE=CHUNK, CLAMP_TAIL=False)


def pack(call: Call) -> None:
    """`pack_seq_triton`, which takes rows to be contiguous; bytes are copied as they are."""
    rows = call.dense("x")
    rows = rows.view(fp8_dtype(call.case.fp8)) if call.case["dtype"] == "fp8" else rows
    pad = {} if call.get("pad_value") is None else {"pad_value": call["pad_value"]}
    packed = call.function(f"{OPS}.common:pack_seq_triton")(rows, call["lengths"], **pad)
    call["out"].copy_(packed.view(call["out"].dtype))


def unpack(call: Call) -> None:
    """`unpack_seq_triton`, which takes the batch to be contiguous; its rows are the first of the output."""
    rows = call.function(f"{OPS}.common:unpack_seq_triton")(call.dense("packed"), call["lengths"])
    call["out"][: len(rows)].copy_(rows)


def of_codes(case: Case) -> frozenset[str]:
    """Rows of FP8 keep their type in the kernel, which has to know it."""
    return frozenset({case.fp8} if case["dtype"] == "fp8" else ())


FAR = Gap(recipes=("wide",), reason="offsets into index arrays have 32 bits: rows lie within 2^31 elements")
NO_COLUMNS = Gap(params={"width": (0,)}, reason="layers without compressed keys build their lists elsewhere")

ADAPTERS = {
    "build_ragged_indices_from_dense": (
        Adapter(f"{SPARSE}:build_ragged_indices_from_dense", ragged, Offer(gaps=(FAR,))),
    ),
    "compute_global_topk_ragged_indices_and_indptr": (
        Adapter(
            f"{ROCM}:compute_global_topk_ragged_indices_and_indptr",
            slots,
            Offer(
                gaps=(
                    FAR,
                    Gap(params={"mode": ("strict",)}, reason="it keeps the holes of a row, and reads no width"),
                    Gap(params={"rows": ("beyond",)}, reason="every position is one of the block table's"),
                )
            ),
        ),
    ),
    "combine_topk_swa_indices": (
        Adapter(
            f"{ROCM}:combine_topk_swa_indices",
            combine,
            Offer(gaps=(FAR, NO_COLUMNS)),
        ),
    ),
    "combine_topk_swa_indices_ragged": (
        Adapter(f"{ROCM}:combine_topk_swa_indices", combine_ragged, Offer(gaps=(FAR, NO_COLUMNS))),
    ),
    "mla_paged_kv_metadata": (
        Adapter(
            f"{BACKENDS}.rocm_aiter_mla:_expand_page_indices_kernel",
            pages,
            Offer(gaps=(Gap(params={"page": (16, 64)}, reason="its pages are of one token"),)),
        ),
    ),
    "pack_seq": (
        Adapter(
            f"{OPS}.common:pack_seq_triton",
            pack,
            Offer(
                gaps=(
                    Gap(params={"lmax": ("room", "cut")}, reason="its batch is as long as the longest request"),
                    Gap(params={"lengths": ("none",)}, reason="a batch without rows has no length"),
                ),
            ),
            formats=of_codes,
        ),
    ),
    "unpack_seq": (
        Adapter(
            f"{OPS}.common:unpack_seq_triton",
            unpack,
            Offer(gaps=(Gap(params={"lmax": ("cut",)}, reason="no request is longer than its batch"),)),
            formats=of_codes,
        ),
    ),
}
