"""A case that hangs, crashes or takes all memory costs its own verdict, and says where it was when it was ended."""

from __future__ import annotations

import contextlib
import gc
import os
import re
import signal
import subprocess
import sys
import time
import weakref
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from _pytest.junitxml import LogXML

from rocassay.harness import ops
from rocassay.harness.arena import unmapped
from rocassay.harness.cli.drilling import FEW_CASES, workers_for
from rocassay.harness.engines.base import engine
from rocassay.harness.isolation import clocks, deaths, guard, memory, stacks
from rocassay.harness.isolation.guard import Guard
from rocassay.harness.judge import Judge
from rocassay.harness.junit import case_properties, tell_case
from rocassay.harness.options import Options
from rocassay.harness.providers import provider
from rocassay.harness.results import CaseRecord, Status, read
from rocassay.suites.selftest.children import ROOT, Children, Done
from rocassay.suites.selftest.test_plugin import PYTEST, lines_by_case, records
from rocassay.suites.selftest.toys import HOSTILE, Implementation, double, record, toy_case, toy_golden, toy_op
from rocassay.suites.selftest.toysuite.names import FATAL_BLOCK_SIZE, NAME

SECONDS = 2.0
"""Limit of a case that hangs; the toy's other cases take a hundredth of it."""
MOMENT = 0.2
SOON = 1.0
"""Limit of a case in this process, where nothing is imported any more."""
GIB = 0.5
CPU = torch.device("cpu")
ENVIRONMENT = {"PYTHONPATH": os.pathsep.join([str(ROOT / "src"), *sys.path])}
"""Of children: this process's packages, nothing else."""

WORDS = {
    "dies": "worker gw0 was killed by SIGKILL, as by the system when the machine is out of memory",
    "raises": "ZeroDivisionError: the toy broke",
    "segfaults": "worker gw0 was killed by SIGSEGV: in string_at (ctypes/__init__.py:0), called from segfaults (TOYS)",
    "hangs": "not done after 2 s (--case-timeout): in hangs (TOYS)",
    "hangs_in_c": "not done after 2 s (--case-timeout): in hangs_in_c (TOYS)",
    "takes_all_memory": "out of memory: a case may take 0.5 GiB (--case-memory), in __call__ (torch/_ops.py:0), "
    "called from takes_all_memory (TOYS): [enforce fail at alloc_cpu.cpp:0] err == 0. DefaultCPUAllocator: can't "
    "allocate memory: you tried to allocate 4398046511104 bytes. Error code 12 (Cannot allocate memory)",
    "takes_all_memory_in_numpy": "out of memory: a case may take 0.5 GiB (--case-memory), in ones "
    "(numpy/_core/numeric.py:0), called from takes_all_memory_in_numpy (TOYS): Unable to allocate 8.00 TiB for an "
    "array with shape (1099511627776,) and data type float64",
}
"""Reasons of the planted modes; which worker it was and line numbers are left out."""


def reason(found: CaseRecord) -> str:
    """The reason with every worker called gw0 and every line 0."""
    return re.sub(r"(?<=worker gw)\d+|(?<=\.py:)\d+|(?<=\.cpp:)\d+", "0", found.reason).replace(
        "rocassay/suites/selftest/toys.py:0", "TOYS"
    )


@pytest.fixture(scope="module")
def hostile(children: Children, tmp_path_factory: pytest.TempPathFactory) -> tuple[Done, Path]:
    """One run of `rocassay run` with workers over every mode that would take a process along."""
    out = tmp_path_factory.mktemp("hostile")
    words = ("run", "--op", NAME, "--block-size", FATAL_BLOCK_SIZE, "-n", 1, "--out", out)
    return children.rocassay(*words, "--case-timeout", SECONDS, "--case-memory", GIB), out


