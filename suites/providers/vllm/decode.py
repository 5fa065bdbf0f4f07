"""vLLM's dense MLA decode in Triton, and the lengths of decode rows as its indexer's builder has them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from rocassay.harness.providers.foreign import Adapter, Call
from rocassay.harness.providers.functions import Gap, Offer
from rocassay.suites.providers.vllm.attention import HEADS_TOGETHER
from rocassay.suites.providers.vllm.indexer import OTHER_FLAVOUR
from rocassay.suites.providers.vllm.machine import BACKENDS, OPS

VALUE_DIM = 512
SPLITS = 4
"""Parts of the keys where the case asks for none."""

BUILDER = f"{BACKENDS}.indexer:DeepseekV32IndexerMetadataBuilder"


def decode(call: Call) -> None:
    """`decode_attention_fwd` as its backend calls it: every query token is a row with a block table and a length."""
    attend = call.function(f"{OPS}.triton_decode_attention:decode_attention_fwd")
    q, cache, scale = call["q"], call["kv_buffer"], call.get("kv_scale")
    cache = cache if scale is None else call.fp8("kv_buffer")
    # The backend has its layer's scale on the device, of a bf16 cache, too.
    scale = torch.ones((), device=q.device) if scale is None else scale
    splits = (call.case.integer("workers") if call.case["path"] == "plain" else 0) or SPLITS
    tokens, heads = q.shape[:2]
    parts = torch.empty((tokens, heads, splits, VALUE_DIM + 1), device=q.device)
    lse = torch.empty((tokens, heads), device=q.device) if call.get("final_lse") is None else call["final_lse"]
    keys = (q, cache, cache[..., :VALUE_DIM], call["o"], lse, *rows(call), parts, splits)
    attend(*keys, call["sm_scale"], cache.shape[1], k_scale=scale, v_scale=scale, is_mla=True)


def rows(call: Call) -> tuple[torch.Tensor, torch.Tensor]:
    """Block table and visible keys of every query token."""
    starts, first, pages = call["qo_indptr"], call["kv_indptr"], call["kv_indices"]
    counts, size = first.diff(), call["kv_buffer"].shape[1]
    lens = torch.where(counts > 0, (counts - 1) * size + call["kv_last_page_lens"], 0)
    token = torch.arange(len(call["q"]), dtype=starts.dtype, device=starts.device)
    owner = torch.searchsorted(starts[1:].contiguous(), token, right=True)
    later = starts[1:][owner] - 1 - token if call["causal"] else 0
    # No request has more pages than there are, and their number need not be asked of the device.
    place = first[:-1][owner][:, None] + torch.arange(len(pages), device=pages.device)
    return pages[place.clamp(max=len(pages) - 1)], (lens[owner] - later).clamp(min=0).to(torch.int32)


class HostLens(np.ndarray[Any, np.dtype[np.int64]]):
    """Integers that a builder keeps on the host: no tensor, so that reading them is no wait for the device."""

    @classmethod
    def __torch_function__(
        cls,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> NDArray[np.int64]:
        """Differences of neighbours are all that a builder asks torch for."""
        assert func is torch.diff, func
        return np.diff(args[0])


def lens_by_request(call: Call) -> None:
    """`build` of a step whose requests have as many tokens as rows of lengths."""
    lens, seq_lens = call["lens"], call["seq_lens"]
    requests, most = lens.shape
    starts = torch.arange(requests + 1, dtype=torch.int32, device=lens.device) * most
    room = torch.empty(requests * most, dtype=torch.int32, device=lens.device)
    table = seq_lens.new_zeros((requests, 1))
    host = np.arange(requests + 1) * most
    built = build(call, starts, host, table, room, table.repeat_interleave(most, dim=0))
    lens.copy_(built.decode.seq_lens)


def lens_by_row(call: Call) -> None:
    """`build` of a step whose tokens become rows of their own, in the step's persistent buffers."""
    starts = call["query_start_loc"]
    with call.staged("row_table") as table:
        build(call, starts, call.host("query_start_loc"), call["block_table"], call["lens"], table)


