"""Bad input: exactly one clear sentence on stderr, exit code not 0, no traceback, and earlier records intact."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from rocassay.harness.cli.progress import Progress
from rocassay.harness.results import read
from rocassay.suites.selftest.children import Children, Done
from rocassay.suites.selftest.toysuite.names import EXPECTED_BLOCK_SIZE, NAME, SLOW_BLOCK_SIZE

CASE = f"{NAME}:gfx942:e4m3fn:bs1:mode=fine,number=0:tagged:s0"
OUT = "OUT"
"""Stands for a fresh output folder in the command lines below."""
RUN = ("run", "-n", "0", "--out", OUT)
ASSAY = ("run", "--op", NAME, "-n", 0)

COMPLAINTS = {
    "unknown arch": ((*RUN, "--arch", "gfx000"), "architecture 'gfx000' is unknown; use one of"),
    "unknown fp8": ((*RUN, "--fp8", "e4m3"), "FP8 format 'e4m3' is unknown"),
    "unknown tier": ((*RUN, "--tier", "slow"), "tier 'slow' is unknown; use one of quick, full, nightly"),
    "block size 0": ((*RUN, "--block-size", "0"), "block size 0 is not a positive number of tokens"),
    "negative seed": ((*RUN, "--seed", "-1"), "seed -1 is negative"),
    "a negative time": ((*RUN, "--case-timeout", "-1"), "-1 s is no limit for a case; use a number of seconds"),
    "no number of GiB": ((*RUN, "--case-memory", "nan"), "nan GiB is no limit for a case; use a number of GiB"),
    "no seed": ((*RUN, "--seeds", "0"), "0 seeds leave nothing to run"),
    "no such op": ((*RUN, "--op", "nope"), "no case of tier quick matches the filters; `rocassay list`"),
    "filters that exclude each other": ((*RUN, "--op", NAME, "--arch", "gfx950"), "no case of tier quick matches"),
    "unknown provider": ((*RUN, "--provider", "nope"), "no provider is called 'nope'; known: rocassay, torch, "),
    "unknown engine": ((*RUN, "--engine", "nope"), "there is no engine 'nope'; choose one of device, interpreter"),
    "list of an unknown op": (("list", "--op", "nope"), "no op is called 'nope'; did you mean"),
    "list of nothing": (("list", "--op", NAME, "--block-size", "256"), "no case of tier quick matches the filters"),
    "digests of an unknown tier": (("list", "--digests", "--tier", "slow"), "tier 'slow' is unknown"),
    "unknown fault": (("drill", "nope", "--out", OUT), "no fault is called 'nope'; did you mean"),
    "a drill without a case": (("drill", "--op", "nope", "--out", OUT), "no fault applies to a case"),
    "repro of no case": (("repro", "nonsense"), "case id 'nonsense' has 1 parts, not 7"),
    "repro of an unknown op": (("repro", "nope:gfx942:e4m3fn:bs1::tagged:s0"), "no op is called 'nope'"),
    "repro on an unknown arch": (("repro", CASE.replace("gfx942", "gfx1")), "architecture 'gfx1' is unknown"),
    "repro with an unknown format": (("repro", CASE.replace("e4m3fn", "fp8")), "FP8 format 'fp8' is unknown"),
    "repro with block size 0": (("repro", CASE.replace("bs1", "bs0")), "block size 0 is not a positive number"),
    "repro of an incomplete case": (
        ("repro", "fp8_paged_mqa_logits:gfx942:e4m3fn:bs1::tagged:s0"), "has no parameter 'heads'"
    ),
    "repro with an unknown fault": (("repro", CASE, "--fault", "nope"), "no fault is called 'nope'"),
    "repro with an unknown engine": (("repro", CASE, "--engine", "nope"), "there is no engine 'nope'"),
    "repro with an unknown provider": (("repro", CASE, "--provider", "nope"), "no provider is called 'nope'"),
    "report of nothing": (("report", "html", OUT), "No such file or directory; run `rocassay run` first"),
    "a run below a file": ((*RUN[:-1], "/dev/null/out"), "cannot make the folder /dev/null/out: Not a directory"),
    "a drill below a file": (("drill", "--out", "/dev/null/out"), "cannot make the folder /dev/null/out"),
}  # fmt: skip


@pytest.mark.parametrize("name", COMPLAINTS)
def test_one_clear_error_for(children: Children, tmp_path: Path, name: str):
    words, message = COMPLAINTS[name]
    done = children.rocassay(*(tmp_path / "out" if word == OUT else word for word in words))
    assert message in done.complaint
    assert done.code == 2
    assert done.out == ""
    assert not (tmp_path / "out" / "results.jsonl").exists()


@pytest.fixture(scope="module")
def recorded(children: Children, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The records of a small green run."""
    out = tmp_path_factory.mktemp("recorded")
    assert children.rocassay(*ASSAY, "--block-size", EXPECTED_BLOCK_SIZE, "--out", out).code == 0
    return (out / "results.jsonl").read_bytes()


