"""Resolving: paths into a package mean what the import system would make of them, without importing anything."""

from __future__ import annotations

from pathlib import Path

import pytest

from rocassay.harness.contract.modules import Function, Opaque
from rocassay.harness.contract.tree import Absent
from rocassay.suites.contracts.trees import tree

DEEP = {"toy/deep/__init__.py": "", "toy/deep/new.py": "def f(a, b=2): ..."}
LAZY = "def __getattr__(name): ...\n"

FOUND = {
    "defined there": ({"toy/ops.py": "def f(a, b=2): ..."}, "toy.ops:f"),
    "a star re-export": ({"toy/__init__.py": "from .ops import *", "toy/ops.py": "def f(a, b=2): ..."}, "toy:f"),
    "a star of a star": (
        {"toy/__init__.py": "from .ops import *", "toy/ops.py": "from toy.deep.new import *", **DEEP},
        "toy:f",
    ),
    "an import under another name": ({"toy/__init__.py": "from .deep.new import f as g", **DEEP}, "toy:g"),
    "an alias": ({"toy/ops.py": "def f(a, b=2): ...\nold = f"}, "toy.ops:old"),
    "an attribute of an imported module": ({"toy/ops.py": "from toy.deep import new\ng = new.f", **DEEP}, "toy.ops:g"),
    "an attribute of a module's own import": ({"toy/ops.py": "import toy.deep.new as n\ng = n.f", **DEEP}, "toy.ops:g"),
    "inside an if": ({"toy/ops.py": "if HIP:\n    def f(a, b=2): ...\nelse:\n    def f(): ..."}, "toy.ops:f"),
    "a try, whose handler is not what runs": (
        {"toy/ops.py": "try:\n    from .deep.new import f\nexcept ImportError:\n    f = None", **DEEP},
        "toy.ops:f",
    ),
    "a try, whose handler defines another": (
        {"toy/ops.py": "try:\n    from .deep.new import f\nexcept ImportError:\n    def f(): ...", **DEEP},
        "toy.ops:f",
    ),
    "the last of two definitions": ({"toy/ops.py": "def f(): ...\ndef f(a, b=2): ..."}, "toy.ops:f"),
    "a definition after a star": (
        {"toy/ops.py": "from .other import *\ndef f(a, b=2): ...", "toy/other.py": "def f(): ..."},
        "toy.ops:f",
    ),
    "a star after a definition": (
        {"toy/ops.py": "def f(): ...\nfrom .other import *", "toy/other.py": "def f(a, b=2): ..."},
        "toy.ops:f",
    ),
    "modules that import each other": (
        {"toy/ops.py": "from .other import *", "toy/other.py": "from .ops import *\ndef f(a, b=2): ..."},
        "toy.ops:f",
    ),
    "a lambda": ({"toy/ops.py": "f = lambda a, b=2: a"}, "toy.ops:f"),
    "a class": ({"toy/ops.py": "class f:\n    def __init__(self, a, b=2): ..."}, "toy.ops:f"),
    "an old name of a module": ({"toy/__init__.py": 'MAP = {"old": "deep.new"}', **DEEP}, "toy.old:f"),
    "a lazy name": ({"toy/__init__.py": f'{LAZY}NAMES = {{"f": ".deep.new"}}', **DEEP}, "toy:f"),
    "a lazy name with its own": ({"toy/__init__.py": f'{LAZY}NAMES = {{"g": (".deep.new", "f")}}', **DEEP}, "toy:g"),
    "a decorated function": ({"toy/ops.py": "@native('m')\n@other.guard\ndef f(a, b=2): ..."}, "toy.ops:f"),
    "an op by decorator": ({"toy/ops.py": "@torch.library.custom_op('ns::f')\ndef g(a, b=2): ..."}, "torch.ops.ns:f"),
    "an op by call": (
        {"toy/ops.py": "def g(a, b=2): ...\nregister_custom_op(op_name='f', op_func=g, mutates_args=[])"},
        "torch.ops.any:f",
    ),
    "an op by schema": ({"toy/ops.py": "lib.define('f(Tensor a, int b=2) -> Tensor')"}, "torch.ops.ns:f"),
    "a native op": (
        {"csrc/ops.cpp": 'TORCH_LIBRARY(ns, m) {\n  m.def("ns::f(Tensor a, int b=2)"\n        " -> ()");\n}'},
        "torch.ops.ns:f",
    ),
}

ABSENT = {
    "toy.other has no f": ({"toy/ops.py": "from .other import *", "toy/other.py": "from .ops import *"}, "toy.other:f"),
    "there is no module toy.gone": ({}, "toy.gone:f"),
    "toy.ops has no f": ({"toy/ops.py": "g = 1"}, "toy.ops:f"),
    "toy has no f": (
        {"toy/__init__.py": "from .ops import *", "toy/ops.py": "__all__ = ['g']\ndef f(): ..."},
        "toy:f",
    ),
    "toy has no _f": ({"toy/__init__.py": "from .ops import *", "toy/ops.py": "def _f(): ..."}, "toy:_f"),
    "toy.ops imports f from toy.gone, which is not there": ({"toy/ops.py": "from .gone import f"}, "toy.ops:f"),
    "toy.ops imports f from torch, which is outside the package": ({"toy/ops.py": "from torch import f"}, "toy.ops:f"),
    "nothing registers ns::f": ({"toy/ops.py": "def f(): ..."}, "torch.ops.ns:f"),
}


@pytest.mark.parametrize("name", FOUND)
def test_a_path_leads_to(tmp_path: Path, name: str):
    files, path = FOUND[name]
    found = tree(tmp_path, files).resolve(path)
    assert isinstance(found, Function), found
    assert str(found.signature) == "(a, b=2)"


@pytest.mark.parametrize("why", ABSENT)
def test_a_path_leads_nowhere(tmp_path: Path, why: str):
    files, path = ABSENT[why]
    assert tree(tmp_path, files).resolve(path) == Absent(why)


def test_a_value_that_only_running_would_tell_is_said_to_be_one(tmp_path: Path):
    found = tree(tmp_path, {"toy/ops.py": "f = compiled(g)"}).resolve("toy.ops:f")
    assert isinstance(found, Opaque)
    assert (found.text, found.line) == ("compiled(g)", 1)


def test_a_file_that_is_no_python_is_named(tmp_path: Path):
    found = tree(tmp_path, {"toy/ops.py": "def f(:"}).resolve("toy.ops:f")
    assert isinstance(found, Absent)
    assert found.why.startswith("toy.ops is no Python that can be read here")


@pytest.mark.parametrize(
    "signature", ["(a, /, b, *, c=1)", "(a, b=2, *rest, c, **more)", "(a=1, /)", "(*, k=None)", "()", "(a: int = 3)"]
)
def test_a_signature_is_written_as_it_was_read(tmp_path: Path, signature: str):
    found = tree(tmp_path, {"toy/ops.py": f"def f{signature}: ..."}).resolve("toy.ops:f")
    assert isinstance(found, Function)
    assert str(found.signature) == signature.replace(": int = ", "=")
