"""Differences: what became of functions and parameters between two versions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from rocassay.harness.contract.checking import check
from rocassay.harness.contract.differences import Change, compare
from rocassay.suites.contracts.trees import CONTRACT, DECODE, tree

CHANGED = {
    "q, out -> q, out, k=1": ("k=1 added", False),
    "q, out -> q, k=1, out=None": ("k=1 added as slot 2, before others", True),
    "q, out -> q, out, k": ("k added as slot 3, must be passed", True),
    "q, out -> q, out, *, k": ("k added, must be passed", True),
    "q, k=1 -> q": ("k removed", True),
    "q, kv_cache, out -> q, cache, out": ("kv_cache renamed to cache", True),
    "a, b, c -> x, y, z": ("b removed", True),
    "q, k, out -> q, out, k": ("order changed: q, k, out is now q, out, k", True),
    "q, k=1 -> q, k=2": ("default of k was 1, is 2", True),
    "q, k=1 -> q, k": ("k lost its default 1", True),
    "q, k -> q, k=1": ("k has a default now: 1", False),
    "q, k=1 -> q, *, k=1": ("k was plain, is keyword only", True),
}


def changes(tmp_path: Path, old: dict[str, str], new: dict[str, str]) -> tuple[Change, ...]:
    trees = [tree(tmp_path / name, files) for name, files in (("old", old), ("new", new))]
    reports = [check(each.source, each.contract) for each in trees]
    return compare(reports[0], reports[1], trees[0], trees[1]).changes


@pytest.mark.parametrize("signatures", CHANGED)
def test_a_parameter(tmp_path: Path, signatures: str):
    old, _, new = signatures.partition(" -> ")
    text, breaking = CHANGED[signatures]
    (change,) = changes(tmp_path, {"toy/ops.py": f"def f({old}): ..."}, {"toy/ops.py": f"def f({new}): ..."})
    details = [detail for detail in change.details if text in detail]
    assert (change.what, change.path, details, change.breaking) == ("changed", "toy.ops:f", [text], breaking)


def test_functions_are_added_removed_and_moved(tmp_path: Path):
    old = {"toy/ops.py": "def gone(): ...\ndef f(q): ...\ndef _own(): ..."}
    new = {"toy/deep/__init__.py": "", "toy/deep/f.py": "def f(q, k=1): ...\ndef came(): ..."}
    found = {each.what: each for each in changes(tmp_path, old, new)}
    assert (found["removed"].path, found["removed"].breaking) == ("toy.ops:gone", True)
    assert (found["added"].path, found["added"].breaking) == ("toy.deep.f:came", False)
    moved = found["moved"]
    assert (moved.path, moved.moved_to, moved.details, moved.breaking) == (
        "toy.ops:f", "toy.deep.f:f", ("k=1 added",), False,
    )  # fmt: skip


def test_a_call_that_the_new_version_need_not_take_is_lost_but_not_broken(tmp_path: Path):
    files = ({"toy/__init__.py": f"def decode(q, out, rows, {last}): ..."} for last in ("scale=None", "k"))
    old, new = (tree(tmp_path / name, each) for name, each in zip(("old", "new"), files, strict=True))
    for versions, broken in (("", 1), ("<1.1", 0)):
        contract = replace(CONTRACT, calls=(replace(DECODE, versions=versions),))
        difference = compare(check(old.source, contract), check(new.source, contract), old, new)
        assert (len(difference.lost), len(difference.broken)) == (1, broken)


def test_a_stub_changes_as_its_native_function_does(tmp_path: Path):
    stub = "@native('m')\ndef f({}): ..."
    bound = 'm.def("f", &f, py::arg("a"), py::arg("b"));'
    old = {"toy/ops.py": stub.format("b, a"), "csrc/f.h": bound}
    assert changes(tmp_path, old, {"toy/ops.py": stub.format("a, b"), "csrc/f.h": bound}) == ()
