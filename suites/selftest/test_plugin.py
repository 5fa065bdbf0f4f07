"""Runs under pytest: the same records with and without workers, and nothing lost to a kill, a crash or a torn line."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from rocassay.harness.cases import Selection
from rocassay.harness.ops import select_cases
from rocassay.harness.results import CaseRecord, Status, read
from rocassay.suites.selftest.children import Children, Done
from rocassay.suites.selftest.toysuite.names import (
    EXPECTED_BLOCK_SIZE,
    NAME,
    OTHER_BLOCK_SIZE,
    SLOW_BLOCK_SIZE,
    SLOW_CASES,
)

PYTEST = (
    "pytest", "--pyargs", "rocassay.suites.kernels", "rocassay.suites.drills", "-p", "rocassay.harness.plugin",
    "-p", "no:cacheprovider", "-c", os.devnull, "--import-mode=importlib", "-rs",
)  # fmt: skip
SHIPPED = ("--op", "indexer_k_quant_and_cache", "--block-size", 1, "--arch", "gfx950", "--fp8", "e4m3fn")


def toy_run(children: Children, out: Path, block_size: int, *more: object) -> Done:
    return children.rocassay("run", "--op", NAME, "--block-size", block_size, "--out", out, *more)


def records(out: Path) -> list[CaseRecord]:
    return read(out / "results.jsonl").records


def lines_by_case(out: Path) -> Counter[str]:
    """How often each case stands in the file, before any doubling is removed."""
    lines = (out / "results.jsonl").read_bytes().splitlines(keepends=True)
    found = [CaseRecord.model_validate_json(line) for line in lines if b'"kind":"case"' in line and b"\n" in line]
    return Counter(record.case for record in found)


def essence(record: CaseRecord) -> str:
    """Everything in a record that does not depend on when and in which run it was made."""
    return record.model_copy(update={"run_id": "", "timings": {}, "commit": ""}).model_dump_json()


def test_workers_write_the_same_records_as_one_process(children: Children, tmp_path: Path):
    alone = children.rocassay("run", *SHIPPED, "-n", 0, "--out", tmp_path / "alone")
    shared = children.rocassay("run", *SHIPPED, "-n", 2, "--out", tmp_path / "shared")
    assert (alone.code, shared.code) == (0, 0), (alone, shared)
    assert sorted(map(essence, records(tmp_path / "alone"))) == sorted(map(essence, records(tmp_path / "shared")))
    op, size, arch, fp8 = (str(word) for word in SHIPPED[1::2])
    wanted = select_cases(
        "quick", Selection(frozenset({op}), frozenset({arch}), frozenset({fp8}), frozenset({int(size)}))
    )
    assert lines_by_case(tmp_path / "shared") == Counter(map(str, wanted))


@pytest.mark.parametrize("workers", [0, 2])
def test_kill_9_of_the_whole_run_and_resume_lose_nothing_and_repeat_nothing(
    children: Children, tmp_path: Path, workers: int
):
    words = ("run", "--op", NAME, "--block-size", SLOW_BLOCK_SIZE, "-n", workers, "--out", tmp_path)
    path = tmp_path / "results.jsonl"
    pid = children.start("rocassay", *words)
    while not path.exists() or path.read_bytes().count(b"\n") < 6:
        assert children.running(pid), children.wait(pid)
        time.sleep(0.01)
    os.killpg(pid, signal.SIGKILL)
    assert children.wait(pid).code == -signal.SIGKILL
    before = lines_by_case(tmp_path)
    assert 5 <= len(before) < SLOW_CASES
    assert read(path).red_reasons()
    resumed = toy_run(children, tmp_path, SLOW_BLOCK_SIZE, "-n", 0, "--resume")
    assert resumed.code == 0, resumed
    after = lines_by_case(tmp_path)
    assert before <= after
    assert set(after.values()) == {1}
    assert len(after) == SLOW_CASES
    assert len({record.run_id for record in records(tmp_path)}) == 1


def test_resuming_sets_a_torn_tail_aside_and_runs_that_case_again(children: Children, tmp_path: Path):
    assert toy_run(children, tmp_path, OTHER_BLOCK_SIZE, "-n", 0).code == 0
    path = tmp_path / "results.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:3]) + lines[3][:50])
    resumed = toy_run(children, tmp_path, OTHER_BLOCK_SIZE, "-n", 0, "--resume")
    assert resumed.code == 0, resumed
    assert list(lines_by_case(tmp_path).values()) == [1, 1, 1]
    assert (tmp_path / "results.jsonl.cut").read_bytes() == lines[3][:50] + b"\n"
    assert read(path).red_reasons() == []


def test_resuming_a_run_whose_first_line_is_torn_starts_afresh(children: Children, tmp_path: Path):
    (tmp_path / "results.jsonl").write_bytes(b'{"kind":"run","schema')
    resumed = toy_run(children, tmp_path, OTHER_BLOCK_SIZE, "-n", 0, "--resume")
    assert resumed.code == 0, resumed
    assert len(records(tmp_path)) == 3


def test_resuming_a_finished_run_runs_nothing_and_stays_green(children: Children, tmp_path: Path):
    assert toy_run(children, tmp_path, OTHER_BLOCK_SIZE, "-n", 0).code == 0
    before = records(tmp_path)
    resumed = toy_run(children, tmp_path, OTHER_BLOCK_SIZE, "-n", 0, "--resume")
    assert resumed.code == 0, resumed
    assert records(tmp_path) == before
    assert set(lines_by_case(tmp_path).values()) == {1}


def test_resuming_repeats_a_case_that_crashed(children: Children, tmp_path: Path):
    case = f"{NAME}:gfx942:e4m3fn:bs1:mode=raises,number=0:tagged:s0"
    words = (*PYTEST, f"--rocassay-case={case}", f"--rocassay-out={tmp_path}", "--rocassay-suite=kernels")
    assert children(*words).code == 1
    assert children(*words, "--rocassay-resume").code == 1
    assert lines_by_case(tmp_path) == {case: 2}


def absent(children: Children, out: Path, *sizes: int) -> Done:
    """Judge a provider that can run nothing."""
    limits = [f"--rocassay-block-size={size}" for size in sizes]
    words = (*PYTEST, f"--rocassay-op={NAME}", *limits, "--rocassay-provider=absent", "--rocassay-suite=kernels")
    return children(*words, f"--rocassay-out={out}")


def test_a_case_that_is_expected_and_not_run_is_red_and_an_unexpected_one_is_a_skip_with_its_reason(
    children: Children, tmp_path: Path
):
    done = absent(children, tmp_path, EXPECTED_BLOCK_SIZE, OTHER_BLOCK_SIZE)
    assert done.code == 1
    assert "3 failed, 4 skipped" in done.out, "the fourth is the drill suite, which was not asked for"
    assert "SKIPPED [3]" in done.out
    assert "the toy is not installed" in done.out
    assert {record.status for record in records(tmp_path)} == {Status.NOT_RUN}
    assert "RED: 3 of 6 cases are not green" in done.out
    assert "RED: 1 cells of the expected-to-run matrix did not run" in done.out


def test_unexpected_cases_alone_are_skipped_but_a_run_of_nothing_is_not_green(children: Children, tmp_path: Path):
    done = absent(children, tmp_path, OTHER_BLOCK_SIZE)
    assert done.code == 1
    assert "failed" not in done.out
    assert "RED: no case ran" in done.out


def test_the_plugin_leaves_other_suites_alone(children: Children, tmp_path: Path):
    (tmp_path / "test_other.py").write_text("def test_other():\n    pass\n")
    done = children("pytest", tmp_path, "-p", "rocassay.harness.plugin", "-p", "no:cacheprovider", "-c", os.devnull)
    assert done.code == 0, done
    assert "1 passed" in done.out
    assert "rocassay ===" not in done.out
    assert list(tmp_path.glob("**/results.jsonl")) == []


def test_without_an_output_folder_cases_are_judged_and_nothing_is_written(children: Children):
    case = f"{NAME}:gfx942:e4m3fn:bs1:mode=fine,number=0:tagged:s0"
    done = children(*PYTEST, f"--rocassay-case={case}", "--rocassay-suite=kernels")
    assert done.code == 0, done
    assert "1 passed" in done.out
    assert "records:" not in done.out


@pytest.mark.parametrize("fault", [f"{NAME}-off-by-one", f"{NAME}-harmless"])
def test_a_drill_is_red_for_pytest_exactly_when_the_fault_is_not_seen(children: Children, tmp_path: Path, fault: str):
    size = f"--rocassay-block-size={OTHER_BLOCK_SIZE}"
    done = children(*PYTEST, f"--rocassay-fault={fault}", size, f"--rocassay-out={tmp_path}")
    harmless = fault.endswith("harmless")
    assert done.code == int(harmless), done
    assert ("these inputs cannot reveal the fault" in done.out) == harmless
    (record,) = read(tmp_path / "results.jsonl").drills
    assert record.status is (Status.BLIND if harmless else Status.FAILED)
    assert (f"RED: faults without a red drill: {fault}" in done.out) == harmless


@pytest.mark.parametrize(("workers", "whose"), [(0, "its process"), (2, "the sum over 2 processes")])
def test_a_run_says_and_records_the_memory_of_the_processes_that_judged(
    children: Children, tmp_path: Path, workers: int, whose: str
):
    done = toy_run(children, tmp_path, OTHER_BLOCK_SIZE, "-n", workers)
    (last,) = read(tmp_path / "results.jsonl").ends
    assert 1 <= last.processes <= max(1, workers)
    assert last.processes * 2**26 < last.peak_bytes < last.processes * 2**34, "torch, and not the machine"
    assert f"peak memory: {last.peak_bytes / 2**30:.2f} GiB (largest resident size, " in done.out
    assert whose in done.out or last.processes < workers


def test_memory_of_a_process_is_its_peak_and_not_what_it_holds_now():
    program = "from rocassay.harness.environment import peak_memory as p; b = p(); x = b'x' * 2**28"
    program += "; x = None; print(b, p())"
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    before, after = map(int, said.split())
    assert before < 2**28 < after
