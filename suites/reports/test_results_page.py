"""docs/results.md says what is true: its example prints what it shows, its fields are those of the models."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import pytest

from rocassay.harness.cli.app import app
from rocassay.harness.errors import RocassayError
from rocassay.harness.junit import case_properties
from rocassay.harness.results import CaseRecord, Check, Coordinate, Status
from rocassay.reports.schema import BEGIN, END, markdown, updated
from rocassay.suites.reports.runs import case, gate, run
from rocassay.suites.selftest.children import ROOT
from rocassay.suites.selftest.evaluations import written

PAGE = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")


def logits(number: int, arch: str, share: float) -> CaseRecord:
    red = share > 1
    place = Coordinate(output="logits", index=(2, 7), block=3, token=1, where={"row": 2})
    changes = {"op": "fp8_mqa_logits", "arch": arch, "params": {"tokens": 33}, "first_wrong": place if red else None}
    status = Status.FAILED if red else Status.PASSED
    return case(number, status, gate(2 * share, passed=not red), **changes)


def test_the_example_prints_what_the_page_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    made = [
        logits(n, *facts)
        for n, facts in enumerate((("gfx942", 0.71), ("gfx942", 0.5), ("gfx950", 1.5), ("gfx950", 0.7)))
    ]
    written(run(*made), tmp_path / "rocassay-out" / "results.jsonl")
    found = re.search(r"```python\n(.*?)```\n\nprints\n\n```\n(.*?)```\n", PAGE, re.DOTALL)
    assert found
    monkeypatch.chdir(tmp_path)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(found[1], {})  # noqa: S102  our own page
    assert printed.getvalue() == found[2]
    assert len(found[1].strip().splitlines()) == 5


def test_the_fields_are_those_of_the_models():
    assert updated(PAGE) == PAGE, "run `python -m rocassay.reports.schema docs/results.md`"
    assert PAGE.count(BEGIN) == PAGE.count(END) == 1


def test_every_field_of_every_record_is_explained():
    text = markdown()
    for model in (CaseRecord, Check, Coordinate):
        for name, field in model.model_fields.items():
            assert field.description, f"{model.__name__}.{name} has no docstring"
            assert f"| `{name}` |" in text
    assert "| `status` | `passed` or `failed` or `blind` or" in text
    assert "| `checks` | [[Check](#check), …], optional |" in text
    assert "| `interval` | [number, number], optional |" in text
    assert "| `kind` | `case` |" in text
    assert "| `limit` | number or null, optional |" in text
    assert "| `params` | object of integer or string |" in text
    assert text.count("### Check\n") == 1


def test_a_page_without_a_place_for_the_tables_is_refused_and_the_rest_of_one_is_kept():
    with pytest.raises(RocassayError, match="has no place for the tables"):
        updated("# nothing\n")
    changed = updated(f"before\n{BEGIN}old\n{END}after\n")
    assert changed.startswith(f"before\n{BEGIN}")
    assert changed.endswith(f"{END}after\n")
    assert "old\n" not in changed


def test_the_command_prints_the_same_tables(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as ended:
        app(["report", "schema", "--md"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == markdown()


def test_the_page_names_every_junit_property():
    record = logits(0, "gfx950", 1.5).model_copy(update={"fault": "f"})
    assert [name for name, _ in case_properties(record) if f"`{name}`" not in PAGE] == []
