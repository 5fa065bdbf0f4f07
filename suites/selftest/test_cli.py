"""The command line: what each verb prints, writes and returns."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rocassay.harness.cases import Selection
from rocassay.harness.faults import catalogue
from rocassay.harness.ops import select_cases
from rocassay.harness.results import CaseRecord, Status, read
from rocassay.suites.selftest.children import ROOT, Children
from rocassay.suites.selftest.toysuite.names import EXPECTED_BLOCK_SIZE, FATAL_BLOCK_SIZE, NAME, OTHER_BLOCK_SIZE

CASE = f"{NAME}:gfx942:e4m3fn:bs1:mode=fine,number=0:tagged:s0"
LIGHT = """
import sys
from rocassay.harness.cli.app import main
sys.argv = ["rocassay", *sys.argv[1:]]
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
heavy = sorted({"torch", "triton", "numpy", "pandas", "pytest"} & sys.modules.keys())
assert not heavy, heavy
"""

ENVIRONMENT = {"PYTHONPATH": os.pathsep.join([str(ROOT / "src"), *sys.path])}
"""Of children: this process's packages, nothing else."""


@pytest.mark.parametrize("words", [["--help"], ["run", "--help"], ["bisect", "--help"]], ids=" ".join)
def test_help_imports_nothing_heavy(words: list[str]):
    command = [sys.executable, "-c", LIGHT, *words]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--help" in done.stdout


def test_list_prints_the_ids_of_the_selection_as_text_and_as_json(children: Children):
    wanted = [str(case) for case in select_cases("quick", Selection(block_sizes=frozenset({256})))]
    text = children.rocassay("list", "--block-size", 256, "--ids")
    data = children.rocassay("list", "--block-size", 256, "--json")
    assert (text.code, data.code) == (0, 0)
    assert text.out.split() == json.loads(data.out) == wanted


def test_list_counts_the_cases_of_the_selection(children: Children):
    done = children.rocassay("list", "--op", NAME, "--block-size", EXPECTED_BLOCK_SIZE)
    assert done.code == 0
    assert done.out.split()[-3:] == [NAME, "3", "3"]


def test_list_faults_names_every_fault_with_its_reference(children: Children):
    rows = {row["name"]: row for row in json.loads(children.rocassay("list", "--faults", "--json").out)}
    for fault in catalogue():
        assert rows[fault.name]["reference"] == fault.reference
    assert rows[f"{NAME}-off-by-one"]["ops"] == [NAME]


def test_list_digests_prints_exactly_the_form_of_the_file_that_pins_them(children: Children):
    op = select_cases("quick", Selection())[0].op
    done = children.rocassay("list", "--digests", "--op", op)
    text = (ROOT / "suites" / "kernels" / "digests.json").read_text()
    own = {name: digest for name, digest in json.loads(text).items() if name.startswith(f"{op}:")}
    assert done.code == 0
    assert done.out == json.dumps(own, indent=1, sort_keys=True) + "\n"
    assert text == json.dumps(json.loads(text), indent=1, sort_keys=True) + "\n"


def test_a_green_run_returns_0_and_says_where_its_records_are(children: Children, tmp_path: Path):
    done = children.rocassay(
        "run", "--op", NAME, "--block-size", EXPECTED_BLOCK_SIZE, "-n", 0, "--out", tmp_path / "new" / "out"
    )
    results = tmp_path / "new" / "out" / "results.jsonl"
    assert done.code == 0, done
    assert "cases: 3 passed" in done.out
    assert f"records: {results}" in done.out
    assert read(results).red_reasons() == []


def test_a_red_run_returns_1_and_says_why(children: Children, tmp_path: Path):
    case = f"{NAME}:gfx942:e4m3fn:bs{FATAL_BLOCK_SIZE}:mode=raises,number=0:tagged:s0"
    done = children("pytest", *ASSAY, f"--rocassay-case={case}", f"--rocassay-out={tmp_path}")
    assert done.code == 1
    assert "RED: 1 of 1 cases are not green" in done.out
    assert f"rocassay repro '{case}'" in done.out
    (record,) = read(tmp_path / "results.jsonl").records
    assert (record.status, record.reason) == (Status.CRASHED, "ZeroDivisionError: the toy broke")


ASSAY = ("--pyargs", "rocassay.suites.kernels", "-p", "rocassay.harness.plugin", "-p", "no:cacheprovider", "-c",
         "/dev/null", "--import-mode=importlib")  # fmt: skip


