"""AITER's dense MLA decode, its planner and its reduction: assembly and HIP, which only a ROCm device runs."""

from __future__ import annotations

import torch

from rocassay.harness.arch import profile
from rocassay.harness.cases import Case
from rocassay.harness.providers.foreign import Adapter, Call
from rocassay.harness.providers.functions import Gap, Offer
from rocassay.harness.providers.signatures import Conventions
from rocassay.kernels.persistent.buffers import NAMES, PlanError
from rocassay.kernels.persistent.shapes import FOLDED_HEADS, DecodeShape
from rocassay.suites.contracts.aiter import mla
from rocassay.suites.kernels.mla_decode_fwd import TIGHT, batch_of, shape_of, wants_lse
from rocassay.suites.kernels.mla_plan import most_splits, schedule_of
from rocassay.suites.kernels.mla_plan import shape_of as planned_shape_of
from rocassay.suites.persistent.aiter_plans import decode_values
from rocassay.suites.providers.aiter.machine import compute_units

PLAIN_HEADS = {"bf16": {8: 1, 16: 8, 32: 99, 64: 99, 128: 99}, "fp8": {8: 1, 16: 4, 128: 99}}
"""Type of queries and cache -> heads -> longest query of the kernels that need no plan (hsa/gfx942, mla)."""

FOLDED_TOKENS = 4
"""Longest query of gfx942's kernels of 16 heads along a plan."""

REDUCED_HEADS = {512: (8, 16, 24, 32, 48, 64, 80, 96, 112, 128), 128: (1, 2, 4, 8, 10, 16, 32, 40, 48, 64, 96, 128)}
"""Dims -> heads that the reduction is compiled for (csrc/kernels/mla/reduce.cu)."""

REDUCED_WHEEL = {512: (16, 128), 128: (8, 16, 128)}
"""Those of the last wheel."""


def decoding(case: Case) -> Conventions:
    """The call of a case: along a plan or not, with its LSE or not, and whatever else only later releases take."""
    if case["path"] == "plain":
        return mla.SPLIT_LSE if wants_lse(case) else mla.SPLIT
    if not case["causal"]:
        return mla.UNMASKED
    if wants_lse(case):
        return mla.PERSISTENT_LSE
    return mla.PERSISTENT if case.block_size == 1 else mla.PERSISTENT_PAGED


def attend(call: Call) -> None:
    """`mla_decode_fwd`; rows without a key, which it leaves as they are, become 0 and -inf."""
    case, output = call.case, call["o"]
    fp8 = {"q": case["dtype"] == "fp8", "kv_buffer": case["dtype"] != "bf16"}
    states = {name: call.dense(name) for name in fp8}
    states |= {name: states[name].view(call.fp8(name).dtype) for name, codes in fp8.items() if codes}
    lists = {name: call[name] for name in ("qo_indptr", "kv_indptr", "kv_indices", "kv_last_page_lens")}
    plan = {name: call.get(name) for name in ("work_meta_data", *NAMES[1:])}
    splits = max(2, case.integer("workers"))
    # Folded heads of several tokens move the result into other memory, and the tensor with it.
    given = output.contiguous().view(output.shape)
    _, lse = call.perform(
        decoding(case), **states, **lists, **plan, o=given, max_seqlen_q=call["max_seqlen_q"],
        page_size=case.block_size, sm_scale=call["sm_scale"], q_scale=call.get("q_scale"),
        kv_scale=call.get("kv_scale"), return_lse=True, causal=bool(call["causal"]), num_kv_splits=splits,
        num_kv_splits_indptr=splits * torch.arange(len(lists["qo_indptr"]), dtype=torch.int32, device=output.device),
    )  # fmt: skip
    blind = ~sees_keys(call)
    if given.data_ptr() != output.data_ptr():
        output.copy_(given)
    output.masked_fill_(blind[:, None, None], 0)
    if call.get("final_lse") is not None:
        call["final_lse"].copy_(lse.masked_fill(blind[:, None], -torch.inf))


def sees_keys(call: Call) -> torch.Tensor:
    """Whether a query row sees any key; bool [T]."""
    rows, pages = call["qo_indptr"].long(), call["kv_indptr"].diff().long()
    keys = torch.where(pages > 0, (pages - 1) * call.case.block_size + call["kv_last_page_lens"], 0)
    tokens = len(call["q"])
    row = torch.arange(tokens, device=rows.device)
    request = torch.searchsorted(rows[1:], row, right=True).clamp(max=len(keys) - 1)
    behind = rows[request + 1] - 1 - row if call["causal"] else torch.zeros_like(row)
    return keys[request] > behind


def plan(call: Call) -> None:
    """`get_mla_metadata_v1`."""
    case = call.case
    six = (call["work_metadata"].view(torch.uint64), *(call[name] for name in NAMES[1:]))
    lists = (call["qo_indptr"], call["kv_indptr"], call["last_page_lens"])
    shape = planned_shape_of(case)
    uniform = -1 if case["ragged"] else shape.max_qlen
    call.perform(mla.PLAN, **decode_values(shape, schedule_of(case, shape), lists, six, uniform))


def reducing(heads: int, dims: int) -> Conventions:
    """Calls of the releases that reduce so many heads and dims."""
    return mla.REDUCE if heads in REDUCED_WHEEL.get(dims, ()) else mla.REDUCE_LATER


