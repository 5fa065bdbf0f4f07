"""Plans of the device's planner, run by the interpreter, against the host's: seeded problems of a few requests."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from rocassay.harness.engines.base import engine
from rocassay.kernels.persistent.buffers import NAMES, Buffers, decode_sizes
from rocassay.kernels.persistent.dispatch import DISPATCH, MlaPlanVariant, mla_plan_variant
from rocassay.kernels.persistent.mla_plan import mla_plan
from rocassay.kernels.persistent.planner import plan_decode, write
from rocassay.kernels.persistent.shapes import DecodeShape
from rocassay.references.persistent.plan_invariants import check_plan
from rocassay.references.persistent.plan_records import Finding, PlanBuffers
from rocassay.references.persistent.plan_runs import check_same
from rocassay.suites.persistent.plans import Draw, Problem, random_problem

FEW = Draw(batches=(1, 2, 3, 7), workers=(1, 3, 8, 80), large=16)
"""An interpreter pays for every step of the one program: fewer requests and workgroups than the host's plans have."""

STALE = (0x5AFEC0D, -7)
"""What the buffers of the device's and of the host's planner hold before."""


def judge_device(seed: int, planner: Callable[..., None] = mla_plan) -> list[Finding]:
    """I19 and every invariant of one plan of the device's problem `seed`; odd numbers are planned as AITER does."""
    problem = random_problem(seed, "v1.2" if seed % 2 else "exact", FEW)
    longest = max(1, int(np.diff(problem.qo_indptr).max(initial=1)))
    # The clean policy cuts tiles by the schedule alone: any shape that takes all heads unfolded will do.
    shape = problem.schedule.shape or DecodeShape("gfx950", problem.heads, longest)
    variant = mla_plan_variant(shape, problem.schedule, DISPATCH)
    made, host = (_buffers(problem, variant.tiles_of(shape.max_qlen), stale) for stale in STALE)
    _fill(planner, problem, variant, shape.max_qlen, made)
    plan = plan_decode(problem.lengths, problem.schedule)
    write(plan, host, policy=problem.schedule.policy)
    on_device, on_host = (PlanBuffers.of(*(getattr(six, name) for name in NAMES)) for six in (made, host))
    rules = problem.rules(plan).but(partial_rows=len(made.reduce_partial_map) * problem.schedule.tile_tokens)
    findings = check_plan(problem.requests, on_device, rules, items=len(plan.work_info))
    return check_same(on_host, on_device, rules) + findings


def _buffers(problem: Problem, tiles: int, stale: int) -> Buffers:
    """Buffers of exactly the size that the kernel asks for."""
    schedule, batch = problem.schedule, len(problem.requests.label)
    room = decode_sizes(batch=batch, tiles=tiles, workers=schedule.workers, max_splits=schedule.max_splits)
    return Buffers.allocate(room, stale)


def _fill(
    planner: Callable[..., None], problem: Problem, variant: MlaPlanVariant, max_qlen: int, buffers: Buffers
) -> None:
    schedule = problem.schedule
    lists = (problem.qo_indptr, problem.kv_indptr, problem.last_page_len)
    with engine("interpreter").session():
        planner(
            *(torch.as_tensor(np.asarray(values, np.int32)) for values in lists),
            *(torch.from_numpy(getattr(buffers, name)) for name in NAMES),
            page_size=schedule.page_size,
            max_qlen=max_qlen,
            causal=int(schedule.causal),
            max_splits=schedule.max_splits,
            variant=variant,
        )