def test_an_older_file_of_records_is_moved_aside_and_never_overwritten(children: Children, tmp_path: Path):
    words = ("run", "--op", NAME, "--block-size", OTHER_BLOCK_SIZE, "-n", 0, "--out", tmp_path)
    children.rocassay(*words)
    first = (tmp_path / "results.jsonl").read_bytes()
    children.rocassay(*words)
    (moved,) = tmp_path.glob("results-*.jsonl")
    assert moved.read_bytes() == first
    assert read(tmp_path / "results.jsonl").headers[0].run_id != read(moved).headers[0].run_id


def test_repro_shows_every_check_of_one_case_and_returns_the_verdict(children: Children):
    done = children.rocassay("repro", CASE)
    assert done.code == 0, done
    for name in ("bytes", "canary", "inputs", "bounds", "strides", "poison", "row-order"):
        assert name in done.out
    record = CaseRecord.model_validate_json(children.rocassay("repro", CASE, "--json").out)
    assert (record.case, record.status) == (CASE, Status.PASSED)


def test_repro_with_a_fault_is_content_only_when_the_fault_is_seen(children: Children):
    seen = children.rocassay("repro", CASE, "--fault", f"{NAME}-off-by-one", "--json")
    unseen = children.rocassay("repro", CASE, "--fault", f"{NAME}-off-by-one", "--provider", "torch")
    assert seen.code == 0
    assert CaseRecord.model_validate_json(seen.out).status is Status.FAILED
    assert unseen.code == 1


def test_repro_of_a_broken_implementation_returns_1(children: Children):
    case = f"{NAME}:gfx942:e4m3fn:bs1:mode=raises,number=0:tagged:s0"
    done = children.rocassay("repro", case)
    assert done.code == 1
    assert "ZeroDivisionError: the toy broke" in done.out


def test_a_drill_that_goes_red_returns_0_and_shows_how_it_was_caught(children: Children, tmp_path: Path):
    done = children.rocassay("drill", f"{NAME}-off-by-one", "--out", tmp_path)
    assert done.code == 0, done
    row = next(line.split() for line in done.out.splitlines() if line.strip().startswith(f"{NAME}-off-by-one"))
    assert row[:5] == [f"{NAME}-off-by-one", "bytes", "3/3", "exact", "3/3"]
    assert "rocassay repro" in done.out
    assert {record.status for record in read(tmp_path / "results.jsonl").drills} == {Status.FAILED}


def test_a_run_with_drills_records_both_and_is_green(children: Children, tmp_path: Path):
    done = children.rocassay(
        "run", "--op", NAME, "--block-size", EXPECTED_BLOCK_SIZE, "--drills", "-n", 0, "--out", tmp_path
    )
    assert done.code == 0, done
    assert "cases: 3 passed" in done.out
    assert "drills: 1 of 1 red, as they must be" in done.out


def test_several_seeds_run_every_case_so_often(children: Children, tmp_path: Path):
    words = ("run", "--op", NAME, "--block-size", EXPECTED_BLOCK_SIZE, "-n", 0, "--out", tmp_path)
    assert children.rocassay(*words, "--seed", 4, "--seeds", 2).code == 0
    assert sorted(record.seed for record in read(tmp_path / "results.jsonl").records) == [4] * 3 + [5] * 3


def test_the_page_is_written_beside_the_records_and_the_exit_code_is_the_verdict(children: Children, tmp_path: Path):
    children.rocassay("run", "--op", NAME, "--block-size", EXPECTED_BLOCK_SIZE, "-n", 0, "--out", tmp_path)
    green = children.rocassay("report", "html", tmp_path)
    assert green.code == 0, green
    assert "<html" in (tmp_path / "report.html").read_text()
    other = children.rocassay("report", "html", tmp_path / "results.jsonl", "-o", tmp_path / "sub" / "other.html")
    assert other.code == 0, other
    assert (tmp_path / "sub" / "other.html").read_text() == (tmp_path / "report.html").read_text()


def test_doctor_says_which_engines_can_run(children: Children):
    done = children.rocassay("doctor", "--json")
    findings = {finding["thing"]: finding for finding in json.loads(done.out)}
    assert done.code == 0
    assert findings["engine interpreter"]["ok"]
    assert findings["torch"]["ok"]
    assert findings["engine device"]["ok"] or findings["engine device"]["finding"]
