"""The walk-throughs work as they are written: their files are installed and run, their tests go red when told."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import pytest
import typer

import rocassay
from rocassay.harness import arch, ops
from rocassay.harness.cases import Selection
from rocassay.harness.cli.app import app
from rocassay.harness.drills import verdict_of
from rocassay.harness.faults import fault_named
from rocassay.harness.gates import whitened
from rocassay.harness.results import Status
from rocassay.suites.dispatch import test_arches
from rocassay.suites.docs.pages import fences, files, page, rows
from rocassay.suites.selftest import test_arch

GUIDES = ("docs/adding-an-op.md", "docs/adding-a-provider.md", "docs/adding-an-architecture.md")


def install(guide: str, folder: Path) -> None:
    """Write the files of a guide, with what an installer makes of its entry points."""
    found = files(page(guide))
    for name, text in found.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    project = found["pyproject.toml"]
    points = re.findall(r'^\[project\.entry-points\."(.+)"\]\n(\w+) = "(.+)"$', project, re.MULTILINE)
    assert points
    info = folder / "guide-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: guide\nVersion: 1\n")
    (info / "entry_points.txt").write_text("".join(f"[{group}]\n{name} = {value}\n" for group, name, value in points))


@pytest.fixture
def installed(registry: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    modules = set(sys.modules)
    monkeypatch.syspath_prepend(tmp_path)
    yield lambda guide: install(guide, tmp_path)
    for name in set(sys.modules) - modules:
        if name.partition(".")[0].partition("__")[0] in ("scalerows", "mykernels"):
            del sys.modules[name]


def cases_of(op: str) -> list[str]:
    return [str(case) for case in ops.select_cases("quick", Selection(ops=frozenset({op})))]


def test_the_op_of_the_guide_is_judged_green_and_its_fault_red(installed: Callable[[str], None]):
    installed("docs/adding-an-op.md")
    names = cases_of("scale_rows")
    assert len(names) == 4
    records = [rocassay.judge(name, engine="interpreter") for name in names]
    assert [(record.status, record.reason) for record in records] == [(Status.PASSED, "")] * 4
    fault = fault_named("scale-of-first-row")
    drills = [verdict_of(fault, rocassay.judge(name, engine="interpreter", fault=fault.name)) for name in names]
    assert {record.status for record in drills} == {Status.FAILED}
    assert {record.first_wrong.where["row"] for record in drills if record.first_wrong} == {1}
    cells = ops.expected_cells("interpreter", Selection(ops=frozenset({"scale_rows"})))
    assert {(cell.arch, cell.fp8, cell.block_size) for cell in cells} == {
        ("gfx942", "e4m3fn", 1),
        ("gfx950", "e4m3fn", 1),
    }


def test_the_peer_of_the_guide_has_enough_elements_to_be_judged(installed: Callable[[str], None]):
    installed("docs/adding-an-op.md")
    record = rocassay.judge(cases_of("scale_rows")[0], engine="interpreter")
    (peer,) = [check for check in record.checks if check.name == "peer"]
    assert peer.statistic is not None
    assert whitened.PEER_RMS[0] < peer.statistic < whitened.PEER_RMS[1]


def test_the_provider_of_the_guide_is_judged_and_says_what_it_lacks(installed: Callable[[str], None]):
    installed("docs/adding-a-provider.md")
    records = [rocassay.judge(name, provider="mine", engine="interpreter") for name in cases_of("indexer_weights")]
    narrow = [record for record in records if record.params["dtype"] == "bf16"]
    wide = [record for record in records if record.params["dtype"] == "fp32"]
    assert {(record.status, record.reason, record.provider) for record in narrow} == {(Status.PASSED, "", "mine")}
    assert {record.source for record in narrow} == {"mykernels:indexer_weights"}
    said = {(record.status, record.offered, record.reason) for record in wide}
    assert said == {(Status.NOT_RUN, False, "weights are rounded to bf16 when the model is loaded")}
    other = rocassay.judge(cases_of("apply_rope")[0], provider="mine", engine="interpreter")
    assert (other.status, other.reason) == (Status.NOT_RUN, "mine has no apply_rope")


def waiting() -> list[Callable[[], None]]:
    """The tests that the guide to architectures names."""
    names = [row[0].strip("`").split("::") for row in rows(page(GUIDES[2]), "What goes red until it is complete")]
    modules = {"suites/selftest/test_arch.py": test_arch, "suites/dispatch/test_arches.py": test_arches}
    return [getattr(modules[module], name) for module, name in names]


@pytest.mark.parametrize("test", waiting(), ids=lambda test: test.__name__)
def test_an_architecture_with_a_profile_only_turns_the_named_tests_red(
    test: Callable[[], None], monkeypatch: pytest.MonkeyPatch
):
    test()
    added = replace(arch.PROFILES["gfx950"], name="gfx9ff", capability=(9, 9), fp8="e4m3fnuz")
    monkeypatch.setattr(arch, "PROFILES", MappingProxyType({**arch.PROFILES, added.name: added}))
    monkeypatch.setattr(arch, "DISPATCH_ARCHES", (*arch.DISPATCH_ARCHES, added.name))
    monkeypatch.setattr(test_arch, "PROFILES", list(arch.PROFILES.values()))
    with pytest.raises(AssertionError, match="gfx9ff"):
        test()


def test_the_guides_are_short_and_name_what_exists():
    root = Path(test_arch.__file__).resolve().parents[2]
    for guide in GUIDES:
        assert len(page(guide).splitlines()) < 120, guide
        paths = re.findall(r"`((?:harness|kernels|references|suites)/[\w/]+(?:\.py|/))`", page(guide))
        assert [path for path in paths if not (root / path).exists()] == []
    assert {f"]({guide})" in page("README.md") for guide in GUIDES} == {True}
    assert {f"]({guide})" in page("CONTRIBUTING.md") for guide in GUIDES} == {True}


@pytest.mark.parametrize("guide", GUIDES[:2])
def test_the_command_lines_of_the_guides_parse(guide: str):
    command = typer.main.get_command(app)
    lines = [line.split()[1:] for block in fences(page(guide), "sh") for line in block.splitlines()]
    assert lines
    for words in lines:
        verb = command.commands[words[0]]  # pyright: ignore[reportAttributeAccessIssue]
        verb.make_context(words[0], words[1:])


def test_the_modules_of_the_guides_are_not_left_behind():
    assert importlib.util.find_spec("scalerows") is None
