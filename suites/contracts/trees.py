"""Small packages that tests write, and the contract with them."""

from __future__ import annotations

import textwrap
import zipfile
from collections.abc import Mapping
from pathlib import Path

from rocassay.harness.contract.checking import Result, check_call
from rocassay.harness.contract.declared import Call, Contract, Lookalike, arguments
from rocassay.harness.contract.sources import open_source
from rocassay.harness.contract.tree import Tree

DECODE = Call(
    "decode", "caller", ("toy:decode",), arguments("q", "out", "rows"), arguments("scale"),
    relies=(("causal", "True"),),
)  # fmt: skip

CONTRACT = Contract(
    name="toy",
    package="toy",
    distribution="toy-kernels",
    signs=("ops.py",),
    calls=(DECODE, Call("paged", "other", ("toy:paged",), versions=">=2")),
    lookalikes=(Lookalike("toy", "a library of bricks", "bricks.py"),),
    native=("csrc",),
    stub="native",
    stub_name="calls",
)

HEALTHY = {
    "toy/__init__.py": "from .ops import *\n",
    "toy/ops.py": "def decode(q, out, rows, scale=None, causal=True): ...\n",
}


def write(root: Path, files: Mapping[str, str]) -> Path:
    """Files below a folder."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
    return root


def wheel(path: Path, files: Mapping[str, str], name: str = "toy-kernels", version: str = "1.0") -> Path:
    """A wheel of the files."""
    info = f"{name.replace('-', '_')}-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        for each, text in files.items():
            archive.writestr(each, textwrap.dedent(text))
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    return path


def tree(root: Path, files: Mapping[str, str]) -> Tree:
    """The package of these files, with an empty `__init__` and sign unless they are given."""
    write(root, {"toy/__init__.py": "", "toy/ops.py": "", **files})
    return Tree(open_source(str(root), CONTRACT), CONTRACT)


def result(root: Path, files: Mapping[str, str], call: Call) -> Result:
    """What becomes of a call into the package of these files."""
    return check_call(tree(root, files), call, due=True)


def problems(root: Path, signature: str, call: Call) -> list[str]:
    """What is wrong with a call of `toy.ops:f` with this signature."""
    return [str(each) for each in result(root, {"toy/ops.py": f"def f({signature}): ...\n"}, call).problems]
