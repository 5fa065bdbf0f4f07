"""README's counts, tables and example: what can be known without a clock is regenerated and compared."""

from __future__ import annotations

import contextlib
import io
import json
import re

import pytest

from rocassay.harness.cases import Selection
from rocassay.harness.drills import select_drills
from rocassay.harness.engines.base import ENGINE_NAMES
from rocassay.harness.faults import catalogue
from rocassay.harness.ops import discover, select_cases
from rocassay.harness.options import Options
from rocassay.suites.docs.pages import fences, page, prose, rows
from rocassay.suites.selftest.children import ROOT

TEXT = page("README.md")
PLAIN = re.sub(r"<!-- .*? -->", "", TEXT)
CLAIM = re.compile(r"<!-- claim:([\w-]+) -->(.*?)<!-- /claim -->")
CLAIMS = CLAIM.findall(TEXT)
WORDS = {"Two": 2, "Three": 3, "Four": 4}


def counted() -> dict[str, int]:
    """What every claim must say; nothing is run. Drills are those of a machine without a GPU."""
    ops, faults = discover(), catalogue()
    codes = json.loads((ROOT / "suites" / "codegen" / "recorded.json").read_text())["codes"]
    return {
        "ops": len(ops),
        "faults": len(faults),
        "further-faults": len(faults) - len(rows(TEXT, "What it catches")),
        "quick-cases": len(select_cases("quick", Selection())),
        "full-cases": len(select_cases("full", Selection())),
        "drill-cases": len(select_drills(Options(engine="interpreter").checked())),
        "code-objects": len(codes),
        "kernels": len({code["kernel"] for code in codes.values()}),
        "engines": len(ENGINE_NAMES),
    }


def value(text: str) -> int:
    """A count as README writes it: `1982`, `10 938`, `Three`."""
    return WORDS[text] if text in WORDS else int(text.replace(" ", ""))


def test_every_claim_is_what_the_code_gives():
    truth = counted()
    assert {name for name, _ in CLAIMS} == set(truth)
    assert [(name, text) for name, text in CLAIMS if value(text) != truth[name]] == []
    assert TEXT.count("<!-- claim:") == TEXT.count("<!-- /claim -->") == len(CLAIMS)


@pytest.mark.parametrize(
    "what", [r"(?<!H200 \| )(\d[\d ]*) cases of \d+ ops", r"(\d+) more are", r"(\d+) code objects of"]
)
def test_no_count_of_the_kind_is_left_unmarked(what: str):
    said = re.findall(what, PLAIN)
    assert said
    marked = {text for _, text in CLAIMS}
    assert set(said) <= marked


def test_the_table_of_ops_has_every_op_once():
    named = [name for row in rows(TEXT, "What is judged") for name in re.findall(r"`(\w+)`", row[1])]
    assert sorted(named) == sorted(op.name for op in discover())


def test_every_op_has_as_many_faults_as_said():
    assert "at least three faults" in TEXT.replace("\n", " ")
    assert {op.name: op.faults for op in discover() if len(set(op.faults)) < 3} == {}


def test_the_table_of_engines_has_every_engine():
    heading = re.search(r"^## (.*engines)$", TEXT, re.MULTILINE)
    assert heading
    assert {row[0].strip("`") for row in rows(TEXT, heading[1])} == set(ENGINE_NAMES)


def test_the_example_prints_what_is_said():
    (code,) = fences(TEXT, "python")
    assert "## Eight lines" in TEXT
    assert len([line for line in code.splitlines() if line.strip()]) <= 8
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(code, {})  # noqa: S102  our own page
    verdict, place = printed.getvalue().splitlines()
    assert f"prints `{verdict}`" in TEXT
    assert all(f"{name}=" in place for name in ("block", "token", "byte"))


def test_every_relative_link_leads_to_a_file():
    for name in ("README.md", "CONTRIBUTING.md", *(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))):
        targets = re.findall(r"\]\((?!\w+:|#)([^)#\s]+)", prose(page(name)))
        assert [target for target in targets if not ((ROOT / name).parent / target).exists()] == [], name