def test_exactly_the_planted_cases_are_lost_and_the_run_is_red(hostile: tuple[Done, Path]):
    done, out = hostile
    by_mode = {str(r.params["mode"]): r for r in records(out) if r.params["mode"] != "fine"}
    healthy = [r for r in records(out) if r.params["mode"] == "fine"]
    assert done.code == 1, done
    assert by_mode.keys() == {"dies", "raises", *HOSTILE}
    assert {mode for mode, r in by_mode.items() if r.status is Status.TIMED_OUT} == {"hangs", "hangs_in_c"}
    assert {r.status for r in by_mode.values()} == {Status.TIMED_OUT, Status.CRASHED}
    assert [r.status for r in healthy] == [Status.PASSED] * len(by_mode)
    assert set(lines_by_case(out).values()) == {1}
    assert "cases: 7 passed, 5 crashed, 2 timed out" in done.out
    assert read(out / "results.jsonl").red_reasons() == ["7 of 14 cases are not green"]


@pytest.mark.parametrize("mode", WORDS)
def test_the_reason_says_what_happened_and_where(hostile: tuple[Done, Path], mode: str):
    done, out = hostile
    (found,) = [r for r in records(out) if r.params["mode"] == mode]
    assert reason(found) == WORDS[mode]
    assert found.repro == f"rocassay repro '{found.case}' --engine {found.engine}"
    assert f"{found.case} on rocassay/{found.engine}: {found.status.value}\n  {found.reason}\n" in done.err


def test_the_page_of_such_a_run_counts_and_names_what_was_lost(
    children: Children, hostile: tuple[Done, Path], tmp_path: Path
):
    page = tmp_path / "page.html"
    assert children.rocassay("report", "html", hostile[1], "-o", page).code == 1
    text = page.read_text()
    assert "5 crashed, 2 timed out, 7 passed" in text
    assert "s (--case-timeout): in hangs (rocassay/" in text


def test_the_traces_that_stay_are_those_of_workers_that_had_something_to_say(hostile: tuple[Done, Path]):
    traces = [path.read_text() for path in (hostile[1] / "traces").iterdir()]
    assert sorted(text.splitlines()[0] for text in traces) == [
        "Fatal Python error: Segmentation fault", "Timeout (0:00:02)!", "Timeout (0:00:02)!",
    ]  # fmt: skip
    assert all("in launch" in text and "judge.py" in text for text in traces)


def test_without_workers_a_case_that_hangs_is_interrupted_and_the_run_goes_on(children: Children, tmp_path: Path):
    modes = ("fine,number=0", "hangs,number=0", "takes_all_memory,number=0", "fine,number=1")
    cases = [f"--rocassay-case={NAME}:gfx942:e4m3fn:bs{FATAL_BLOCK_SIZE}:mode={mode}:tagged:s0" for mode in modes]
    limits = (f"--rocassay-case-timeout={SECONDS}", f"--rocassay-case-memory={GIB}", "--rocassay-suite=kernels")
    assert children(*PYTEST, *cases, *limits, f"--rocassay-out={tmp_path}").code == 1
    found = {str(r.params["mode"]): r for r in records(tmp_path)}
    assert {mode: r.status for mode, r in found.items()} == {
        "fine": Status.PASSED, "hangs": Status.TIMED_OUT, "takes_all_memory": Status.CRASHED,
    }  # fmt: skip
    assert {mode: reason(found[mode]) for mode in found if mode != "fine"} == {
        mode: WORDS[mode] for mode in ("hangs", "takes_all_memory")
    }
    assert len(lines_by_case(tmp_path)) == len(modes)


def living(group: int) -> list[str]:
    """Names of the processes of a group that have not ended; a zombie has."""
    found: list[str] = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            name, _, rest = path.read_text().partition("(")[2].rpartition(")")
            state, _, its = rest.split()[:3]
            found += [name] if int(its) == group and state != "Z" else []
    return found


