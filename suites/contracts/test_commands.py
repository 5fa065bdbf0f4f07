"""`rocassay contract`: sources, versions, verdicts, exit codes, and one clear error for what cannot be read."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from rocassay.harness.contract.declared import Call, Contract, arguments
from rocassay.harness.contract.errors import ContractError
from rocassay.suites.contracts.trees import CONTRACT, DECODE, HEALTHY, wheel, write
from rocassay.suites.selftest.commandline import Rocassay

BROKEN = {**HEALTHY, "toy/ops.py": "def decode(q, out, rows, page_size=1, causal=True): ...\n"}
BRICKS = {"toy/__init__.py": "", "toy/bricks.py": ""}
OF_TOY = ("--of", "toy")


def verdicts(rocassay: Rocassay, *words: object) -> dict[str, tuple[str, bool]]:
    """call -> (verdict, whether it must bind)."""
    return {each["call"]: (each["verdict"], each["due"]) for each in rocassay(*words, "--json").json["calls"]}


@pytest.mark.usefixtures("toy")
@pytest.mark.parametrize("form", ["folder", "src", "package", "wheel"])
def test_a_version_is_read_from(rocassay: Rocassay, tmp_path: Path, form: str):
    root = tmp_path / "lib"
    if form == "wheel":
        source = wheel(tmp_path / "toy_kernels-1.0-py3-none-any.whl", HEALTHY)
    else:
        write(root / "src" if form == "src" else root, {**HEALTHY, "toy/_version.py": "__version__ = '1.0'\n"})
        source = root / "toy" if form == "package" else root
    done = rocassay("contract", source, *OF_TOY, "--json")
    assert done.code == 0
    assert done.json["source"]["version"] == "1.0"
    assert "toy" not in sys.modules
    assert verdicts(rocassay, "contract", source, *OF_TOY) == {
        "decode": ("binds", True),
        "paged": ("missing function", False),
    }


@pytest.mark.usefixtures("toy")
def test_a_call_that_must_bind_and_does_not_is_red(rocassay: Rocassay, tmp_path: Path):
    done = rocassay("contract", wheel(tmp_path / "a.whl", BROKEN), *OF_TOY)
    assert done.code == 1
    assert "unexpected keyword" in done.out
    assert "no parameter is called scale" in done.out
    assert done.out.rstrip().endswith("1 do not and need not in this version; 1 that must bind does not")


@pytest.mark.usefixtures("toy")
def test_what_must_bind_depends_on_the_version(rocassay: Rocassay, tmp_path: Path):
    unknown = write(tmp_path / "unknown", HEALTHY)
    told = ("contract", unknown, *OF_TOY)
    assert verdicts(rocassay, *told)["paged"] == ("missing function", True)
    assert verdicts(rocassay, *told, "--version", "1.9")["paged"][1] is False
    assert verdicts(rocassay, *told, "--version", "1.9", "--every")["paged"][1] is True
    assert rocassay(*told).code == 1
    assert rocassay(*told, "--version", "1.9").code == 0
    assert rocassay(*told, "--caller", "caller").code == 0


@pytest.mark.usefixtures("toy")
def test_a_comparison_is_red_where_a_call_that_bound_broke(rocassay: Rocassay, tmp_path: Path):
    old, new = wheel(tmp_path / "old.whl", HEALTHY), wheel(tmp_path / "new.whl", BROKEN, version="1.1")
    done = rocassay("contract", old, new, *OF_TOY, "--json")
    assert done.code == 1
    assert [(each["new"]["call"], each["broken"]) for each in done.json["calls"]] == [("decode", True)]
    assert done.json["functions"][0]["details"] == ["scale renamed to page_size", "default of page_size was None, is 1"]
    assert rocassay("contract", new, old, *OF_TOY).code == 0
    assert "1 call that bound do not any more, 1 of them must" in rocassay("contract", old, new, *OF_TOY).out


def installed(monkeypatch: pytest.MonkeyPatch, root: Path, name: str, files: dict[str, str]) -> None:
    info = f"{name.replace('-', '_')}-3.0.dist-info"
    write(root, {**files, f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 3.0\n"})
    monkeypatch.syspath_prepend(str(root))


@pytest.mark.usefixtures("toy")
def test_the_installed_version_is_read_by_its_name(rocassay: Rocassay, tmp_path: Path, monkeypatch):
    installed(monkeypatch, tmp_path / "site", "toy-kernels", HEALTHY)
    assert rocassay("contract", "toy-kernels", *OF_TOY, "--json").json["source"]["version"] == "3.0"


@pytest.mark.usefixtures("toy")
@pytest.mark.parametrize("form", ["folder", "wheel", "installed"])
def test_another_distribution_of_the_name_is_named(rocassay: Rocassay, tmp_path: Path, monkeypatch, form: str):
    source: object = "toy"
    if form == "folder":
        source = write(tmp_path / "lib", BRICKS)
    elif form == "wheel":
        source = wheel(tmp_path / "toy-1.whl", {**HEALTHY, **BRICKS}, name="toy")
    else:
        installed(monkeypatch, tmp_path / "site", "toy", BRICKS)
    said = rocassay("contract", source, *OF_TOY).complaint
    assert "is the distribution 'toy', a library of bricks; what is meant is 'toy-kernels'" in said


COMPLAINTS = {
    "there is no 'nowhere'; pass a wheel, a folder, or toy-kernels for the installed one": ("nowhere",),
    "toy-kernels is not installed here; install it, or pass a wheel or a folder": ("toy-kernels",),
    "plain.txt is no wheel; pass a .whl file, or the folder": ("plain.txt",),
    "broken.whl is no wheel": ("broken.whl",),
    "empty holds no package toy; pass a version of toy-kernels": ("empty",),
    "the package toy in strange has no ops.py: it is not toy-kernels": ("strange",),
    "3 sources cannot be compared": ("empty", "empty", "empty"),
    "'new' is no version; write e.g. 0.1.20": ("healthy", "--version", "new"),
    "--version is given 2 times for 1 source": ("healthy", "--version", "1", "--version", "2"),
    "--limit -1 is below 0": ("healthy", "--limit", "-1"),
    "'nobody' calls nothing of toy; known: caller, other": ("healthy", "--caller", "nobody"),
    "there is no contract 'nothing'; known: aiter, toy": ("healthy", "--of", "nothing"),
}


@pytest.mark.usefixtures("toy")
@pytest.mark.parametrize("complaint", COMPLAINTS)
def test_one_clear_error_for(rocassay: Rocassay, tmp_path: Path, complaint: str):
    (tmp_path / "empty").mkdir()
    (tmp_path / "plain.txt").write_text("text")
    (tmp_path / "broken.whl").write_bytes(b"PK no zip")
    write(tmp_path / "strange", {"toy/__init__.py": ""})
    write(tmp_path / "healthy", HEALTHY)
    assert complaint in rocassay("contract", *OF_TOY, *COMPLAINTS[complaint]).complaint


def refuse(**wrong: object) -> Call:
    given: dict[str, object] = {"name": "f", "caller": "c", "paths": ("m:f",), **wrong}
    return Call(**given)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("wrong", "why"),
    [({"paths": ()}, "module:function"), ({"paths": ("m.f",)}, "m.f"), ({"versions": "2"}, "'>=0.1.20'")],
)
def test_a_call_that_cannot_be_checked_is_refused(wrong: dict[str, object], why: str):
    with pytest.raises(ContractError, match=why):
        refuse(**wrong)


def test_a_call_declared_twice_is_refused():
    with pytest.raises(ContractError, match="declares 'decode' of caller more than once"):
        Contract("c", "toy", "toy-kernels", ("ops.py",), (DECODE, DECODE))


def test_arguments_are_written_with_their_older_names():
    (first, second) = arguments("kv_cache/cache: uint8 [blocks]", "k")
    assert (first.names, first.note, second.names) == (("kv_cache", "cache"), "uint8 [blocks]", ("k",))
    assert CONTRACT.callers == ("caller", "other")
