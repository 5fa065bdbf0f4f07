"""The shipped adapters and ledgers, as far as they can be checked without the projects: wheels are no part of CI."""

from __future__ import annotations

from importlib import import_module, resources

import pytest

from rocassay.harness.arch import profile
from rocassay.harness.cases import Case, Selection
from rocassay.harness.ops import op_named, select_cases
from rocassay.harness.providers import foreign_names, provider
from rocassay.harness.providers.foreign import Adapter, Foreign
from rocassay.harness.providers.trees import Folder, Project
from rocassay.harness.waivers import DIVERGENCES, Waiver, ledger_of

NAMES = foreign_names()


def adapters() -> list[tuple[str, str, Adapter]]:
    modules = [(name, import_module(f"rocassay.suites.providers.{name}")) for name in NAMES]
    return [(name, op, one) for name, module in modules for op, all_ in module.ADAPTERS.items() for one in all_]


def entries() -> list[tuple[str, Waiver]]:
    own = ledger_of().entries
    packages = [(name, f"rocassay.suites.providers.{name}") for name in NAMES]
    return [(name, entry) for name, package in packages for entry in ledger_of((), package).entries if entry not in own]


def labelled(found: object) -> str:
    return found.issue.rpartition("/")[2] if isinstance(found, Waiver) else str(getattr(found, "source", found))


def test_vllm_and_aiter_are_shipped():
    assert set(NAMES) == {"aiter", "vllm"}


@pytest.mark.parametrize(("name", "op", "adapter"), adapters(), ids=labelled)
def test_an_adapter_offers_cases_of_its_op_and_names_what_runs_them(name: str, op: str, adapter: Adapter):
    # A binary may need what only longer tiers have, such as plans for all compute units of a chip.
    cases = select_cases("full" if adapter.native else "quick", Selection(ops=frozenset({op})))
    offered = [case for case in cases if not adapter.offer.declines(case)]
    assert offered
    module, _, function = adapter.source.partition(":")
    machine = import_module(f"rocassay.suites.providers.{name}.machine")
    assert function
    assert adapter.native or module in machine.MODULES
    assert all(adapter.formats(case) <= {case.fp8} for case in offered)


@pytest.mark.parametrize("name", NAMES)
def test_a_provider_is_found_and_declines_by_name_what_it_has_no_adapter_for(name: str):
    who = provider(name)
    assert isinstance(who, Foreign)
    assert who.name == name
    case = select_cases("quick", Selection(ops=frozenset({"indexer_forward"})))[0]
    assert who.declines(op_named(case.op), case) == f"{name} has no indexer_forward"


@pytest.mark.parametrize("name", NAMES)
def test_gaps_say_why(name: str):
    reasons = {gap.reason for who, _, adapter in adapters() if who == name for gap in adapter.offer.gaps}
    assert reasons
    assert all(len(reason) > 10 and not reason.endswith(".") for reason in reasons)


@pytest.mark.parametrize("name", NAMES)
def test_fp8_of_another_chip_is_declined_where_a_kernel_has_the_chip_s(name: str):
    who = provider(name)
    cases = select_cases("quick", Selection(ops=frozenset({"fp8_paged_mqa_logits"})))
    offered = [case for case in cases if who.declines(op_named(case.op), case) is None]
    assert {(case.arch, case.fp8) for case in offered} == {(arch, profile(arch).fp8) for arch in ("gfx942", "gfx950")}


@pytest.mark.parametrize(("name", "entry"), entries(), ids=labelled)
def test_a_known_divergence_is_of_a_case_that_is_offered_and_of_one_release(name: str, entry: Waiver):
    case = Case.parse(entry.case)
    assert entry.provider == name
    assert provider(name).declines(op_named(case.op), case) is None
    release = entry.versions[import_module(f"rocassay.suites.providers.{name}").PROJECT.distribution]
    assert "," in release, "the next release may have mended it"


def test_every_foreign_provider_has_a_ledger():
    for name in NAMES:
        assert (resources.files(f"rocassay.suites.providers.{name}") / DIVERGENCES).is_file()


def test_the_unrelated_aiter_is_called_by_its_name(tmp_path):
    project: Project = import_module("rocassay.suites.providers.aiter").PROJECT
    (tmp_path / "aiter").mkdir()
    (tmp_path / "aiter" / "__init__.py").write_text("")
    info = tmp_path / "aiter-0.13.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: aiter\nVersion: 0.13.20191203\n")
    said = project.problem(Folder(tmp_path))
    assert said is not None
    assert "holds aiter 0.13.20191203, which is the package of asynchronous iterators and not AMD's" in said
    assert "amd-aiter" in said
