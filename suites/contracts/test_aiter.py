"""The shipped contract with AITER: its calls, held to the signatures they were written for and to our own adapter."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from rocassay.harness.contract.checking import Report, check
from rocassay.harness.contract.declared import Call
from rocassay.harness.contract.sources import open_source
from rocassay.references.fp8_prefill.plan_invariants import PrefillRules
from rocassay.suites.contracts.aiter import CONTRACT
from rocassay.suites.contracts.trees import wheel
from rocassay.suites.persistent import aiter_plans
from rocassay.suites.persistent.own_planners import OwnPlanners
from rocassay.suites.persistent.test_aiter_plans import PROBLEM

FIRST = "q, kv_buffer, o, qo_indptr, kv_indptr, kv_indices, kv_last_page_lens, max_seqlen_q"
PERSISTENT = "work_meta_data=None, work_indptr=None, work_info_set=None, reduce_indptr=None, reduce_final_map=None"
LAST = "reduce_partial_map=None, q_scale=None, kv_scale=None"
SPLITS = "sm_scale=None, logit_cap=0.0, num_kv_splits=None, num_kv_splits_indptr=None"
REST = "max_seqlen_qo=-1, uni_seqlen_qo=-1, fast_mode=True, topk=-1, max_split_per_batch=-1"
REDUCE = "reduce_indptr, reduce_final_map, reduce_partial_map"
PLAN = (
    "seqlens_qo_indptr, seqlens_kv_indptr, num_heads_per_head_k, num_heads_k, is_causal, work_metadata_ptrs, "
    f"work_info_set, work_indptr, {REDUCE}, kv_granularity, max_seqlen_qo, uni_seqlen_qo, fast_mode, topk, "
    "max_split_per_batch"
)

WHEEL = {
    "aiter/__init__.py": "from .ops.attention import *\nfrom . import mla\n",
    "aiter/mla.py": f"def mla_decode_fwd({FIRST}, {SPLITS}, {PERSISTENT}, {LAST}): ...\n",
    "aiter/ops/__init__.py": "",
    "aiter/ops/attention.py": f"""
        @compile_ops("module_mla_metadata")
        def get_mla_metadata_v1(seqlens_qo_indptr, seqlens_kv_indptr, num_heads_per_head_k, num_heads_k, is_causal,
            work_metadata_ptrs, work_indptr, work_info, {REDUCE}, kv_granularity=16, {REST}): ...


        @compile_ops("module_mla_reduce")
        def mla_reduce_v1(partial_output, partial_lse, {REDUCE}, final_output, final_lse=None): ...
    """,
    "aiter_meta/csrc/include/rocm_ops.hpp": 'm.def("get_mla_metadata_v1", &f, "get_mla_metadata_v1", '
    + ", ".join(f'py::arg("{name}")' + (" = -1" if at > 10 else "") for at, name in enumerate(PLAN.split(", ")))
    + ");",
}
LATER = {
    **WHEEL,
    "aiter/mla.py": f"def mla_decode_fwd({FIRST}, page_size=1, nhead_kv=1, {SPLITS}, {PERSISTENT}, {LAST}, "
    "intra_batch_mode=False, return_logits=False, return_lse=False, g_kv_indptr=None, cp_world_size=1, cp_rank=0, "
    "causal=True): ...\n",
    "aiter/ops/attention.py": f"""
        @compile_ops("module_mla_reduce", develop=True)
        def mla_reduce_v1(partial_output, partial_lse, {REDUCE}, max_seqlen_q, num_kv_splits, final_output,
            final_lse=None): ...
    """,
}


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> tuple[Report, Report]:
    """The calls against both calling conventions."""
    root = tmp_path_factory.mktemp("wheels")
    made = (("0.1.7.post2.dev18", WHEEL), ("0.1.20", LATER))
    wheels = [wheel(root / f"{version}.whl", files, "amd-aiter", version) for version, files in made]
    old, new = (check(open_source(str(each), CONTRACT), CONTRACT) for each in wheels)
    return old, new


def verdicts(report: Report, caller: str, function: str) -> dict[str, tuple[str, bool]]:
    found = [each for each in report.results if each.call.caller == caller and each.call.paths[0] == function]
    return {each.call.name: (each.verdict, each.due) for each in found}


def test_what_current_vllm_needs_of_mla_decode_the_last_wheel_lacks(reports: tuple[Report, Report]):
    old, new = (verdicts(report, "vllm 0.33", "aiter.mla:mla_decode_fwd") for report in reports)
    assert len(old) == len(new) == 4
    assert set(old.values()) == {("unexpected keyword", False)}
    assert set(new.values()) == {("binds", True)}


def test_the_planners_slots_are_those_of_the_native_function(reports: tuple[Report, Report]):
    old = {each.call.name: each for each in reports[0].results if each.call.caller == "rocassay"}
    assert old["mla_plan, wheel"].binds
    assert old["mla_plan, wheel"].due
    assert "slot 7 is work_indptr in the stub and work_info_set in the native function" in old["mla_plan, wheel"].notes
    assert not old["mla_plan"].binds


def test_the_reduction_was_given_two_arguments_more(reports: tuple[Report, Report]):
    old, new = (verdicts(report, "rocassay", "aiter:mla_reduce_v1") for report in reports)
    assert old == {"mla_reduce": ("positional slot has another name", False), "mla_reduce, wheel": ("binds", True)}
    assert new == {"mla_reduce": ("binds", True), "mla_reduce, wheel": ("positional slot has another name", False)}


class Recording:
    """Planners that note how they are called."""

    def __init__(self, planners: object) -> None:
        self.planners, self.seen = planners, dict[str, tuple[int, set[str]]]()

    def __getattr__(self, name: str) -> Any:
        real = getattr(self.planners, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            self.seen[name] = (len(args), set(kwargs))
            return real(*args, **kwargs)

        call.__signature__ = inspect.signature(real)  # pyright: ignore[reportFunctionMemberAccess]
        return call


def declared(name: str) -> tuple[int, set[str]]:
    call: Call = next(each for each in CONTRACT.of(["rocassay"]) if each.name == name)
    return len(call.positional), {each.name for each in call.keywords}


def test_what_is_declared_of_the_planners_is_what_the_adapter_passes():
    rules = PrefillRules((0, 300), (0, 900), heads=4, workers=8)
    planners: Any = Recording(OwnPlanners(8))
    aiter_plans.planned_decode(planners, PROBLEM, device="cpu")
    aiter_plans.planned_prefill(planners, rules, device="cpu")
    assert planners.seen == {
        "get_mla_metadata_info_v1": declared("sizes of mla_plan, capped"),
        "get_mla_metadata_v1": declared("mla_plan"),
        "get_ps_metadata_info_v1": declared("sizes of mla_prefill_ps_metadata"),
        "get_ps_metadata_v1": declared("mla_prefill_ps_metadata"),
    }
