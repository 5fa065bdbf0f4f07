"""Plans that AITER's own planners make, as the records that the plan checkers judge.

Source: AITER aiter/ops/attention.py, ``get_mla_metadata_info_v1``, ``get_mla_metadata_v1``, ``get_ps_metadata_info_v1``
and ``get_ps_metadata_v1``. The sizes come as (shape, type) in the order of `plan_records.NAMES`; the decode planner
takes work_info_set before work_indptr, the prefill planner after it.
"""

# pyright: reportUnknownMemberType=false
from __future__ import annotations

import importlib
import importlib.util
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch

from rocassay.harness.arch import PROFILES
from rocassay.harness.errors import RocassayError
from rocassay.harness.fp8 import format_of, torch_dtype
from rocassay.harness.providers.signatures import Conventions
from rocassay.kernels.persistent.planner import Schedule
from rocassay.kernels.persistent.shapes import DecodeShape, Element
from rocassay.references.fp8_prefill.plan_invariants import PrefillBuffers, PrefillRules, check_prefill_plan
from rocassay.references.persistent.plan_invariants import check_plan
from rocassay.references.persistent.plan_records import NAMES, Finding, PlanBuffers, Rules
from rocassay.suites.contracts.aiter import mla
from rocassay.suites.persistent.plans import V_HEAD_DIM, Problem

STALE = -7
"""What the int32 buffers hold before a planner writes them."""

ARCHES = ("gfx942", "gfx950")
"""Where AITER's tiling is known (`kernels.persistent.shapes`)."""

Tensors = Sequence[torch.Tensor]


class NotAitersPlanner(RocassayError):
    """The module offers planners of another signature."""


class Planners(Protocol):
    """What is used of the module `aiter`."""

    get_mla_metadata_info_v1: Callable[..., Any]
    get_mla_metadata_v1: Callable[..., None]
    get_ps_metadata_info_v1: Callable[..., Any]
    get_ps_metadata_v1: Callable[..., None]


def unavailable() -> str | None:
    """Why AITER's planners cannot be judged on this machine; None where they can."""
    if importlib.util.find_spec("aiter") is None:
        return "amd-aiter is not installed: AITER's own planner was NOT judged"
    if torch.version.hip is None or not torch.cuda.is_available():
        return "AITER's planners run on an AMD GPU, this machine has none: AITER's own planner was NOT judged"
    if arch() not in ARCHES:
        return f"AITER's tiling is known on {' and '.join(ARCHES)}, this is {arch()}: its planner was NOT judged"
    try:
        module = importlib.import_module("aiter")
    except Exception as error:
        return f"the installed aiter does not import ({type(error).__name__}: {error}): its planner was NOT judged"
    lacking = [name for name in Planners.__annotations__ if not hasattr(module, name)]
    if lacking:
        return f"the installed aiter lacks {', '.join(lacking)} (is it amd-aiter?): its planner was NOT judged"
    return None


def arch() -> str:
    """Name of the AMD GPU's architecture, without feature suffixes."""
    return torch.cuda.get_device_properties(0).gcnArchName.partition(":")[0]


def installed() -> Planners:
    """The module `aiter`, where `unavailable` has nothing to say."""
    module: Any = importlib.import_module("aiter")
    return module


def element_type(name: str, element: Element) -> torch.dtype:
    """Type of queries or cache that the planner is told: the FP8 type is the architecture's."""
    return torch.bfloat16 if element == "bf16" else torch_dtype(format_of(PROFILES[name].fp8))


def allocated(info: Sequence[tuple[Any, torch.dtype]], device: str) -> tuple[torch.Tensor, ...]:
    """Six buffers of the sizes that were told, full of stale numbers."""
    sizes = [((size,) if isinstance(size, int) else tuple(size), dtype) for size, dtype in info]
    return tuple(
        torch.zeros(shape, dtype=dtype, device=device)
        if dtype is torch.uint64
        else torch.full(shape, STALE, dtype=dtype, device=device)
        for shape, dtype in sizes
    )


