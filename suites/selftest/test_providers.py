"""Providers: what one offers, declines and lacks, what the record says of it, and what turns red."""

from __future__ import annotations

import importlib.metadata
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from rocassay.harness.arch import Target
from rocassay.harness.cases import Case
from rocassay.harness.engines.interpreter import InterpreterEngine
from rocassay.harness.inputs import Operands
from rocassay.harness.judge import Judge
from rocassay.harness.ops import Op, register
from rocassay.harness.probes.metamorphic import Invariance, Transformed
from rocassay.harness.providers import BadProvider, Function, Functions, Gap, Offer, Provider, UnknownProvider, provider
from rocassay.harness.results import CaseRecord, Status, read
from rocassay.suites.selftest.children import Children
from rocassay.suites.selftest.toys import double, end, header, record, toy_case, toy_op
from rocassay.suites.selftest.toysuite.names import EXPECTED_BLOCK_SIZE, NAME, OTHER_BLOCK_SIZE


def halve(x: torch.Tensor, out: torch.Tensor) -> None:
    torch.mul(x[:, :-1], 0.5, out=out[:, :-1])


def judged(who: Provider, case: Case | None = None) -> CaseRecord:
    return Judge(who, InterpreterEngine(), "quick", "")(case or toy_case())


@pytest.fixture
def toy(registry: None) -> Op:
    return register(toy_op())


OFFERS = {
    "arch": (Offer(arches=("gfx950",)), "arch gfx942 is not among gfx950"),
    "fp8": (Offer(fp8s=("e4m3fnuz",)), "fp8 e4m3fn is not among e4m3fnuz"),
    "block size": (Offer(block_sizes=(16, 64)), "block size 1 is not among 16, 64"),
    "recipe": (Offer(recipes=("padded",)), "recipe tagged is not among padded"),
    "parameter": (Offer(params={"mode": ("slow", "dies")}), "mode fine is not among slow, dies"),
    "combination": (Offer(when=lambda case: case.block_size > 1), "the combination of its parameters is another"),
    "gap": (Offer(gaps=(Gap(params={"mode": ("fine",)}, reason="too fine"),)), "too fine"),
}


@pytest.mark.parametrize(("offer", "reason"), OFFERS.values(), ids=OFFERS)
def test_a_case_outside_an_offer_is_not_run_and_says_on_which_axis(toy: Op, offer: Offer, reason: str):
    found = judged(Functions("mine", {"toy": Function(double, offer)}))
    assert (found.status, found.offered, found.reason, found.source) == (Status.NOT_RUN, False, reason, "")


def test_a_case_within_an_offer_is_run(toy: Op):
    gaps = (Gap(params={"mode": ("slow",)}, reason="too slow"), Gap(arches=("gfx950",), reason="too new"))
    offer = Offer(arches=("gfx942",), params={"mode": ("fine", "slow"), "elsewhere": (1,)}, gaps=gaps)
    found = judged(Functions("mine", {"toy": Function(double, offer)}))
    assert (found.status, found.offered) == (Status.PASSED, True)
    assert found.source == f"{double.__module__}:double"


def test_of_several_functions_the_first_that_offers_the_case_runs(toy: Op):
    narrow, wide = Function(halve, Offer(block_sizes=(16,))), Function(double)
    who = Functions("mine", {"toy": (narrow, wide)})
    assert judged(who).status is Status.PASSED
    assert judged(who, toy_case(block_size=16)).status is Status.FAILED


def test_an_op_without_a_function_is_declined_by_name(toy: Op):
    found = judged(Functions("mine", {}))
    assert (found.offered, found.reason) == (False, "mine has no toy")


def test_a_binary_is_offered_and_runs_on_a_rocm_device_only(toy: Op):
    found = judged(Functions("mine", {"toy": Function(double, native=True)}))
    assert (found.status, found.offered) == (Status.NOT_RUN, True)
    assert found.reason == "toy of mine is a binary of the chip: only a ROCm device runs it"


class Compiled(Provider):
    """A provider whose kernel converts e4m3fnuz by instructions."""

    # ruff: noqa: ARG002, D102 (the methods are the contract's, and documented there)

    name = "compiled"
    origin = "a folder"

    def formats(self, op: Op, case: Case) -> frozenset[str]:
        return frozenset({"e4m3fnuz"})

    def call(self, op: Op, case: Case, arguments: dict[str, Any], variant: Any, module: ModuleType | None) -> None:
        double(**arguments)

    def versions(self) -> dict[str, str]:
        return {"compiled": "4.2"}


