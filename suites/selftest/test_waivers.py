"""The waiver ledger: every rule of an entry and of a run, numbered as in the module."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rocassay.harness.results import GREEN, CaseRecord, Check, Status, read
from rocassay.harness.waivers import BadWaiver, Ledger, Waiver, ledger_of
from rocassay.suites.selftest.children import Children
from rocassay.suites.selftest.toys import record, toy_case
from rocassay.suites.selftest.toysuite.names import FATAL_BLOCK_SIZE, NAME

FIRST, SECOND = toy_case(number=0), toy_case(number=1)
OTHER_ARCH = toy_case(arch="gfx950")
PYTEST = (
    "pytest", "--pyargs", "rocassay.suites.kernels", "-p", "rocassay.harness.plugin", "-p", "no:cacheprovider",
    "-c", os.devnull, "--import-mode=importlib", "--rocassay-suite=kernels",
)  # fmt: skip
ENTRY: dict[str, Any] = {
    "issue": "ROCm/aiter#3641",
    "reason": "a part without keys is merged with weight 1",
    "case": str(FIRST),
    "cases": ["toy:*"],
    "provider": "aiter",
    "checks": ["bytes", "poison"],
}

Refusal = Callable[..., str]


def judged(case: Any = FIRST, status: Status = Status.FAILED, failed: tuple[str, ...] = ("bytes",), **more: Any) -> Any:
    """A record of provider aiter; checks fail only where it is said."""
    failing = failed if status is Status.FAILED else ()
    checks = [Check(name=name, kind="gate", passed=name not in failing) for name in ("bytes", "poison", "strides")]
    return record(case, status, **{"provider": "aiter", "checks": tuple(checks), "reason": "bytes: wrong"} | more)


def ledger(**changes: Any) -> Ledger:
    """A ledger with one entry."""
    return Ledger((Waiver.model_validate({**ENTRY, **changes}),))


def status_of(found: CaseRecord, **changes: Any) -> Status:
    return ledger(**changes).applied(found).status


@pytest.fixture
def refusal(tmp_path: Path) -> Refusal:
    """Why a file with a good entry and then this one is refused."""

    def why(**changes: Any) -> str:
        path = tmp_path / "mine.json"
        path.write_text(json.dumps([ENTRY, {**ENTRY, **changes}]))
        with pytest.raises(BadWaiver) as caught:
            ledger_of((str(path),))
        ledger_of.cache_clear()
        said = str(caught.value)
        assert said.startswith(f"{path}: entry 2")
        assert "\n" not in said
        return said

    return why


@pytest.mark.parametrize(
    "issue", ["", "later", "#12", "aiter#3641", "see ROCm/aiter#3641", "ftp://host/1", "ROCm/aiter#x"]
)
def test_1_an_entry_without_a_reference_is_refused(refusal: Refusal, issue: str):
    assert f"issue {issue!r} is no reference; write owner/repo#123 or a URL" in refusal(issue=issue)


@pytest.mark.parametrize("issue", ["vllm-project/vllm#43781", "https://github.com/ROCm/aiter/issues/3641"])
def test_1_a_reference_is_an_issue_or_a_url(issue: str):
    assert ledger(issue=issue).entries[0].issue == issue


def test_2_an_entry_says_why_and_shows_it(refusal: Refusal):
    assert "reason" in refusal(reason="")
    assert "has 1 parts, not 7" in refusal(case="toy")
    assert "does not cover its own case" in refusal(cases=["toy:*:padded:*"])
    assert "does not cover its own case" in refusal(arch="gfx950")
    assert "does not cover its own case" in refusal(op="merge")
    assert "(ROCm/aiter#3641)" in refusal(arch="gfx950")


@pytest.mark.parametrize("check", ["peer", "inputs-digest"])
def test_3_checks_of_the_harness_cannot_be_waived(refusal: Refusal, check: str):
    assert f"check {check} judges the harness and cannot be waived" in refusal(checks=["bytes", check])
    assert "checks" in refusal(checks=[])


def test_an_entry_with_a_field_too_many_or_a_range_that_is_none_is_refused(refusal: Refusal):
    assert "until" in refusal(until="2030-01-01")
    assert "versions 'about 1' of amd-aiter are no range" in refusal(versions={"amd-aiter": "about 1"})


def test_a_file_that_is_no_ledger_is_refused(tmp_path: Path):
    path = tmp_path / "mine.json"
    with pytest.raises(BadWaiver, match=r"cannot read waivers .*mine\.json: No such file"):
        ledger_of((str(path),))
    path.write_text("{}")
    with pytest.raises(BadWaiver, match=r"mine\.json: not a list of entries"):
        ledger_of((str(path),))


def test_4_a_failure_becomes_known_only_if_all_of_it_is_excused():
    known = ledger().applied(judged())
    assert known.status in GREEN
    assert known.status is Status.KNOWN
    assert known.reason == "ROCm/aiter#3641: a part without keys is merged with weight 1 (bytes: wrong)"
    assert known.checks == judged().checks
    assert status_of(judged(failed=("bytes", "poison"))) is Status.KNOWN
    assert status_of(judged(failed=("bytes", "strides"))) is Status.FAILED


def test_4_two_entries_do_not_excuse_together_what_neither_does():
    halves = [Waiver.model_validate({**ENTRY, "checks": [name]}) for name in ("bytes", "poison")]
    assert Ledger(tuple(halves)).applied(judged(failed=("bytes", "poison"))).status is Status.FAILED
    assert Ledger(tuple(halves)).applied(judged(failed=("poison",))).status is Status.KNOWN


@pytest.mark.parametrize(("status", "word"), [(Status.CRASHED, "crash"), (Status.TIMED_OUT, "timeout")])
def test_4_a_case_that_did_not_end_is_excused_by_its_own_word(status: Status, word: str):
    assert status_of(judged(status=status)) is status
    assert status_of(judged(status=status), checks=[word]) is Status.KNOWN


@pytest.mark.parametrize("status", [Status.INVALID, Status.NOT_RUN, Status.BLIND, Status.PASSED])
def test_4_nothing_else_becomes_known(status: Status):
    assert status_of(judged(status=status)) is status


def test_4_a_drill_is_never_waived():
    assert status_of(judged(fault="toy-off-by-one")) is Status.FAILED


@pytest.mark.parametrize(
    ("limit", "inside", "outside"),
    [
        ({"cases": ["*number=0*"]}, FIRST, SECOND),
        ({"cases": []}, FIRST, SECOND),
        ({"arch": "gfx942"}, FIRST, OTHER_ARCH),
    ],
    ids=["globs", "no globs", "arch"],
)
def test_5_an_entry_covers_what_it_names(limit: dict[str, Any], inside: Any, outside: Any):
    assert status_of(judged(inside), **limit) is Status.KNOWN
    assert status_of(judged(outside), **limit) is Status.FAILED


def test_5_an_entry_covers_one_provider_and_engine():
    assert status_of(judged(provider="vllm")) is Status.FAILED
    assert status_of(judged(engine="device"), engine="device") is Status.KNOWN
    assert status_of(judged(engine="isa"), engine="device") is Status.FAILED


@pytest.mark.parametrize(
    ("device", "status"),
    [("NVIDIA H200", Status.KNOWN), ("AMD Instinct MI300X", Status.FAILED), ("", Status.FAILED)],
)
def test_5_an_entry_covers_devices_by_their_names(device: str, status: Status):
    assert status_of(judged(device=device), device="NVIDIA H*") is status
    assert status_of(judged(device=device)) is Status.KNOWN


@pytest.mark.parametrize(
    ("version", "status"),
    [
        ("0.1.9", Status.FAILED),
        ("0.1.10", Status.KNOWN),
        ("0.1.12.dev3+g12ab", Status.KNOWN),
        ("0.2", Status.FAILED),
        ("unknown", Status.FAILED),
    ],
)
def test_5_an_entry_covers_versions_of_a_distribution(version: str, status: Status):
    limit = {"versions": {"amd-aiter": ">=0.1.10,<0.2"}}
    assert status_of(judged(versions={"amd-aiter": version}), **limit) is status
    assert status_of(judged(), **limit) is Status.FAILED


def test_6_an_entry_lives_while_any_of_its_cases_fails():
    passing, failing = judged(status=Status.PASSED), ledger().applied(judged(SECOND))
    assert list(ledger().expired([passing, failing], whole=True)) == []


def test_7_an_entry_expires_when_none_of_its_cases_fails():
    passing = [judged(case, Status.PASSED) for case in (SECOND, FIRST)]
    (red,) = ledger().expired(passing, whole=False)
    assert (red.case, red.status) == (str(FIRST), Status.FAILED)
    assert red.reason == f"waiver ROCm/aiter#3641 expired: {FIRST} passes; remove the entry"
    assert [check.name for check in red.checks if not check.passed] == ["waiver"]
    assert ledger().applied(red).status is Status.FAILED
    assert list(ledger().expired([red, passing[0]], whole=True)) == []


def test_7_a_part_of_a_tier_without_the_entrys_case_says_nothing():
    others = [judged(SECOND, Status.PASSED)]
    assert list(ledger().expired(others, whole=False)) == []
    (red,) = ledger().expired(others, whole=True)
    assert red.case == str(SECOND)
    not_run = [judged(status=Status.NOT_RUN)]
    assert list(ledger().expired(not_run, whole=True)) == []


def test_8_an_entry_that_covers_nothing_is_named_after_a_whole_run():
    elsewhere = [judged(toy_case(block_size=16))]
    narrow = ledger(cases=["toy:*:bs1:*"])
    assert list(narrow.remarks(elsewhere, whole=False)) == []
    (remark,) = narrow.remarks(elsewhere, whole=True)
    assert remark == "ROCm/aiter#3641: the waiver covers no case of this run; correct or remove it"
    assert list(narrow.remarks([judged(provider="vllm")], whole=True)) == []


def test_what_is_known_is_counted():
    known = [ledger().applied(judged(case)) for case in (FIRST, SECOND)]
    assert list(ledger().remarks(known, whole=True)) == [
        "ROCm/aiter#3641: 2 known, a part without keys is merged with weight 1"
    ]


def test_the_shipped_ledger_is_one():
    assert {waiver.provider for waiver in ledger_of().entries} <= {"rocassay", "torch", "aiter", "vllm"}


def toy_entry(mode: str, **changes: Any) -> dict[str, Any]:
    case = f"{NAME}:gfx942:e4m3fn:bs{FATAL_BLOCK_SIZE}:mode={mode},number=0:tagged:s0"
    mine = {"case": case, "cases": [f"*mode={mode}*"], "provider": "rocassay", "checks": ["crash"]}
    return {**ENTRY, **mine, **changes}


def test_one_case_again_is_known_as_in_a_run_and_without_its_entry_red(children: Children, tmp_path: Path):
    entry, path = toy_entry("raises", issue="a/b#1"), tmp_path / "mine.json"
    path.write_text(json.dumps([entry]))
    known = children.rocassay("repro", entry["case"], "--waivers", path)
    assert (known.code, "known;" in known.out) == (0, True), known
    assert children.rocassay("repro", entry["case"]).code == 1


def test_a_run_with_waivers_is_green_until_one_expires(children: Children, tmp_path: Path):
    entries = [toy_entry("raises", issue="a/b#1"), toy_entry("fine", issue="a/b#2")]
    for name, some in (("one", entries[:1]), ("two", entries)):
        (tmp_path / f"{name}.json").write_text(json.dumps(some))
    cases = [f"--rocassay-case={entry['case']}" for entry in entries]
    command = (*PYTEST, *cases, f"--rocassay-out={tmp_path}", f"--junitxml={tmp_path / 'junit.xml'}")
    green = children(*command, f"--rocassay-waivers={tmp_path / 'one.json'}")
    assert green.code == 0, green.out
    assert "cases: 1 passed, 1 known" in green.out
    assert "a/b#1: 1 known" in green.out
    junit = (tmp_path / "junit.xml").read_text()
    assert 'type="pytest.xfail" message="a/b#1: a part without keys' in junit
    assert 'name="rocassay.status" value="known"' in junit
    red = children(*command, f"--rocassay-waivers={tmp_path / 'two.json'}", "--rocassay-resume")
    assert red.code == 1, red
    (expired,) = [found for found in read(tmp_path / "results.jsonl").cases if found.status not in GREEN]
    assert expired.reason.startswith("waiver a/b#2 expired: ")