def test_a_worker_that_hangs_ends_by_itself_when_its_controller_was_killed(children: Children, tmp_path: Path):
    case = f"{NAME}:gfx942:e4m3fn:bs{FATAL_BLOCK_SIZE}:mode=hangs_in_c,number=0:tagged:s0"
    limits = (f"--rocassay-case={case}", f"--rocassay-case-timeout={SECONDS}", "--rocassay-suite=kernels")
    pid = children.start(*PYTEST, *limits, "-p", "xdist", "-n", 1, f"--rocassay-out={tmp_path}")
    while "hangs_in_c" not in living(pid):
        assert children.running(pid), children.wait(pid)
        time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)
    assert children.wait(pid).code == -signal.SIGKILL
    assert living(pid) == ["hangs_in_c"]
    deadline = time.monotonic() + 30 * SECONDS
    while living(pid):
        assert time.monotonic() < deadline, living(pid)
        time.sleep(0.01)
    assert (tmp_path / "traces" / "gw0.txt").read_text().startswith("Timeout (0:00:02)!\n")
    assert read(tmp_path / "results.jsonl").problems == []


def python(program: str) -> subprocess.CompletedProcess[str]:
    """A program run to its end, which has to come within a minute."""
    command = [sys.executable, "-c", program]
    return subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=False, timeout=60)


ALONE = """
import ctypes
from rocassay.harness.isolation import guard
guard.GRACE_SECONDS = 0.1
mutex, library = ctypes.create_string_buffer(256), ctypes.PyDLL(None)
with guard.Guard(seconds=0.1, trace=2).judging(None):
    library.pthread_mutex_lock(mutex)
    library.pthread_mutex_lock(mutex)
"""
"""Hangs where no alarm reaches it."""


def test_without_workers_a_case_that_no_alarm_can_interrupt_ends_the_process():
    done = python(ALONE)
    assert done.returncode == 1
    assert done.stderr.startswith("Timeout (0:00:00.200000)!\n")


LEAVING = "from rocassay.harness.isolation import guard; guard.Guard(trace=2).leave('the device is gone')"


def test_a_process_that_leaves_says_why():
    done = python(LEAVING)
    death = deaths.told("gw3", done.returncode, done.stderr)
    assert (done.returncode, death.reason) == (guard.LEFT, "worker gw3 left: the device is gone")


@pytest.mark.parametrize(("drills", "workers"), [(1, "0"), (FEW_CASES, "0"), (FEW_CASES + 1, "auto")])
def test_only_many_drills_are_worth_workers(drills: int, workers: str):
    assert workers_for(drills, Options(engine="interpreter")) == workers


def judged(launcher: Any, limits: Guard, /, **changes: Any) -> CaseRecord:
    """The toy with a launcher of its own, judged under limits."""
    ops.register(toy_op(probes=(), **changes))
    return Judge(Implementation(launcher), engine("interpreter"), "quick", "run", limits)(toy_case())


def swallowing(x: torch.Tensor, out: torch.Tensor) -> None:
    for _ in range(3):
        with contextlib.suppress(Exception):
            time.sleep(SECONDS)


def test_what_is_judged_cannot_swallow_the_end_of_its_time(registry: None):
    found = judged(swallowing, Guard(seconds=SOON))
    assert found.status is Status.TIMED_OUT
    assert found.reason.startswith("not done after 1 s (--case-timeout): in swallowing (")


def test_inputs_and_golden_are_not_counted(registry: None):
    def slow(case: Any, operands: Any) -> Any:
        if case.seed == toy_case().seed:  # and not the one of a second launch, which is part of judging
            time.sleep(SOON + MOMENT)
        return toy_golden(case, operands)

    assert judged(double, Guard(seconds=SOON), golden=slow).status is Status.PASSED


def test_a_golden_that_hangs_is_ended_when_its_own_time_is_up(registry: None, monkeypatch: pytest.MonkeyPatch):
    def endless(case: Any, operands: Any) -> Any:
        swallowing(operands, operands)

    monkeypatch.setattr(guard, "PREPARING_SECONDS", MOMENT)
    found = judged(double, Guard(seconds=MOMENT), golden=endless)
    assert (found.status, found.reason.partition(" (")[0]) == (Status.TIMED_OUT, "not done after 0.4 s")