class Cuda(InterpreterEngine):
    """An engine whose kernels see a CUDA target."""

    def target(self, arch: str) -> Target:
        return Target(arch, "cuda", frozenset({"e4m3fn"}))


def test_a_format_that_cuda_lacks_is_not_run_there_and_run_elsewhere(toy: Op):
    found = Judge(Compiled(), Cuda(), "quick", "")(toy_case())
    assert (found.status, found.offered) == (Status.NOT_RUN, True)
    assert found.reason == "toy of compiled is compiled for e4m3fnuz, which this device cannot convert"
    assert judged(Compiled()).status is Status.PASSED


def test_the_record_has_the_provider_s_versions_and_the_repro_line_its_source(toy: Op):
    found = judged(Compiled())
    assert found.versions["compiled"] == "4.2"
    assert "python" in found.versions
    assert found.repro.endswith("--engine interpreter --provider compiled --source 'a folder'")


def test_a_provider_without_call_is_told_so(toy: Op):
    found = judged(Provider())
    assert found.status is Status.CRASHED
    assert "has no `call`" in found.reason


def test_what_is_declined_is_not_red_even_in_an_expected_cell(tmp_path: Path):
    declined = record(toy_case(number=1), Status.NOT_RUN, offered=False)
    lacking = record(toy_case(number=2), Status.NOT_RUN)
    for extra, reasons in ((declined, []), (lacking, ["1 of 2 cases are not green"])):
        path = tmp_path / f"{extra.offered}.jsonl"
        lines = (header(toy_case(), planned=2), record(), extra, end())
        path.write_text("".join(line.model_dump_json() + "\n" for line in lines))
        assert read(path).red_reasons() == reasons


@pytest.fixture
def announced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Entry points of another distribution: a provider of functions, and something that is none."""
    source = "from rocassay.harness.providers import Functions, Offer\nGOOD = Functions('good', {}, ('pytest',))\n"
    (tmp_path / "announced.py").write_text(source + "STRAY = Offer()\n")
    info = tmp_path / "announced-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: announced\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[rocassay.providers]\ngood = announced:GOOD\nstray = announced:STRAY\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "announced", raising=False)


def test_an_entry_point_that_is_no_provider_is_refused(announced: None):
    assert provider("good").versions() == {"pytest": importlib.metadata.version("pytest")}
    with pytest.raises(BadProvider, match="'stray' is a Offer, no provider; derive it"):
        provider("stray")
    with pytest.raises(UnknownProvider, match=r"known: rocassay, torch,.* good, stray"):
        provider("nobody")


def test_a_source_is_refused_where_it_means_nothing():
    with pytest.raises(BadProvider, match=r"provider 'rocassay' takes no source 'x\.whl'"):
        provider("rocassay", "x.whl")


def test_a_run_expects_what_the_provider_offers_and_nothing_else(children: Children, tmp_path: Path):
    words = ("run", "--op", NAME, "--block-size", EXPECTED_BLOCK_SIZE, "--block-size", OTHER_BLOCK_SIZE, "-n", 0)
    done = children.rocassay(*words, "--provider", "part", "--out", tmp_path)
    assert done.code == 0, done
    assay = read(tmp_path / "results.jsonl")
    assert {(found.block_size, found.status, found.offered) for found in assay.cases} == {
        (EXPECTED_BLOCK_SIZE, Status.NOT_RUN, False),
        (OTHER_BLOCK_SIZE, Status.PASSED, True),
    }
    assert assay.headers[0].expected == ()


def test_a_probe_that_takes_a_case_beyond_the_offer_does_not_apply(registry: None):
    def elsewhere(case: Case, operands: Operands) -> Transformed:
        return replace(case, block_size=16), operands, lambda outputs: outputs

    register(toy_op(probes=(Invariance("page-size", elsewhere, "pages do not matter"),)))
    for offer, applies in ((Offer(), True), (Offer(block_sizes=(1,)), False)):
        found = judged(Functions("mine", {"toy": Function(double, offer)}))
        (probe,) = [check for check in found.checks if check.name == "page-size"]
        assert (found.status, probe.applicable) == (Status.PASSED, applies)
    assert probe.detail.endswith("a case that is not offered: block size 16 is not among 1")