def build(
    call: Call,
    starts: torch.Tensor,
    host: NDArray[np.int64],
    table: torch.Tensor,
    lens: torch.Tensor,
    rows: torch.Tensor,
) -> Any:
    """`DeepseekV32IndexerMetadataBuilder.build` of a decode step that fills the buffers `lens` and `rows`.

    starts: first tokens of the requests, [B + 1], which the engine has on the host as `host`. table: [B, W]. Rows of
    `lens` beyond the step's tokens are the padding of a captured graph.
    """
    step = SimpleNamespace(
        num_reqs=len(host) - 1,
        num_actual_tokens=len(lens),
        query_start_loc=starts,
        query_start_loc_cpu=host.view(HostLens),
        seq_lens=call["seq_lens"],
        max_seq_len=0,
        slot_mapping=None,
        block_table_tensor=table,
        dcp_local_seq_lens=None,
    )
    return builder_of(call, lens, rows, max(len(lens), len(host))).build(0, step)


def builder_of(call: Call, lens: torch.Tensor, rows: torch.Tensor, room: int) -> Any:
    """A builder whose buffers of lengths and of block-table rows are these, and the others of `room` entries."""
    kind: Any = call.function(BUILDER)
    next_n = call.case.integer("next_n")
    config = SimpleNamespace(
        num_speculative_tokens=next_n - 1,
        speculative_config=SimpleNamespace(enable_adaptive_verification=call.case["adaptive"] == 1),
        model_config=SimpleNamespace(architectures=["DeepseekV4ForCausalLM"]),
    )
    others = (
        "decode_lens",
        "per_req_decode_lens",
        "expanded_seq_lens",
        "compressed_slot_mapping",
        "scheduler_metadata",
    )
    builder = kind.__new__(kind)
    builder.__dict__.update({f"{name}_buffer": lens.new_zeros(room) for name in others})
    builder.__dict__.update(
        vllm_config=config,
        use_flattening=call.function(f"{BACKENDS}.indexer:_use_flattening")(config),
        supports_varlen=False,
        use_pcp=False,
        pcp_world_size=1,
        dcp_world_size=1,
        cp_kv_cache_interleave_size=1,
        compress_ratio=call["compress_ratio"],
        num_speculative_tokens=next_n - 1,
        decode_threshold=next_n,
        offsets_buffer=torch.arange(next_n, dtype=torch.int32, device=lens.device),
        arange_buffer=torch.arange(room, dtype=torch.int32, device=lens.device),
        decode_seq_lens_buffer=lens,
        expanded_block_table_buffer=rows,
        kv_cache_spec=SimpleNamespace(num_states=1),
    )
    return builder


MIXED_FLAVOUR = replace(OTHER_FLAVOUR, params={"dtype": ("mixed",)})
NO_COLUMNS = Gap(when=lambda case: dict(case.params).get("width") == 0, reason="a block table has columns")

ADAPTERS = {
    "mla_decode_fwd": (
        Adapter(
            f"{OPS}.triton_decode_attention:decode_attention_fwd",
            decode,
            Offer(
                gaps=(
                    MIXED_FLAVOUR,
                    Gap(params={"dtype": ("fp8",)}, reason="its queries are no FP8: it widens the keys"),
                    Gap(recipes=("far",), reason=HEADS_TOGETHER),
                )
            ),
            formats=lambda case: frozenset({case.fp8} if case["dtype"] == "mixed" else ()),
        ),
    ),
    "indexer_decode_lens": (
        Adapter(BUILDER, lens_by_request, Offer(params={"next_n": (1, 2), "adaptive": (0,)})),
        Adapter(BUILDER, lens_by_row, Offer(gaps=(NO_COLUMNS,))),
    ),
}
