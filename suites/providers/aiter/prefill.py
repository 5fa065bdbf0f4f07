"""AITER's FP8 prefill along a plan, its planner and its reduction, which only a ROCm device runs."""

from __future__ import annotations

import torch

from rocassay.harness.cases import Case
from rocassay.harness.providers.foreign import Adapter, Call
from rocassay.harness.providers.functions import Gap, Offer
from rocassay.suites.contracts.aiter import mla
from rocassay.suites.persistent.aiter_plans import prefill_values
from rocassay.suites.providers.aiter.decode import REDUCED_HEADS, merge, reducing
from rocassay.suites.providers.aiter.machine import OTHER_FLAVOUR, compute_units

TILE, UNIT = 256, 128
"""Query rows of a tile, and keys of a unit of its plans."""

BUFFERS = ("work_indptr", "work_info_set", "reduce_indptr", "reduce_final_map", "reduce_partial_map")


def attend(call: Call) -> None:
    """`mla_prefill_ps_asm_fwd`, which writes whole tiles and the parts of split ones, and `mla_reduce_v1`."""
    states = {name: call.dense(name.lower()).view(call.fp8(name.lower()).dtype) for name in ("Q", "K", "V")}
    lists = {name: call[name] for name in ("qo_indptr", "kv_indptr", "work_indptr", "work_info_set", "max_seqlen_q")}
    maps = {name: call[name] for name in ("reduce_indptr", "reduce_final_map", "reduce_partial_map")}
    scales = {name: call[name] for name in ("q_scale", "k_scale", "v_scale")}
    with call.staged("output") as output, call.staged("split_data") as parts, call.staged("split_lse") as sums:
        call.perform(
            mla.PS, **states, **lists, **scales, kv_page_indices=call["kv_page_indices"],
            softmax_scale=call["softmax_scale"], is_causal=True, splitData=parts, splitLse=sums, output=output,
        )  # fmt: skip
        call.perform(
            mla.REDUCE_LATER, **maps, partial_output=parts, partial_lse=sums, max_seqlen_q=TILE, num_kv_splits=0,
            final_output=output, final_lse=None,
        )  # fmt: skip


def plan(call: Call) -> None:
    """`get_ps_metadata_v1`, which plans on the host: its caller has the lists there."""
    pointers = torch.empty(2, dtype=torch.uint64, device=call["work_indptr"].device)
    six = (pointers, *(call[name] for name in BUFFERS))
    rows, keys = (torch.from_numpy(call.host(name).astype("int32")) for name in ("qo_indptr", "kv_indptr"))
    call.perform(mla.PS_PLAN, **prefill_values(rows, keys, call["num_heads"], six, tile_q=TILE, unit_kv=UNIT))


def reduce(call: Call) -> None:
    """The reduction of prefill."""
    case = call.case
    merge(call, case.integer("tile"), reducing(case.integer("heads"), case.integer("width")))


def _unreduced(case: Case) -> bool:
    return case.integer("heads") not in REDUCED_HEADS.get(case.integer("width"), ())


ADAPTERS = {
    "mla_prefill_ps": (
        Adapter(
            "aiter.ops.attention:mla_prefill_ps_asm_fwd",
            attend,
            Offer(
                gaps=(
                    OTHER_FLAVOUR,
                    Gap(arches=("gfx942",), reason="gfx942 is rejected when it runs"),
                    Gap(params={"kind": ("bf16",)}, reason="its states are FP8"),
                    Gap(params={"path": ("fallback", "auto")}, reason="it runs along a plan"),
                    Gap(when=lambda case: case["tile"] != TILE, reason="its tiles have 256 rows"),
                    Gap(params={"lse": ("yes",)}, reason="it exports no LSE of tiles that are not split"),
                    Gap(recipes=("wide", "far", "whole"), reason="rows follow each other, and are masked causally"),
                    Gap(
                        when=lambda case: case.integer("heads") not in REDUCED_HEADS[128],
                        reason="its reduction is not compiled for so many heads",
                    ),
                )
            ),
            native=True,
            uses=lambda _: (mla.PS, mla.REDUCE_LATER),
        ),
    ),
    "mla_prefill_ps_metadata": (
        Adapter(
            "aiter.ops.attention:get_ps_metadata_v1",
            plan,
            Offer(
                gaps=(
                    Gap(
                        when=lambda case: case["workers"] != compute_units(case.arch),
                        reason="it plans for the compute units that the device has",
                    ),
                )
            ),
            native=True,
            uses=lambda _: (mla.PS_PLAN,),
        ),
    ),
    "mla_prefill_reduce": (
        Adapter(
            "aiter.ops.attention:mla_reduce_v1",
            reduce,
            Offer(
                gaps=(
                    Gap(recipes=("far",), reason="rows of parts and tokens follow each other"),
                    Gap(when=_unreduced, reason="it is not compiled for so many heads of this width"),
                )
            ),
            native=True,
            uses=lambda case: (reducing(case.integer("heads"), case.integer("width")),),
        ),
    ),
}
