"""The Gluon kernel's text, executed by the interpreter, against the golden of every quick case it would run."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from types import ModuleType
from typing import Any

import pytest

from rocassay.harness.arch import Target, profile
from rocassay.harness.cases import Case
from rocassay.harness.engines.interpreter import InterpreterEngine
from rocassay.harness.judge import Judge
from rocassay.harness.ops import Op
from rocassay.harness.providers import Provider
from rocassay.harness.results import Status
from rocassay.kernels.common.tensors import byte_view
from rocassay.kernels.indexer.dispatch import DISPATCH, LogitsVariant, logits_variant
from rocassay.suites.indexer.gluon_as_triton import translated
from rocassay.suites.kernels import fp8_paged_mqa_logits as suite

GLUON = "rocassay.kernels.indexer.fp8_paged_mqa_logits_gluon"
CASES = [
    case
    for case in suite.cases("quick")
    if case["path"] == "auto" and case.fp8 in profile(case.arch).native_fp8 and case.block_size in (1, 16, 64, 128)
]
"""Block sizes of every way in which tiles meet pages; 256 is 128 again, and 32 is 16."""


@cache
def kernels() -> ModuleType:
    return translated(GLUON)


def on_hardware(case: Case) -> LogitsVariant:
    target = Target(case.arch, "hip", profile(case.arch).native_fp8)
    ratio = case.integer("ratio")
    return logits_variant(
        target, fp8=case.fp8, block_size=case.block_size, ratio=ratio, triton_release=DISPATCH.gluon_triton
    )


class Gluon(Provider):
    """The translated kernel as a provider: launched as the launcher does on hardware."""

    name = "gluon-as-triton"

    # ruff: noqa: ARG002, D102 (a provider may ignore what the contract offers, and says there what it does)
    def call(self, op: Op, case: Case, arguments: dict[str, Any], variant: Any, module: ModuleType | None) -> None:
        variant = on_hardware(case)
        assert variant.kernel == "gluon"
        given = {name: value for name, value in arguments.items() if name not in ("q_fp8", "workspace")}
        reach = given["block_tables"].shape[1] * case.block_size
        kernels().score_pages(
            byte_view(arguments["q_fp8"]),
            columns=min(given["max_model_len"], reach),
            # Occupancy is the hardware's business.
            variant=replace(variant, waves_per_eu=None),
            **given,
        )


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_gluon_kernel_computes_what_the_contract_says(case: Case) -> None:
    record = Judge(Gluon(), InterpreterEngine(), "quick", "gluon")(case)
    assert record.status is Status.PASSED, record.reason


def test_a_gluon_kernel_with_the_wrong_weights_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = kernels().score_pages
    wrong = lambda *args, weights, **named: whole(*args, weights=weights.abs(), **named)  # noqa: E731
    monkeypatch.setattr(kernels(), "score_pages", wrong)
    case = next(case for case in CASES if case["next_n"] == 2)
    assert Judge(Gluon(), InterpreterEngine(), "quick", "gluon")(case).status is Status.FAILED
