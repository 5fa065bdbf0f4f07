"""Plans of the persistent FP8 prefill: three makers agree, and the judge finds nothing wrong, or what was broken."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings

from rocassay.harness.engines.interpreter import InterpreterEngine
from rocassay.kernels.fp8_prefill.dispatch import metadata_variant
from rocassay.kernels.fp8_prefill.mla_prefill_ps_metadata import metadata_workspace, mla_prefill_ps_metadata
from rocassay.kernels.persistent.prefill_planner import prefill_sizes
from rocassay.references.fp8_prefill import mla_prefill_ps_metadata as reference
from rocassay.references.fp8_prefill.plan_invariants import PrefillBuffers, PrefillRules, check_prefill_plan
from rocassay.suites.fp8_prefill.plans import BREAKS, asked, host_plan

NAMES = ("work_indptr", "work_info_set", "reduce_indptr", "reduce_final_map", "reduce_partial_map")
OF_600 = PrefillRules((0, 600), (0, 600), heads=2, workers=4)
OF_CHUNKS = PrefillRules((0, 300, 300, 601), (0, 900, 900, 1201), heads=4, workers=8)


def device_plan(rules: PrefillRules) -> PrefillBuffers:
    """The device's plan, in the buffers that are promised for it, by the interpreter."""
    longest = max(1, int(np.diff(rules.qo_indptr).max()))
    requests = len(rules.qo_indptr) - 1
    shape = {"heads": rules.heads, "workers": rules.workers, "tile_q": rules.tile_q}
    room = prefill_sizes(batch=requests, max_qlen=longest, **shape)
    shapes = ((rules.workers + 1,), (room.work, 8), (room.groups + 1,), (room.groups, 2), (room.partials,))
    buffers = {name: torch.full(shape, -77, dtype=torch.int32) for name, shape in zip(NAMES, shapes, strict=True)}
    rows, keys = (torch.tensor(bounds, dtype=torch.int32) for bounds in (rules.qo_indptr, rules.kv_indptr))
    scratch = torch.full((metadata_workspace(requests=requests, tiles=room.groups),), -77, dtype=torch.int32)
    variant = metadata_variant(tile_q=rules.tile_q, unit_kv=rules.unit_kv)
    with InterpreterEngine().session():
        mla_prefill_ps_metadata(rows, keys, **buffers, workspace=scratch, num_heads=rules.heads, variant=variant)
    return PrefillBuffers(*(buffer.numpy().astype(np.int64) for buffer in buffers.values()))


@given(asked())
@settings(max_examples=150, deadline=None)
def test_the_judge_finds_nothing_in_the_host_planners_plans(rules: PrefillRules) -> None:
    assert check_prefill_plan(host_plan(rules), rules) == []


@given(asked())
@settings(max_examples=60, deadline=None)
def test_the_judge_finds_nothing_in_plans_of_context_that_every_row_sees_whole(rules: PrefillRules) -> None:
    whole = replace(rules, causal=False)
    assert check_prefill_plan(host_plan(whole), whole) == []


@given(asked())
@settings(max_examples=60, deadline=None)
def test_dealing_unit_by_unit_gives_the_host_planners_plan(rules: PrefillRules) -> None:
    shape = {"heads": rules.heads, "workers": rules.workers, "tile_q": rules.tile_q, "unit_kv": rules.unit_kv}
    plan = reference.mla_prefill_ps_metadata(list(rules.qo_indptr), list(rules.kv_indptr), **shape)
    host = host_plan(rules)
    assert [name for name in NAMES if not np.array_equal(plan[name], getattr(host, name))] == []


@given(asked())
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_the_devices_plan_passes_the_judge_and_is_the_host_planners(rules: PrefillRules) -> None:
    made, host = device_plan(rules), host_plan(rules)
    assert check_prefill_plan(made, rules) == []
    assert [n for n in NAMES if not np.array_equal(getattr(made, n)[: len(getattr(host, n))], getattr(host, n))] == []
    assert made.reduce_indptr[-1] == host.reduce_indptr[-1]


def test_the_plan_of_600_tokens_is_the_published_one() -> None:
    shape = {"heads": 2, "workers": 4, "tile_q": 256, "unit_kv": 128}
    plan = reference.mla_prefill_ps_metadata([0, 600], [0, 600], **shape)
    assert plan["work_info_set"][:4, 1:7].tolist() == [
        [-1, 0, 256, 0, 256, 0],
        [0, 512, 600, 0, 512, 88],
        [256, 512, 600, 512, 600, 0],
        [-1, 256, 512, 0, 512, 0],
    ]
    assert (plan["work_indptr"].tolist(), plan["reduce_indptr"].tolist()) == ([0, 2, 4, 6, 8], [0, 2])
    assert (plan["reduce_final_map"].tolist(), plan["reduce_partial_map"].tolist()) == ([[512, 600]], [0, 256])


@pytest.mark.parametrize("broken", BREAKS)
def test_the_judge_names_the_rule_that_is_broken_by(broken: str) -> None:
    change, rule = BREAKS[broken]
    found = {finding.invariant for finding in check_prefill_plan(change(host_plan(OF_600)), OF_600)}
    assert rule in found


def test_the_judge_sees_a_cut_that_is_no_multiple_of_a_unit() -> None:
    plan = host_plan(OF_600)
    split = np.flatnonzero(plan.work_info_set[:, 1] >= 0)
    first, second = split[plan.work_info_set[split, 4] == 0], split[plan.work_info_set[split, 4] > 0]
    plan.work_info_set[first, 5] -= 5
    plan.work_info_set[first, 6] += 5
    plan.work_info_set[second, 4] -= 5
    assert {finding.invariant for finding in check_prefill_plan(plan, OF_600)} == {"P5"}


def test_the_judge_sees_a_workgroup_that_holds_anothers_work() -> None:
    plan = host_plan(OF_CHUNKS)
    bounds = plan.work_indptr
    worker = int(np.flatnonzero(np.diff(bounds) > 1)[0])
    bounds[worker + 1] -= 1
    assert "P12" in {finding.invariant for finding in check_prefill_plan(plan, OF_CHUNKS)}
