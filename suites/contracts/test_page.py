"""docs/contract.md: its verdicts are those there are, its numbers those of the declared calls, its example runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from rocassay.harness.contract import declared
from rocassay.harness.contract.binding import Kind
from rocassay.suites.contracts.aiter import CONTRACT
from rocassay.suites.contracts.trees import write
from rocassay.suites.docs.pages import fences, page, rows
from rocassay.suites.selftest.commandline import Rocassay

PAGE = page("docs/contract.md")


def test_every_verdict_is_explained():
    assert [verdict for verdict, _ in rows(PAGE, "What becomes of a call")] == ["binds", *(kind.value for kind in Kind)]


def test_the_counts_are_those_of_the_declared_calls():
    every, *of_callers = map(int, re.findall(r"The (\d+) calls are (\d+) of vLLM 0\.33 and (\d+) of", PAGE)[0])
    assert every == len(CONTRACT.calls)
    assert of_callers == [len(CONTRACT.of([caller])) for caller in CONTRACT.callers]


def test_the_example_is_a_contract(rocassay: Rocassay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    known = dict(declared.contracts())
    monkeypatch.setattr(declared, "_DECLARED", known)
    exec(compile(fences(PAGE, "python")[0], "docs/contract.md", "exec"), {})  # noqa: S102
    head = "def top_k_per_row_decode(logits, next_n, seqLens, indices, numRows, stride0, stride1"
    tree = {"aiter/__init__.py": "", "aiter/ops/attention.py": "", "aiter/ops/__init__.py": ""}
    old = write(tmp_path / "old", {**tree, "aiter/ops/topk.py": f"{head}): ..."})
    new = write(tmp_path / "new", {**tree, "aiter/ops/topk.py": f"{head}, k=2048, stable=False): ..."})
    assert [rocassay("contract", source, "--of", "server").code for source in (old, new)] == [1, 0]
