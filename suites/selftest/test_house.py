"""The house: how the packages lie, and in which direction they import."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rocassay.harness.ops import discover
from rocassay.suites.selftest.children import ROOT

FOLDERS = ("harness", "kernels", "references", "reports", "suites")
REGULAR = tuple(folder for folder in FOLDERS if folder != "kernels")
LEAVES = ("arch", "fp8", "layouts")
"""What kernels and references may import of the harness."""
FUNCTION_LINES = 80
TEXTS = {".py", ".md", ".toml", ".j2", ".json", ".txt", ".yaml", ".yml", ".svg", ""}


def sources(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


def modules_of(node: ast.AST) -> Iterator[str]:
    """Full names that an import statement brings in, of rocassay only; relative imports as they are written."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    if isinstance(node, ast.ImportFrom):
        yield from (f"{'.' * node.level}{node.module or ''}.{alias.name}" for alias in node.names)


def imports(path: Path) -> dict[str, bool]:
    """rocassay modules and names that a file imports -> whether that happens inside a function."""
    found: dict[str, bool] = {}
    root = tree(path)
    inner = {
        id(node)
        for function in ast.walk(root)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(function)
    }
    for node in ast.walk(root):
        for name in modules_of(node):
            if name.startswith((".", "rocassay")):
                found[name.removeprefix("rocassay.")] = id(node) in inner
    return found


def within(name: str, *allowed: str) -> bool:
    return any(name == module or name.startswith(f"{module}.") for module in allowed)


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


each_source = pytest.mark.parametrize(
    "path", [path for folder in FOLDERS for path in sources(folder)], ids=lambda path: relative(path)
)


def test_only_kernels_is_no_regular_package():
    assert not (ROOT / "kernels" / "__init__.py").exists()
    assert all((ROOT / folder / "__init__.py").is_file() for folder in REGULAR)


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_import_package_holds_a_relative_link_to(folder: str):
    link = ROOT / "src" / "rocassay" / folder
    assert link.is_symlink()
    assert link.readlink() == Path("..") / ".." / folder


def test_the_import_package_is_typed_and_holds_nothing_else():
    names = {path.name for path in (ROOT / "src" / "rocassay").iterdir()} - {"__pycache__"}
    assert names == {"__init__.py", "py.typed", *FOLDERS}


def test_importing_kernels_at_the_repository_root_finds_no_regular_package_there():
    script = "import kernels; print(kernels.__spec__.origin)"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert str(ROOT) not in done.stdout, "it would hide the distribution `kernels` in every child started here"


@each_source
def test_imports_are_absolute_in(path: Path):
    assert [name for name in imports(path) if name.startswith(".")] == []


@pytest.mark.parametrize("path", sources("harness"), ids=relative)
def test_the_harness_knows_no_op_by_name_in(path: Path):
    text = path.read_text()
    assert [op.name for op in discover() if re.search(rf"\b{op.name}\b", text)] == []


@pytest.mark.parametrize("path", sources("harness"), ids=relative)
def test_the_harness_imports_only_itself_and_lazily_reports_in(path: Path):
    foreign = {name: lazy for name, lazy in imports(path).items() if not within(name, "harness")}
    if relative(path) in ("harness/cli/showing.py", "harness/cli/comparing.py"):
        assert [name for name, lazy in foreign.items() if not (within(name, "reports") and lazy)] == []
    else:
        assert foreign == {}


@pytest.mark.parametrize("path", [*sources("kernels"), *sources("references")], ids=relative)
def test_kernels_and_references_import_only_the_leaves_of_the_harness_and_their_own_kind_in(path: Path):
    own = relative(path).partition("/")[0]
    allowed = (own, *(f"harness.{leaf}" for leaf in LEAVES))
    assert [name for name in imports(path) if not within(name, *allowed)] == []


@pytest.mark.parametrize("path", sources("reports"), ids=relative)
def test_reports_import_only_records_errors_and_reports_in(path: Path):
    allowed = ("reports", "harness.results", "harness.errors")
    assert [name for name in imports(path) if not within(name, *allowed)] == []


@pytest.mark.parametrize("path", [path for folder in REGULAR for path in sources(folder)], ids=relative)
def test_no_function_is_longer_than_the_limit_in(path: Path):
    functions = [node for node in ast.walk(tree(path)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    lengths = {node.name: (node.end_lineno or 0) - node.lineno + 1 for node in functions}
    assert {name: length for name, length in lengths.items() if length > FUNCTION_LINES} == {}


@pytest.mark.parametrize("folder", ["kernels", "references"])
def test_every_op_has_a_file_of_its_name_in(folder: str):
    names = {path.stem for path in sources(folder)}
    assert {op.name for op in discover()} <= names


def tracked_texts() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False).stdout
    paths = [ROOT / name for name in listed.split("\0") if name]
    return [path for path in paths if path.is_file() and not path.is_symlink() and path.suffix in TEXTS]


def test_no_file_mentions_a_path_of_one_machine():
    homes = re.compile(r"(?<![\w.$}])/(?:" + "|".join(("home", "root", "work", "opt", "Users", "tmp", "mnt")) + r")/\w")
    texts = tracked_texts() or [path for folder in FOLDERS for path in sources(folder)]
    found = {relative(path): match.group() for path in texts if (match := homes.search(path.read_text()))}
    assert texts
    assert found == {}
