"""What a provider asks of a foreign tree's signatures: which call its release takes, what it lacks, what is strange."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

import pytest

from rocassay.harness.contract.declared import Call as Declared
from rocassay.harness.contract.declared import arguments
from rocassay.harness.contract.errors import ContractError
from rocassay.harness.engines.interpreter import InterpreterEngine
from rocassay.harness.judge import Judge
from rocassay.harness.ops import Op, register
from rocassay.harness.providers.foreign import Adapter, Call, Foreign
from rocassay.harness.providers.signatures import NoConvention, Signatures
from rocassay.harness.providers.trees import Project, Tree, tree_of
from rocassay.harness.providers.world import World
from rocassay.harness.results import CaseRecord, Status
from rocassay.suites.selftest.toys import toy_case, toy_op

PROJECT = Project("toylib", "toy-lib", ("ops/new.py", "ops/old.py"))
PATHS = ("toylib.ops.new:double", "toylib.ops.old:double")
SCALED = Declared("scaled", "us", PATHS, arguments("x", "factor: float", "out/result"))
PLAIN = Declared("plain", "us", PATHS, arguments("x", "out/result"))
EXACT = Declared("exact", "us", PATHS, arguments("x", "factor: float", "out/result"), arguments("exact: bool"))
BOTH = (SCALED, PLAIN)
OLD = "def double(x, result):\n    result.copy_(2 * x)\n"
NEW = "def double(x, factor, out, exact=False):\n    out.copy_(factor * x)\n"
STRANGE = "def double(x, scale, factor, out):\n    raise AssertionError\n"


def tree(root: Path, **modules: str) -> Tree:
    for name, text in {"__init__": "raise ImportError\n", **modules}.items():
        path = root / "toylib" / f"{name.replace('__', '/') if name[0] != '_' else name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tree_of(PROJECT, str(root))


def signatures(root: Path, **modules: str) -> Signatures:
    return Signatures(PROJECT, tree(root, **modules))


def bind(call: Call) -> None:
    call.perform(BOTH, x=call["x"][:, :-1], factor=2.0, out=call["out"][:, :-1])


def toy_world(tree: Tree, arch: str, fp8: str) -> World:
    held = [name for name in ("toylib.ops.new", "toylib.ops.old") if tree.holds(f"{name.replace('.', '/')}.py")]
    return World(tree, "toylib", held, {})


def judged(root: Path, **adapter: object) -> CaseRecord:
    parts: dict[str, object] = {"source": PATHS[0], "bind": bind, "uses": lambda _: (BOTH,), **adapter}
    who = Foreign(PROJECT, str(root), {"toy": (Adapter(**parts),)}, toy_world)  # type: ignore[arg-type]
    return Judge(who, InterpreterEngine(), "quick", "")(toy_case())


@pytest.fixture
def toy(registry: None) -> Op:
    return register(toy_op())


@pytest.mark.parametrize(("module", "text"), [("new", NEW), ("old", OLD)])
def test_one_adapter_runs_on_releases_that_take_different_calls(tmp_path: Path, toy: Op, module: str, text: str):
    tree(tmp_path, **{f"ops__{module}": text})
    record = judged(tmp_path)
    assert (record.status, record.reason, record.source) == (Status.PASSED, "", f"toylib.ops.{module}:double")


def test_of_several_calls_the_first_that_binds_is_made(tmp_path: Path):
    found = signatures(tmp_path, ops__new=NEW, ops__old=OLD)
    assert found.accepted(BOTH).call is SCALED
    assert found.accepted((EXACT, PLAIN)).call is EXACT
    older = signatures(tmp_path / "older", ops__old=OLD)
    assert (older.accepted(BOTH).call, older.accepted(BOTH).path) == (PLAIN, PATHS[1])
    with pytest.raises(NoConvention, match=r"takes no call that is known of double \(exact: positional slot"):
        older.accepted((EXACT,))


def test_what_a_release_lacks_is_said_by_name(tmp_path: Path):
    older = signatures(tmp_path, ops__old=OLD)
    assert older.lacks((BOTH,)) is None
    assert older.lacks(((EXACT,),)) == "double of this release has no factor, exact"
    assert older.lacks((BOTH, (EXACT,))) == "double of this release has no factor, exact"
    gone = Declared("gone", "us", ("toylib.ops.old:halve",), arguments("x"))
    assert older.lacks(((gone,),)) == "this release has no halve"


def test_a_call_that_has_all_its_names_and_does_not_bind_is_strange_and_lacks_nothing(tmp_path: Path, toy: Op):
    found = signatures(tmp_path, ops__new=STRANGE)
    assert found.lacks((BOTH,)) is None
    said = found.strange((BOTH,))
    assert said is not None
    assert said.startswith("double of this release takes another call than ours: positional slot has another name")
    record = judged(tmp_path)
    assert (record.status, record.offered) == (Status.NOT_RUN, True)
    assert "takes another call than ours" in record.reason


def test_functions_that_take_anything_lack_nothing(tmp_path: Path):
    assert signatures(tmp_path, ops__new="def double(x, *rest, **more): ...\n").lacks(((EXACT,),)) is None


def test_a_release_that_outgrew_an_adapter_is_declined_with_its_reason(tmp_path: Path, toy: Op):
    tree(tmp_path, ops__new=NEW)
    record = judged(tmp_path, barred=(((EXACT,), "this release doubles elsewhere"),))
    assert (record.offered, record.reason) == (False, "this release doubles elsewhere")


def test_a_binary_is_that_of_what_is_installed(tmp_path: Path, toy: Op, monkeypatch: pytest.MonkeyPatch):
    tree(tmp_path, ops__new=NEW)
    said = "it is a binary of the toy-lib that is installed, and the source is another"
    assert judged(tmp_path, native=True).reason == said
    monkeypatch.syspath_prepend(tmp_path)
    assert "only a ROCm device runs it" in judged(tmp_path, native=True).reason


def test_a_call_made_without_a_value_is_refused():
    assert EXACT.arranged({"x": 1, "factor": 2, "out": 3, "exact": True, "more": 5}) == ((1, 2, 3), {"exact": True})
    with pytest.raises(ContractError, match="call 'exact' is made without factor, exact; pass None for what is absent"):
        EXACT.arranged({"x": 1, "out": 3})


def test_signatures_of_a_wheel_are_read_without_unpacking_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "home")
    wheel = tmp_path / "toy_lib-1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("toylib/__init__.py", "")
        archive.writestr("toylib/ops/old.py", OLD)
    assert Signatures(PROJECT, tree_of(PROJECT, str(wheel))).accepted(BOTH).call is PLAIN
    assert not (tmp_path / "home").exists()


def test_a_module_that_a_world_leaves_out_cannot_be_imported(tmp_path: Path):
    text = "try:\n    from toylib.gpu import kernel\nexcept ImportError:\n    kernel = None\n"
    found = tree(tmp_path, ops__new=text)
    assert World(found, "toylib", ["toylib.ops.new"], {}, ["toylib.gpu"]).module("toylib.ops.new").kernel is None
    assert World(found, "toylib", ["toylib.ops.new"], {}).module("toylib.ops.new").kernel is not None
    assert "toylib" not in sys.modules
