"""Another project's kernels: where they lie, the world in which they are imported, and adapters that call them."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
import triton
import triton.language as tl

from rocassay.harness.engines.interpreter import InterpreterEngine
from rocassay.harness.engines.isa.engine import IsaEngine
from rocassay.harness.judge import Judge
from rocassay.harness.ops import Op, register
from rocassay.harness.providers import BadProvider, Offer, provider
from rocassay.harness.providers.foreign import Adapter, Call, Foreign, untuned
from rocassay.harness.providers.trees import UNKNOWN, BadSource, Folder, Project, Tree, Wheel, tree_of
from rocassay.harness.providers.world import Absent, Placeholder, World
from rocassay.harness.results import Status
from rocassay.suites.selftest.toys import ROWS, toy_case, toy_op

PROJECT = Project("toylib", "toy-lib", "ops/double.py", "a library of toys")
METADATA = "Metadata-Version: 2.1\nName: toy-lib\nVersion: 4.2\n"
INIT = "raise ImportError('the extension needs a GPU')\n"
DOUBLE = """
import toylib._native
from toylib import tuning as tunes
from toylib.config import Config, FACTOR
from toylib.platform import current
from toylib.types import Base, Kind
from toylib.triton_utils import tl, triton


@triton.jit
def _double_kernel(x, out, x_stride, out_stride, COLUMNS: tl.constexpr, BLOCK: tl.constexpr, FACTOR: tl.constexpr):
    row, column = tl.program_id(0), tl.arange(0, BLOCK)
    inside = column < COLUMNS
    value = tl.load(x + row * x_stride + column, mask=inside)
    tl.store(out + row * out_stride + column, value * FACTOR, mask=inside)


class Launcher(Base[Config]):
    def __call__(self, x: "torch.Tensor", out, kind: Kind | None = None) -> Config | None:
        assert x.is_cuda and not out.is_cpu, "on a GPU only"
        assert x.shape == out.shape, (x.shape, out.shape)
        columns = x.shape[1] - 1
        grid = (x.shape[0],)
        factor = FACTOR if current.doubles() else 3
        strides = (x.stride(0), out.stride(0))
        _double_kernel[grid](x, out, *strides, COLUMNS=columns, BLOCK=128, FACTOR=factor, num_warps=1)


double = Launcher()


def tuned(x, out):
    if tunes.best(x) > 1:
        double(x, out)
