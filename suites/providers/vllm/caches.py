"""vLLM's planar 584-byte cache, written and gathered, and its compiled cache operations."""

from __future__ import annotations

import torch

from rocassay.harness.providers.foreign import Adapter, Call
from rocassay.harness.providers.functions import Gap, Offer

COMMON = "vllm.models.deepseek_v4.common.ops.cache_utils"


def insert(call: Call) -> None:
    """`quantize_and_insert_k_cache` of the named flavour, with contiguous keys and -1 for every slot to skip."""
    write = call.function(f"{COMMON}:quantize_and_insert_k_cache")
    fnuz = call.case.fp8 == "e4m3fnuz"
    slots = call["slot_mapping"].to(torch.int64).clamp(min=-1)
    write(call.dense("k"), call["k_cache"], slots, block_size=call["k_cache"].shape[1], use_fnuz=fnuz)


def gather(call: Call) -> None:
    """`dequantize_and_gather_k_cache` of the named flavour, with a contiguous block table."""
    read = call.function(f"{COMMON}:dequantize_and_gather_k_cache")
    requests = (call["seq_lens"], call.get("gather_lens"), call.dense("block_table"))
    fnuz = call.case.fp8 == "e4m3fnuz"
    read(call["out"], call["k_cache"], *requests, call["k_cache"].shape[1], call["offset"], use_fnuz=fnuz)


def compiled(name: str) -> torch._ops.OpOverloadPacket:
    """A compiled cache operation of the vLLM that is installed."""
    import vllm._C  # noqa: F401  # pyright: ignore[reportMissingImports]

    return getattr(torch.ops._C_cache_ops, name)


def concat(call: Call) -> None:
    """`concat_and_cache_mla` of a dense cache."""
    kind = "auto" if call["kv_cache"].dtype == torch.bfloat16 else "fp8"
    rows = (call["kv_c"], call["k_pe"], call["kv_cache"], call["slot_mapping"])
    compiled("concat_and_cache_mla")(*rows, kind, call["scale"])


def concat_ds_mla(call: Call) -> None:
    """`concat_and_cache_mla` of the 656-byte cache."""
    rows = (call["kv_c"], call["k_pe"], call["kv_cache"], call["slot_mapping"])
    compiled("concat_and_cache_mla")(*rows, "fp8_ds_mla", torch.ones(1, device=call["kv_c"].device))


def gather_dense(call: Call) -> None:
    """`gather_and_maybe_dequant_cache`."""
    cache, out = call["src_cache"], call["dst"]
    kinds = {656: "fp8_ds_mla"}
    kind = kinds.get(cache.shape[-1], "auto" if cache.dtype == torch.bfloat16 else "fp8")
    requests = (call["block_table"], call["cu_seq_lens"], call["token_to_seq"], len(out))
    compiled("gather_and_maybe_dequant_cache")(cache, out, *requests, kind, call["scale"], call.get("seq_starts"))


ANOTHER = Gap(
    arches=("gfx950",), fp8s=("e4m3fnuz",), reason="e4m3fnuz is refused on a chip whose FP8 flavour is e4m3fn"
)
MISSING = Gap(params={"lengths": ("missing",)}, reason="no page of a request is missing")
TALL = Gap(recipes=("tall",), reason="offsets of gathered rows have 32 bits: a request's lie within 2^31 elements")
DENSE = "csrc/cache_kernels.cu"

ADAPTERS = {
    "quantize_and_insert_k_cache": (
        Adapter(
            f"{COMMON}:quantize_and_insert_k_cache",
            insert,
            Offer(gaps=(ANOTHER,)),
            formats=lambda case: frozenset({case.fp8}),
        ),
    ),
    "dequantize_and_gather_k_cache": (
        Adapter(
            f"{COMMON}:dequantize_and_gather_k_cache",
            gather,
            Offer(gaps=(ANOTHER, MISSING, TALL)),
            formats=lambda case: frozenset({case.fp8}),
        ),
    ),
    "concat_and_cache_mla": (Adapter(f"{DENSE}:concat_and_cache_mla", concat, native=True),),
    "concat_and_cache_ds_mla": (
        Adapter(
            f"{DENSE}:concat_and_cache_mla",
            concat_ds_mla,
            Offer(params={"scale_fmt": ("float",)}),
            native=True,
        ),
    ),
    "gather_and_maybe_dequant_cache": (Adapter(f"{DENSE}:gather_and_maybe_dequant_cache", gather_dense, native=True),),
}