def planned_decode(planners: Planners, problem: Problem, *, device: str = "cuda") -> tuple[torch.Tensor, ...]:
    """The six buffers of a decode plan for a problem of policy `v1.2`, in the order of `NAMES`."""
    schedule, shape = problem.schedule, _shape(problem)
    q, kv = (element_type(shape.arch, element) for element in (shape.q, shape.kv))
    sized = {
        "batch_size": len(problem.last_page_len),
        "max_seqlen_qo": shape.max_qlen,
        "num_head_qo": shape.heads,
        "q_dtype": q,
        "kv_dtype": kv,
        "is_sparse": False,
        "fast_mode": True,
        "max_split_per_batch": _capped(schedule),
    }
    six = allocated(made(planners.get_mla_metadata_info_v1, mla.SIZES, sized), device)
    lists = (problem.qo_indptr, problem.kv_indptr, problem.last_page_len)
    lengths = np.diff(problem.qo_indptr)
    uniform = int(lengths[0]) if len(set(lengths.tolist())) == 1 else -1
    tensors = tuple(torch.as_tensor(np.asarray(values, np.int32), device=device) for values in lists)
    made(planners.get_mla_metadata_v1, mla.PLAN, decode_values(shape, schedule, tensors, six, uniform))
    return six


def decode_values(
    shape: DecodeShape, schedule: Schedule, lists: Tensors, six: Tensors, uniform: int
) -> Mapping[str, Any]:
    """What AITER's planner of decode is told, by the names of its parameters.

    lists: qo_indptr, kv_indptr and last_page_lens. six: in the order of `NAMES`. uniform: query tokens of every
    request, -1 where they differ.
    """
    pointers, work_indptr, work_info_set, reduce_indptr, final_map, partial_map = six
    q, kv = (element_type(shape.arch, element) for element in (shape.q, shape.kv))
    return {
        **dict(zip(("seqlens_qo_indptr", "seqlens_kv_indptr", "kv_last_page_lens"), lists, strict=True)),
        "num_heads_per_head_k": shape.heads,
        "num_heads_k": 1,
        "is_causal": schedule.causal,
        "work_metadata_ptrs": pointers,
        "work_info_set": work_info_set,
        "work_indptr": work_indptr,
        "reduce_indptr": reduce_indptr,
        "reduce_final_map": final_map,
        "reduce_partial_map": partial_map,
        "page_size": schedule.page_size,
        "kv_granularity": schedule.granularity // schedule.page_size,
        "max_seqlen_qo": shape.max_qlen,
        "uni_seqlen_qo": uniform,
        "fast_mode": True,
        "topk": -1,
        "max_split_per_batch": _capped(schedule),
        # Without them the planner assumes bf16; their names have changed.
        **dict.fromkeys(("dtype_q", "dtype_q_nope"), q),
        **dict.fromkeys(("dtype_kv", "dtype_kv_nope"), kv),
    }


def made(planner: Callable[..., Any], conventions: Conventions, values: Mapping[str, Any]) -> Any:
    """The first call whose arguments the planner has, made with these values; NotAitersPlanner where it has none."""
    known = inspect.signature(planner).parameters
    for call in conventions:
        if all(known.keys() & each.names for each in (*call.positional, *call.keywords)):
            args, keywords = call.arranged(values)
            return planner(*args, **keywords)
    what = conventions[0].paths[0].partition(":")[2]
    raise NotAitersPlanner(f"{what} takes {', '.join(known)}; install an amd-aiter of {conventions[0].versions}")


def _capped(schedule: Schedule) -> int:
    """Splits of a request at most, -1 for as many as there are workgroups."""
    return -1 if schedule.max_splits is None else schedule.max_splits


def _shape(problem: Problem) -> DecodeShape:
    if problem.schedule.shape is None:
        raise NotAitersPlanner(f"AITER makes plans of policy 'v1.2', not {problem.schedule.policy!r}; draw such a one")
    return problem.schedule.shape