def test_a_report_of_truncated_records_is_red_and_says_where_they_are_cut(
    children: Children, tmp_path: Path, recorded: bytes
):
    (tmp_path / "results.jsonl").write_bytes(recorded[: -len(recorded.splitlines()[-1]) - 100])
    done = children.rocassay("report", "html", tmp_path)
    assert done.code == 1
    assert "line 4 is cut off after" in done.out
    assert "Traceback" not in done.out + done.err
    assert "is cut off after" in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize("content", [b"", b"torn", b"\x89PNG\n\x1a\n", b'{"kind": "run"}\n'])
def test_a_report_of_something_else_is_one_clear_error(children: Children, tmp_path: Path, content: bytes):
    (tmp_path / "results.jsonl").write_bytes(content)
    done = children.rocassay("report", "html", tmp_path)
    assert f"{tmp_path / 'results.jsonl'} holds no record: " in done.complaint
    assert not (tmp_path / "report.html").exists()


def test_a_report_that_cannot_be_written_is_one_clear_error(children: Children, tmp_path: Path, recorded: bytes):
    (tmp_path / "results.jsonl").write_bytes(recorded)
    done = children.rocassay("report", "html", tmp_path, "-o", "/dev/null/page.html")
    assert "cannot write /dev/null/page.html: " in done.complaint
    assert (tmp_path / "results.jsonl").read_bytes() == recorded


def test_resuming_what_is_no_results_file_is_refused_and_leaves_it_alone(children: Children, tmp_path: Path):
    (tmp_path / "results.jsonl").write_text("shopping list\n")
    done = children.rocassay(*ASSAY, "--block-size", EXPECTED_BLOCK_SIZE, "--out", tmp_path, "--resume")
    assert "holds no record" in done.complaint
    assert (tmp_path / "results.jsonl").read_text() == "shopping list\n"


@pytest.mark.parametrize("workers", [0, 2])
def test_a_full_disk_stops_the_run_with_one_clear_error_and_keeps_earlier_records(
    children: Children, tmp_path: Path, workers: int
):
    words = ("run", "--op", NAME, "--block-size", SLOW_BLOCK_SIZE, "-n", workers, "--out", tmp_path)
    done = children.rocassay(*words, file_limit=12_000)
    path = tmp_path / "results.jsonl"
    assay = read(path)
    assert f"cannot append to {path}: File too large; the " in done.complaint
    assert "continue with `rocassay run --resume`" in done.complaint
    assert 2 < len(assay.records) < 12
    assert assay.problems == []
    assert len(assay.records) + 1 == path.read_bytes().count(b"\n")


def test_a_disk_that_has_no_room_for_the_first_line_is_one_clear_error(children: Children, tmp_path: Path):
    done = children.rocassay(*ASSAY, "--out", tmp_path, file_limit=400)
    assert f"cannot append to {tmp_path / 'results.jsonl'}: " in done.complaint


def test_how_far_a_slow_run_is_counts_as_no_complaint_and_anything_else_does():
    progress = "3 of 24 done, 0 failed\n12 of ? done, 1 failed\n\n"
    assert Done(2, "", f"{progress}rocassay: it broke\n").complaint == "rocassay: it broke"
    with pytest.raises(AssertionError):
        _ = Done(2, "", f"{progress}something else\nrocassay: it broke\n").complaint


def test_the_line_that_is_taken_for_progress_is_the_one_that_progress_prints(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("rocassay.harness.cli.progress.SECONDS_BETWEEN_LINES", 0.0)
    said = io.StringIO()
    progress = Progress(Console(file=said))
    progress.pytest_runtest_logreport(pytest.TestReport("a", ("a", 0, "a"), {}, "passed", None, "call"))
    assert said.getvalue().splitlines() == ["1 of ? done, 0 failed"]
    assert Done(2, "", f"{said.getvalue()}rocassay: it broke\n").complaint == "rocassay: it broke"