def test_an_allocation_that_fits_is_granted_and_nothing_is_limited_afterwards(registry: None):
    def takes(x: torch.Tensor, out: torch.Tensor) -> None:
        np.empty(2**28, np.uint8)
        double(x, out)

    assert judged(takes, Guard(gib=GIB)).status is Status.PASSED
    np.empty(2**31, np.uint8)


def test_what_a_crashed_case_held_is_gone_before_the_next(registry: None):
    held: list[weakref.ref[torch.Tensor]] = []

    def leaks(x: torch.Tensor, out: torch.Tensor) -> None:
        cycle: list[Any] = [torch.ones(2**20)]
        cycle.append(cycle)
        held.append(weakref.ref(cycle[0]))
        np.empty(2**40, np.uint8)

    gc.disable()
    try:
        assert judged(leaks, Guard(gib=GIB)).reason.startswith("out of memory: ")
    finally:
        gc.enable()
    assert held[0]() is None


def test_memory_beyond_the_limit_is_refused_whoever_asks_and_shared_gaps_are_not_counted():
    with memory.limited(CPU, 2**28):
        far = torch.frombuffer(unmapped(2**33), dtype=torch.uint8)
        far[2**32] = 1
        for ask in (lambda: np.empty(2**29, np.uint8), lambda: torch.empty(2**29), lambda: bytearray(2**29)):
            with pytest.raises((MemoryError, RuntimeError)) as refused:
                ask()
            assert memory.out_of_memory(refused.value)


@pytest.mark.parametrize(
    ("error", "is_one"),
    [
        (MemoryError(), True),
        (OSError(12, "Cannot allocate memory"), True),
        (RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"), True),
        (RuntimeError("std::bad_alloc"), True),
        (OSError(2, "No such file"), False),
        (RuntimeError("index 9 is out of bounds"), False),
        (ValueError("out of memory"), False),
    ],
    ids=repr,
)
def test_an_error_is_told_from_memory_that_was_refused_also_behind_another_one(error: Exception, is_one: bool):
    wrapped = ValueError("the compiler failed")
    wrapped.__cause__ = error
    assert memory.out_of_memory(error) is is_one
    assert memory.out_of_memory(wrapped) is is_one


def test_the_default_share_falls_with_the_workers_down_to_what_cases_need():
    shares = [memory.default_share(CPU, workers) for workers in (1, 2, 10**6)]
    assert shares == sorted(shares, reverse=True)
    assert shares[-1] == memory.LEAST_SHARE
    assert memory.LEAST_SHARE <= shares[0] <= max(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), shares[-1])


def test_an_alarm_that_somebody_else_had_set_is_set_again():
    rang: list[int] = []
    before = signal.signal(signal.SIGALRM, lambda number, _: rang.append(number))
    signal.setitimer(signal.ITIMER_REAL, MOMENT)
    try:
        with clocks.interrupted_after(SECONDS):
            pass
        time.sleep(2 * MOMENT)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert rang == [signal.SIGALRM]


def test_a_person_in_the_debugger_is_not_interrupted():
    with clocks.interrupted_after(MOMENT):
        clocks.stop()
        time.sleep(2 * MOMENT)


HARNESS = str(Path(stacks.__file__).parents[1])
DUMP = f"""Fatal Python error: Segmentation fault

Thread 0x00007f84709ff6c0 (most recent call first):
  File "/python/threading.py", line 1 in wait

Current thread 0x00007f8471c7fb80 [python] (most recent call first):
  File "/python/site-packages/torch/_ops.py", line 7 in __call__
  File "<frozen importlib>", line 6 in _load
  File "/theirs/kernel.py", line 5 in launch
  File "{HARNESS}/judge.py", line 4 in _launch
  File "/theirs/test_kernel.py", line 3 in test_case

Current thread's C stack trace (most recent call first):
  Binary file "/lib/libc.so.6", at +0x3fe50 [0x7f]

Extension modules: numpy._core (total: 1)
"""