def decode_findings(problem: Problem, six: Tensors) -> list[Finding]:
    """Everything wrong with a decode plan in AITER's buffers, in the order of `NAMES`."""
    return [*addresses(six), *check_plan(problem.requests, read(six), rules_of(problem, six))]


def read(six: Tensors) -> PlanBuffers:
    """The buffers on the host, as the checker's record."""
    return PlanBuffers.of(*(buffer.cpu().numpy() for buffer in six))


def rules_of(problem: Problem, six: Tensors) -> Rules:
    """What AITER promises: one workgroup for every element of work_indptr but one, parts in rows of a tile."""
    schedule, workers, parts = problem.schedule, six[1].numel() - 1, six[5].numel()
    splits, requests = schedule.max_splits, len(problem.requests.label)
    return Rules(
        workers=workers,
        used_workers=workers if splits is None else max(1, min(workers, splits * requests)),
        tile_tokens=schedule.tile_tokens,
        granularity=schedule.granularity,
        overhead=schedule.overhead,
        page_size=schedule.page_size,
        causal=schedule.causal,
        partial_rows=parts * schedule.tile_tokens,
        row_elements=problem.heads * V_HEAD_DIM,
        exact=False,
        # Its kernels have wrapped beyond 2^31 elements, but that is no property of a plan.
        wide_addressing=True,
    )


def addresses(six: Tensors) -> Iterator[Finding]:
    """I15: work_metadata_ptrs holds the device addresses of work_indptr and work_info_set, in this order."""
    told = six[0].cpu().numpy().astype(np.uint64).tolist()
    for place, (address, buffer, name) in enumerate(zip(told, six[1:3], NAMES[1:3], strict=False)):
        if address != buffer.data_ptr():
            where = f"work_metadata[{place}]"
            yield Finding("I15", where, f"is {address:#x}, {name} lies at {buffer.data_ptr():#x}")


def planned_prefill(planners: Planners, rules: PrefillRules, *, device: str = "cuda") -> tuple[torch.Tensor, ...]:
    """The six buffers of a causal prefill plan of single tokens a page, the first of which is never written."""
    rows, keys = (torch.tensor(bounds, dtype=torch.int32) for bounds in (rules.qo_indptr, rules.kv_indptr))
    longest = max(1, int(rows.diff().max()))
    sized = {"batch_size": len(rows) - 1, "num_head_k": rules.heads, "max_qlen": longest}
    info = made(planners.get_ps_metadata_info_v1, mla.PS_SIZES, {**sized, "qlen_granularity": rules.tile_q})
    six = allocated(info, device)
    given = prefill_values(rows, keys, rules.heads, six, tile_q=rules.tile_q, unit_kv=rules.unit_kv)
    made(planners.get_ps_metadata_v1, mla.PS_PLAN, given)
    return six


def prefill_values(
    rows: torch.Tensor, keys: torch.Tensor, heads: int, six: Tensors, *, tile_q: int, unit_kv: int
) -> Mapping[str, Any]:
    """What AITER's planner of prefill is told, by the names of its parameters.

    rows, keys: int32 [B + 1], on the host. six: in the order of `NAMES`.
    """
    names = ("work_metadata_ptrs", "work_indptr", "work_info", "reduce_indptr", "reduce_final_map")
    return {
        "seqlens_qo_indptr": rows,
        "pages_kv_indptr": keys,
        "context_lens": keys.diff(),
        "gqa_ratio": 1,
        "num_heads_k": heads,
        **dict(zip((*names, "reduce_partial_map"), six, strict=True)),
        "qhead_granularity": 1,
        "qlen_granularity": tile_q,
        "kvlen_granularity": unit_kv,
        "block_size": 1,
        "is_causal": True,
    }


def prefill_findings(rules: PrefillRules, six: Tensors) -> list[Finding]:
    """Everything wrong with a prefill plan in AITER's buffers; `rules` must name their workgroups."""
    return check_prefill_plan(PrefillBuffers(*(buffer.cpu().numpy().astype(np.int64) for buffer in six[1:])), rules)
