"""The gallery: two real runs, their pages, and docs/gallery.md, which says what a run gives."""

from __future__ import annotations

import contextlib
import io
import re
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from rocassay.harness.errors import RocassayError
from rocassay.harness.faults import fault_named
from rocassay.harness.ops import discover
from rocassay.harness.results import Status, read
from rocassay.suites.gallery.__main__ import main
from rocassay.suites.gallery.exhibits import EXHIBITS, exhibit_named
from rocassay.suites.gallery.pages import QUOTED, REPORT, section, there, write_document
from rocassay.suites.selftest.children import ROOT

DOCUMENT = (ROOT / "docs" / "gallery.md").read_text(encoding="utf-8")
CHEAP = (QUOTED, "dsv4-584B-planar-vs-interleaved")


@dataclass(frozen=True, slots=True)
class Made:
    """A gallery of the cheap defects."""

    out: Path
    code: int
    printed: str


def call(*words: str) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        patch.setattr(sys, "argv", ["gallery", *words])
        return main(), out.getvalue(), err.getvalue()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    out = tmp_path_factory.mktemp("gallery")
    code, printed, _ = call("--out", str(out), "--diff", *CHEAP)
    return Made(out, code, printed)


def lasting(text: str) -> str:
    """Without what differs from run to run: commits, wall times, versions."""
    text = re.sub(r"<p>.*</p>\n", "", text)
    return re.sub(r"wall time: .*?<|<code>\d+\.\d+\.\d+\S*", "", text)


def test_the_folder_holds_both_runs_their_page_and_their_diff(made: Made):
    assert made.code == 0
    index = (made.out / "index.html").read_text(encoding="utf-8")
    links = re.findall(r'href="([^"]+)"', index)
    assert len(set(links)) == 4 * len(CHEAP)
    assert [link for link in links if not (made.out / link).is_file()] == []
    assert [name for name in CHEAP if fault_named(name).reference not in index] == []
    assert "What changed against the base" in (made.out / QUOTED / REPORT).read_text(encoding="utf-8")


@pytest.mark.parametrize("fault", CHEAP)
def test_the_document_says_what_a_run_gives(made: Made, fault: str):
    found = next(one for one in there(made.out) if one.exhibit.fault == fault)
    assert (found.red_before, found.red_after > 0) == (0, True)
    assert section(found) in DOCUMENT


def test_the_quoted_diff_is_what_its_command_prints(made: Made):
    command = f"```sh\npython -m rocassay.suites.gallery --out gallery --diff {QUOTED}\n```"
    quoted = re.search(re.escape(command) + r".*?````md\n(.*?)\n````", DOCUMENT, re.DOTALL)
    assert quoted
    assert lasting(quoted[1]) in lasting(made.printed)
    assert "6 new failures" in quoted[1]


@pytest.mark.parametrize("fault", CHEAP)
def test_the_head_is_the_run_of_a_regression_and_says_so(made: Made, fault: str):
    base, head = read(made.out / fault / "base.jsonl"), read(made.out / fault / "head.jsonl")
    assert base.red_reasons() == []
    assert head.red_reasons()
    assert (len(head.cases), head.drills) == (len(base.cases), [])
    assert f"with the defect {fault} injected" in head.headers[0].command
    assert fault not in base.headers[0].command.partition("#")[2]
    for record in head.cases:
        assert (fault in record.versions["rocassay"], f"--fault {fault}" in record.repro) == (True, True)
    for before, after in zip(base.cases, head.cases, strict=True):
        assert before.case == after.case
        assert [check.name for check in before.checks] == [check.name for check in after.checks], "a probe was left out"
        assert (fault in before.versions["rocassay"], "--fault" in before.repro) == (False, False)
    assert {record.status for record in head.cases} == {Status.PASSED, Status.FAILED}


def test_every_exhibit_is_a_fault_and_in_the_document_with_its_command():
    discover()
    assert re.findall(r"^## (\S+)$", DOCUMENT, re.MULTILINE) == [exhibit.fault for exhibit in EXHIBITS]
    for exhibit in EXHIBITS:
        fault = fault_named(exhibit.fault)
        assert set(exhibit.ops) <= set(fault.ops)
        assert f"{fault.reference}. {exhibit.upstream}\n" in DOCUMENT
        assert f"\n{exhibit.look}\n" in DOCUMENT
        assert f"rocassay.suites.gallery --out gallery {exhibit.fault}\n" in DOCUMENT


def test_what_is_not_shown_is_refused_and_what_is_missing_named(made: Made, tmp_path: Path):
    code, _, err = call("--out", str(tmp_path), "no-such-defect")
    assert (code, "it shows idx-shuffle-at-bs1," in err) == (2, True)
    assert exhibit_named(QUOTED) is EXHIBITS[0]
    with pytest.raises(RocassayError, match="lacks dsv4-hardcoded-float8e4nv,"):
        write_document(made.out, tmp_path / "gallery.md")
    assert not (tmp_path / "gallery.md").exists()
