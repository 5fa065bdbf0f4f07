"""The host planners behind AITER's signatures, with which its adapter is tried where AITER itself is not installed."""

from __future__ import annotations

from typing import Any

import torch

from rocassay.kernels.persistent.buffers import Buffers, Sizes
from rocassay.kernels.persistent.planner import Lengths, Schedule, plan_decode, sizes, write
from rocassay.kernels.persistent.prefill_planner import plan_prefill, prefill_sizes
from rocassay.kernels.persistent.shapes import DecodeShape, Element


class OwnPlanners:
    """Parameter by parameter what aiter/ops/attention.py has, on gfx942."""

    def __init__(self, workers: int) -> None:
        self.workers = workers

    def get_mla_metadata_info_v1(
        self, batch_size: int, max_seqlen_qo: int, num_head_qo: int, q_dtype: torch.dtype, kv_dtype: torch.dtype,
        is_sparse: bool, fast_mode: bool = True, num_kv_splits: int = 32, intra_batch_mode: bool = False,
        max_split_per_batch: int = -1,
    ) -> tuple[Any, ...]:  # fmt: skip
        """Sizes and types of the six buffers."""
        assert (is_sparse, fast_mode, num_kv_splits, intra_batch_mode) == (False, True, 32, False)
        shape = _shape(num_head_qo, max_seqlen_qo, q_dtype, kv_dtype)
        room = sizes(shape, batch=batch_size, workers=self.workers, max_splits=_splits(max_split_per_batch))
        return _told(room)

    def get_mla_metadata_v1(
        self, seqlens_qo_indptr: torch.Tensor, seqlens_kv_indptr: torch.Tensor, kv_last_page_lens: torch.Tensor,
        num_heads_per_head_k: int, num_heads_k: int, is_causal: bool, work_metadata_ptrs: torch.Tensor,
        work_info_set: torch.Tensor, work_indptr: torch.Tensor, reduce_indptr: torch.Tensor,
        reduce_final_map: torch.Tensor, reduce_partial_map: torch.Tensor, page_size: int = 1, kv_granularity: int = 16,
        max_seqlen_qo: int = -1, uni_seqlen_qo: int = -1, fast_mode: bool = True, topk: int = -1,
        max_split_per_batch: int = -1, intra_batch_mode: bool = False,
        dtype_q: torch.dtype | None = None, dtype_kv: torch.dtype | None = None,
    ) -> None:  # fmt: skip
        """A decode plan."""
        assert (fast_mode, topk, intra_batch_mode) == (True, -1, False)
        shape = _shape(num_heads_per_head_k * num_heads_k, max_seqlen_qo, dtype_q, dtype_kv)
        assert shape.fold == 1 or uni_seqlen_qo == max_seqlen_qo
        lists = (seqlens_qo_indptr, seqlens_kv_indptr, kv_last_page_lens)
        lengths = Lengths.dense(*(t.numpy() for t in lists), page_size=page_size, fold=shape.fold)
        schedule = Schedule.v1_2(
            shape, workers=work_indptr.numel() - 1, kv_granularity=kv_granularity, page_size=page_size,
            causal=is_causal, max_splits=_splits(max_split_per_batch),
        )  # fmt: skip
        six = (
            work_metadata_ptrs, work_indptr, work_info_set, reduce_indptr, reduce_final_map, reduce_partial_map,
        )  # fmt: skip
        write(plan_decode(lengths, schedule), Buffers(*(t.numpy() for t in six)), policy="v1.2")

    def get_ps_metadata_info_v1(
        self, batch_size: int, num_head_k: int, max_qlen: int, qlen_granularity: int = 256
    ) -> tuple[Any, ...]:
        """Sizes and types of the six buffers."""
        shape = {"heads": num_head_k, "workers": self.workers, "tile_q": qlen_granularity}
        return _told(prefill_sizes(batch=batch_size, max_qlen=max_qlen, **shape))

    def get_ps_metadata_v1(
        self, seqlens_qo_indptr: torch.Tensor, pages_kv_indptr: torch.Tensor, context_lens: torch.Tensor,
        gqa_ratio: int, num_heads_k: int, work_metadata_ptrs: torch.Tensor, work_indptr: torch.Tensor,
        work_info: torch.Tensor, reduce_indptr: torch.Tensor, reduce_final_map: torch.Tensor,
        reduce_partial_map: torch.Tensor, qhead_granularity: int = 1, qlen_granularity: int = 256,
        kvlen_granularity: int = 16, block_size: int = 16, is_causal: bool = True,
    ) -> None:  # fmt: skip
        """A prefill plan; like AITER's, it leaves the pointers alone."""
        assert work_metadata_ptrs.dtype is torch.uint64
        assert (gqa_ratio, qhead_granularity, block_size, is_causal) == (1, 1, 1, True)
        assert torch.equal(pages_kv_indptr.diff(), context_lens)
        plan = plan_prefill(
            seqlens_qo_indptr.numpy(), context_lens.numpy(), heads=num_heads_k, workers=work_indptr.numel() - 1,
            tile_q=qlen_granularity, unit_kv=kvlen_granularity,
        )  # fmt: skip
        work_indptr.copy_(torch.from_numpy(plan.work_indptr))
        work_info[: len(plan.work_info)] = torch.from_numpy(plan.work_info)
        reduce_indptr.fill_(int(plan.reduce_indptr[-1]))[: len(plan.reduce_indptr)] = torch.from_numpy(
            plan.reduce_indptr
        )
        reduce_final_map[: len(plan.final_map)] = torch.from_numpy(plan.final_map)
        reduce_partial_map[: len(plan.partial_map)] = torch.from_numpy(plan.partial_map)


def _told(room: Sizes) -> tuple[Any, ...]:
    """Sizes as AITER tells them: a number for one dimension, a tuple for two."""
    flat = [shape if len(shape) > 1 else sum(shape) for shape in room.shapes]
    return tuple((shape, torch.int32 if place else torch.uint64) for place, shape in enumerate(flat))


def _splits(most: int) -> int | None:
    return None if most < 0 else most


def _shape(heads: int, qlen: int, q: torch.dtype | None, kv: torch.dtype | None) -> DecodeShape:
    """The shape on gfx942, whose FP8 is e4m3fnuz."""
    names: dict[torch.dtype | None, Element] = {torch.bfloat16: "bf16", torch.float8_e4m3fnuz: "fp8"}
    return DecodeShape("gfx942", heads, qlen, names[q], names[kv])