def merge(call: Call, tile: int, conventions: Conventions) -> None:
    """`mla_reduce_v1` of tiles of so many tokens at most; its LSE of rows without a part is +inf."""
    parts = {name: call.dense(name) for name in ("partial_output", "partial_lse")}
    plan = {name: call.get(name) for name in ("reduce_indptr", "reduce_final_map", "reduce_partial_map")}
    lse = call.get("final_lse")
    found = None if lse is None else lse.contiguous()
    limits = {"max_seqlen_q": tile, "num_kv_splits": call["reduce_partial_map"].numel()}
    call.perform(conventions, **parts, **plan, **limits, final_output=call["final_output"], final_lse=found)
    if lse is not None and found is not None:
        lse.copy_(torch.where(found == torch.inf, -torch.inf, found))


def reduce(call: Call) -> None:
    """The reduction of decode."""
    case = call.case
    merge(call, call["max_seqlen_q"], reducing(case.integer("heads"), case.integer("dim")))


def _flavour(case: Case) -> bool:
    return case["dtype"] != "bf16" and case.fp8 != profile(case.arch).fp8


def _folded(shape: DecodeShape) -> int | None:
    """Times that heads are folded along a plan; None where no kernel takes them."""
    try:
        return shape.fold
    except PlanError:
        return None


def _kernelless(case: Case) -> bool:
    """Whether AITER has no kernel of the case's types, heads and longest query."""
    shape = shape_of(case, batch_of(case))
    if case["path"] == "plain":
        longest = PLAIN_HEADS.get(str(case["dtype"]), {}).get(shape.heads, 0)
        return shape.max_qlen > longest
    fold = _folded(shape)
    if fold is None or (case["dtype"] == "mixed" and case.arch != "gfx942"):
        return True
    of_16 = shape.heads == FOLDED_HEADS or fold > 1
    return case.arch == "gfx942" and of_16 and shape.max_qlen > FOLDED_TOKENS


def _no_lse(case: Case) -> bool:
    """Whether no kernel along a plan exports the LSE of whole tiles: gfx942 has one, of 64 heads and a token."""
    alone = (case["dtype"], case["heads"], case["qlen"]) == ("fp8", 64, 1)
    return case["path"] != "plain" and wants_lse(case) and case.arch == "gfx942" and not alone


def _uneven(case: Case) -> bool:
    """Whether heads are folded of queries that are not equally long, or on pages."""
    shape = shape_of(case, batch_of(case))
    folded = case["path"] != "plain" and (_folded(shape) or 1) > 1
    return folded and (case["qlen"] == "ragged" or case.block_size > 1)


def _tight(case: Case) -> bool:
    return dict(case.params).get("slots") == TIGHT


def _folding(case: Case) -> bool:
    return dict(case.params).get("fold", 1) != 1


def _unplanned(case: Case) -> bool:
    """Whether the lists begin behind 0, or a plan may have no split at all."""
    return bool(dict(case.params).get("first")) or most_splits(case) == 0


def _unreduced(case: Case) -> bool:
    return case.integer("heads") not in REDUCED_HEADS[case.integer("dim")]


DECODE_GAPS = (
    Gap(when=_flavour, reason="AITER's FP8 flavour is the chip's, and this one is not"),
    Gap(params={"path": ("exact",)}, reason="it takes plans of its own planner's policy, v1.2"),
    Gap(when=_tight, reason="it gives every part as many rows as the longest query has"),
    Gap(recipes=("wide", "far"), reason="pages, tokens and heads follow each other"),
    Gap(block_sizes=(16,), reason="its pages hold one token, or 64 along a plan"),
    Gap(block_sizes=(64,), params={"path": ("plain",)}, reason="without a plan its pages hold one token"),
    Gap(params={"causal": (0,)}, arches=("gfx942",), reason="gfx942 has no kernel without a causal mask"),
    Gap(params={"causal": (0,), "path": ("plain",)}, reason="without a plan there is no kernel without a causal mask"),
    Gap(when=_kernelless, reason="it has no kernel of these types, heads and query lengths"),
    Gap(when=_uneven, reason="folded heads need queries of one length, and pages of one token"),
    Gap(when=_no_lse, reason="gfx942's kernels along a plan export no LSE of whole tiles"),
)

ADAPTERS = {
    "mla_decode_fwd": (
        Adapter(
            "aiter.mla:mla_decode_fwd",
            attend,
            Offer(gaps=DECODE_GAPS),
            native=True,
            uses=lambda case: (decoding(case),),
        ),
    ),
    "mla_plan": (
        Adapter(
            "aiter.ops.attention:get_mla_metadata_v1",
            plan,
            Offer(
                gaps=(
                    Gap(params={"policy": ("exact",)}, reason="its planner's policy is v1.2"),
                    Gap(
                        when=lambda case: case["workers"] != compute_units(case.arch),
                        reason="it plans for the compute units that the device has",
                    ),
                    Gap(when=_unplanned, reason="lists begin at 0, and a tile may be split"),
                )
            ),
            native=True,
            uses=lambda _: (mla.PLAN,),
        ),
    ),
    "mla_reduce": (
        Adapter(
            "aiter.ops.attention:mla_reduce_v1",
            reduce,
            Offer(
                gaps=(
                    Gap(when=_folding, reason="heads are folded before it, and unfolded by its caller"),
                    Gap(recipes=("wide", "far", "ends"), reason="rows of parts and tokens follow each other"),
                    Gap(when=_unreduced, reason="it is not compiled for so many heads of these dims"),
                )
            ),
            native=True,
            uses=lambda case: (reducing(case.integer("heads"), case.integer("dim")),),
        ),
    ),
}