def test_a_dump_is_read_as_the_stack_of_the_thread_that_judges():
    stack = stacks.of_dump(DUMP)
    assert [frame.function for frame in stack] == ["__call__", "_load", "launch", "_launch", "test_case"]
    where = "in __call__ (/python/site-packages/torch/_ops.py:7), called from launch (/theirs/kernel.py:5)"
    assert stacks.place(stack) == where
    assert stacks.place(stack[3:]) == f"in {stack[3]}", "a test that asks for a verdict is no kernel"
    assert stacks.of_dump("") == ()
    assert stacks.place(()) == ""


@pytest.mark.parametrize(
    ("code", "trace", "status", "words"),
    [
        (1, DUMP.replace("Fatal Python error: Segmentation fault", "Timeout (1:02:03.500000)!"), Status.TIMED_OUT,
         "not done after 3723.5 s (--case-timeout): in __call__ ("),
        (guard.LEFT, f"{guard.LAST_WORDS}CUDA error: an illegal memory access\n", Status.CRASHED,
         "worker gw3 left: CUDA error: an illegal memory access"),
        (-signal.SIGSEGV, DUMP, Status.CRASHED, "worker gw3 was killed by SIGSEGV: in __call__ ("),
        (-signal.SIGABRT, "", Status.CRASHED, "worker gw3 was killed by SIGABRT"),
        (-99, "", Status.CRASHED, "worker gw3 was killed by signal 99"),
        (3, "", Status.CRASHED, "worker gw3 ended with exit code 3"),
        (None, "", Status.CRASHED, "worker gw3 died, and nothing says of what"),
    ],
)  # fmt: skip
def test_a_death_is_told_from_the_trace_and_the_exit_code(code: int | None, trace: str, status: Status, words: str):
    death = deaths.told("gw3", code, trace)
    assert death.status is status
    assert death.reason.startswith(words)


def test_a_worker_without_a_process_or_a_trace_has_died_all_the_same(tmp_path: Path):
    node = SimpleNamespace(gateway=SimpleNamespace(id="gw3"))
    assert deaths.death_of(node, tmp_path).reason == "worker gw3 died, and nothing says of what"


def test_the_junit_file_has_the_properties_of_a_case_that_took_its_worker_along(tmp_path: Path):
    lost = record(status=Status.TIMED_OUT, reason="not done after 2 s", repro="rocassay repro 'x'")
    xml = LogXML(str(tmp_path / "junit.xml"), None)
    xml.pytest_sessionstart()
    report = pytest.TestReport("a.py::b[c]", ("a.py", 0, "b"), {}, "failed", lost.reason, "???")  # type: ignore[arg-type]
    tell_case([object(), xml], report, lost)
    xml.pytest_runtest_logreport(report)
    xml.pytest_sessionfinish()
    (case,) = ElementTree.parse(tmp_path / "junit.xml").getroot()[0].findall("testcase")  # noqa: S314
    told = [(p.get("name"), p.get("value")) for p in case.findall("properties/property")]
    assert told == case_properties(lost)
    assert ("rocassay.status", "timed out") in told
    assert len(case.findall("error")) == 1


def test_limits_that_this_machine_cannot_keep_are_said_in_one_sentence_each(monkeypatch: pytest.MonkeyPatch):
    assert list(guard.unkept(SECONDS, None, CPU, alone=True)) == []
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.delattr(signal, "SIGALRM")
    clock, room = guard.unkept(SECONDS, None, CPU, alone=True)
    assert clock.startswith("--case-timeout cannot interrupt a case here")
    assert room.startswith("--case-memory is not kept on darwin")
    assert list(guard.unkept(SECONDS, 0, CPU, alone=False)) == []


def test_the_torch_peer_passes_under_the_default_limits(registry: None):
    ops.register(toy_op())
    limits = Guard(SECONDS, None, workers=16)
    assert Judge(provider("torch"), engine("interpreter"), "full", "run", limits)(toy_case()).status is Status.PASSED