"""
FILES = {
    "toylib/__init__.py": INIT,
    "toylib/ops/__init__.py": INIT,
    "toylib/ops/double.py": DOUBLE,
    "toylib/config.py": "FACTOR = 2\n\n\nclass Config:\n    pass\n",
    "toy_lib-4.2.dist-info/METADATA": METADATA,
}
"""A library that does not import: its package needs a GPU, and so do its platform layer and its extension."""

MODULES = ("toylib.ops.double", "toylib.config")


class Platform:
    """What the library asks about the chip."""

    def __init__(self, arch: str) -> None:
        self._arch = arch

    def doubles(self) -> bool:
        """Only gfx942 does."""
        return self._arch == "gfx942"


def toy_world(tree: Tree, arch: str, fp8: str) -> World:
    facades: dict[str, dict[str, Any]] = {
        "toylib.platform": {"current": Platform(arch)},
        "toylib.triton_utils": {"tl": tl, "triton": triton},
    }
    return World(tree, "toylib", MODULES, facades)


def bind(call: Call) -> None:
    call.function("toylib.ops.double:double")(call["x"], call["out"])


def bind_tuned(call: Call) -> None:
    call.function("toylib.ops.double:tuned")(call["x"], call["out"])


def bind_dense(call: Call) -> None:
    with call.staged("out") as out:
        assert out.is_contiguous()
        call.function("toylib.ops.double:double")(call.dense("x"), out)


def foreign(source: Path | str, **adapter: Any) -> Foreign:
    parts: dict[str, Any] = {"source": "toylib.ops.double:double", "bind": bind, **adapter}
    return Foreign(PROJECT, str(source), {"toy": (Adapter(**parts),)}, toy_world)


@pytest.fixture
def unpacked(tmp_path: Path) -> Path:
    folder = tmp_path / "tree"
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "home")
    path = tmp_path / "toy_lib-4.2-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in FILES.items():
            archive.writestr(name, text)
    return path


@pytest.fixture
def toy(registry: None) -> Op:
    return register(toy_op())


def test_a_wheel_is_unpacked_file_by_file_and_once(wheel: Path, tmp_path: Path):
    tree = tree_of(PROJECT, str(wheel))
    assert (tree.version, tree.name) == ("4.2", "toy-lib")
    file = tree.file("toylib/ops/double.py")
    assert file.read_text() == DOUBLE
    assert [path.name for path in (tmp_path / "home").rglob("*") if path.is_file()] == ["double.py"]
    file.write_text("changed = 1\n")
    assert Wheel(wheel).file("toylib/ops/double.py").read_text() == "changed = 1\n"
    wheel.touch()
    with zipfile.ZipFile(wheel, "a") as archive:
        archive.writestr("toylib/more.py", "")
    assert Wheel(wheel).file("toylib/ops/double.py").read_text() == DOUBLE, "another wheel has a place of its own"


def test_a_home_that_cannot_be_written_is_no_reason_to_fail(wheel: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Path, "home", lambda: wheel)
    assert tree_of(PROJECT, str(wheel)).file("toylib/config.py").read_text() == FILES["toylib/config.py"]


def test_a_folder_is_the_tree_or_the_package_in_it(unpacked: Path):
    for source in (unpacked, unpacked / "toylib"):
        tree = tree_of(PROJECT, str(source))
        assert tree.file("toylib/config.py") == unpacked / "toylib/config.py"
        assert tree.version == "4.2"
    (unpacked / "toy_lib-4.2.dist-info" / "METADATA").unlink()
    assert tree_of(PROJECT, str(unpacked)).version == UNKNOWN


BAD: dict[str, tuple[str, str]] = {
    "nothing": ("gone", "there is no .*gone; name a tree or a wheel of toy-lib"),
    "no package": ("toy_lib-4.2.dist-info", "holds no package toylib; name a tree"),
    "no archive": ("toylib/config.py", "is no wheel that can be read"),
}


@pytest.mark.parametrize(("name", "message"), BAD.values(), ids=BAD)
def test_a_source_without_the_code_is_refused(unpacked: Path, name: str, message: str):
    with pytest.raises(BadSource, match=message):
        foreign(unpacked / name)


def test_a_stranger_of_the_same_name_is_called_by_its_name(unpacked: Path, toy: Op, monkeypatch: pytest.MonkeyPatch):
    (unpacked / "toylib/ops/double.py").unlink()
    said = r"holds toy-lib 4\.2, a library of toys, without ops/double\.py; name a tree or a wheel of toy-lib"
    with pytest.raises(BadSource, match=said):
        foreign(unpacked)
    monkeypatch.syspath_prepend(unpacked)
    record = Judge(foreign(""), InterpreterEngine(), "quick", "")(toy_case())
    assert (record.status, record.offered) == (Status.NOT_RUN, True)
    assert "a library of toys" in record.reason


def test_what_is_installed_is_found_without_being_imported(unpacked: Path, toy: Op, monkeypatch: pytest.MonkeyPatch):
    absent = Judge(foreign(""), InterpreterEngine(), "quick", "")(toy_case())
    assert (absent.status, absent.offered) == (Status.NOT_RUN, True)
    assert "toylib is not installed" in absent.reason
    monkeypatch.syspath_prepend(unpacked)
    found = Judge(foreign(""), InterpreterEngine(), "quick", "")(toy_case())
    assert (found.status, found.versions["toy-lib"]) == (Status.PASSED, "4.2")
    assert not [name for name in sys.modules if name.startswith("toylib")]


@pytest.mark.parametrize("engine", [InterpreterEngine, IsaEngine])
def test_a_foreign_kernel_is_judged_out_of_a_wheel(wheel: Path, toy: Op, engine: type[Any]):
    record = Judge(foreign(wheel), engine(), "quick", "")(toy_case())
    assert (record.status, record.reason) == (Status.PASSED, "")
    assert record.launches == ("_double_kernel",)
    assert record.source == "toylib.ops.double:double"
    assert f"--source {wheel}" in record.repro
    other = Judge(foreign(wheel), engine(), "quick", "")(toy_case(arch="gfx950"))
    assert other.status is Status.FAILED, "there the library triples"


def test_operands_that_must_be_contiguous_are_copied_and_written_back(wheel: Path, toy: Op):
    record = Judge(foreign(wheel, bind=bind_dense), InterpreterEngine(), "quick", "")(toy_case())
    assert (record.status, record.reason) == (Status.PASSED, "")
    column = torch.zeros(2, ROWS)
    call = Call(toy_case(), {"out": column.T}, toy_world(tree_of(PROJECT, str(wheel)), "gfx942", "e4m3fn"))
    with call.staged("out") as stage:
        stage += 1
    assert column.eq(1).all()


def test_a_module_finds_what_lies_beside_it(unpacked: Path):
    (unpacked / "toylib/config.py").write_text("from .units import TWO as FACTOR\n")
    (unpacked / "toylib/units.py").write_text("TWO = 2\n")
    world = World(Folder(unpacked), "toylib", ("toylib.config", "toylib.units"), {})
    assert world.module("toylib.config").FACTOR == 2


def test_integers_that_the_caller_has_on_the_host_are_no_wait(wheel: Path, toy: Op):
    def bind_counted(call: Call) -> None:
        call.function("toylib.ops.double:double")(call["x"], call["out"])
        rows = Call(call.case, {"rows": torch.arange(ROWS)}, call.world)
        assert rows.host("rows").tolist() == list(range(ROWS))

    record = Judge(foreign(wheel, bind=bind_counted), InterpreterEngine(), "quick", "")(toy_case())
    assert (record.status, record.reason) == (Status.PASSED, "")


def test_a_path_that_leaves_the_world_says_what_it_wanted(wheel: Path, toy: Op):
    record = Judge(foreign(wheel, bind=bind_tuned), InterpreterEngine(), "quick", "")(toy_case())
    assert record.status is Status.CRASHED
    assert "toylib.tuning.best was used, and is none of the modules that are judged" in record.reason


def test_what_an_adapter_does_not_offer_is_declined(wheel: Path, toy: Op):
    who = foreign(wheel, offer=Offer(arches=("gfx950",)))
    record = Judge(who, InterpreterEngine(), "quick", "")(toy_case())
    assert (record.offered, record.reason, record.source) == (False, "arch gfx942 is not among gfx950", "")


def test_only_the_launchers_assertions_of_a_device_are_dropped(unpacked: Path):
    world = toy_world(Folder(unpacked), "gfx942", "e4m3fn")
    line = next(i for i, text in enumerate(DOUBLE.splitlines(), 1) if "is_cuda" in text)
    assert world.dropped() == [f"toylib.ops.double:{line} x.is_cuda and (not out.is_cpu)"]
    double = world.module("toylib.ops.double").double
    with pytest.raises(AssertionError):
        double(torch.zeros(2, 3), torch.zeros(2, 4))
    kernel = "@triton.jit\ndef f(x):\n    assert x.is_cuda\n\n\ndef g(x):\n    assert x.is_cuda\n    return 7\n"
    (unpacked / "toylib/config.py").write_text(f"import triton\n\n{kernel}")
    assert World(Folder(unpacked), "toylib", ("toylib.config",), {}).dropped() == ["toylib.config:9 x.is_cuda"]


def test_a_world_leaves_python_as_it_was(unpacked: Path, monkeypatch: pytest.MonkeyPatch):
    mine = type(sys)("toylib")
    monkeypatch.setitem(sys.modules, "toylib", mine)
    finders = list(sys.meta_path)
    world = toy_world(Folder(unpacked), "gfx942", "e4m3fn")
    module = world.module("toylib.ops.double")
    assert world.module("toylib.ops.double") is module
    with world.entered():
        assert sys.modules["toylib"] is not mine
    with pytest.raises(BadSource, match=r"has no toylib/gone\.py"):
        World(Folder(unpacked), "toylib", ("toylib.gone",), {}).module("toylib.gone")
    assert sys.modules["toylib"] is mine
    assert sys.meta_path == finders
    assert [name for name in sys.modules if name.startswith("toylib.")] == []


def test_a_placeholder_annotates_and_is_derived_from_but_not_used():
    name = Placeholder("lib.Config")
    assert isinstance(type("Derived", (object,), {"config": name | None}), type)
    for use in (lambda: name(), lambda: bool(name), lambda: name == 3, lambda: list(name), lambda: name.a.b()):
        with pytest.raises(Absent, match=r"lib\.Config"):
            use()


def test_an_autotuned_kernel_takes_its_first_configuration_where_nothing_can_be_timed():
    configs = [triton.Config({"BLOCK": size}) for size in (32, 64)]
    blocks = []

    class Kernel:
        """What an autotuner wraps."""

        def run(self, *_: Any, **keywords: Any) -> None:
            """Note the configuration."""
            blocks.append(keywords["BLOCK"])

    tuner = triton.runtime.autotuner.Autotuner.__new__(triton.runtime.autotuner.Autotuner)
    tuner.fn, tuner.configs = Kernel(), configs
    former = triton.runtime.autotuner.Autotuner.run
    with untuned():
        tuner.run()
    assert blocks == [32]
    assert triton.runtime.autotuner.Autotuner.run is former


def test_a_shipped_foreign_provider_is_found_by_its_name(tmp_path: Path):
    with pytest.raises(BadSource, match=r"there is no .*gone"):
        provider("vllm", str(tmp_path / "gone"))
    with pytest.raises(BadProvider, match=r"choose one that takes it: .*vllm"):
        provider("torch", str(tmp_path))
