"""The op table: one row per op, arch, flavour, engine and provider, whose numbers are the worst of its records."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from rocassay.harness.results import Assay, CaseRecord, Check, ResultsWriter, Status
from rocassay.reports.optable import HEADINGS, as_json, cells, html_table, markdown, op_table
from rocassay.suites.selftest.children import Children
from rocassay.suites.selftest.toys import end, header, record, toy_case


def gate(name: str, statistic: float | None, passed: bool = True, **metrics: float) -> Check:
    return Check(name=name, kind="gate", passed=passed, statistic=statistic, limit=1.0, metrics=metrics)


def table(*records: CaseRecord) -> Any:
    return op_table(Assay(Path("results.jsonl"), records=list(records)))


def one(*checks: Check, number: int = 0, **changes: Any) -> CaseRecord:
    return record(toy_case(number=number), checks=checks, **changes)


def test_records_that_differ_in_op_arch_flavour_engine_or_provider_have_rows_of_their_own():
    changes: list[dict[str, Any]] = [
        {}, {"op": "a"}, {"arch": "gfx950"}, {"fp8": "e4m3fnuz"}, {"engine": "device"}, {"provider": "torch"},
    ]  # fmt: skip
    rows = table(*(one(**change) for change in changes), one(number=1))
    assert len(rows) == 6
    assert rows[0].op == "a"
    assert sorted(row.cases for row in rows) == [1, 1, 1, 1, 1, 2]


def test_statuses_are_counted_and_the_rare_ones_named():
    statuses = (Status.PASSED, Status.PASSED, Status.FAILED, Status.CRASHED, Status.NOT_RUN, Status.NOT_RUN)
    (row,) = table(*(one(number=n, status=status) for n, status in enumerate(statuses)))
    assert (row.cases, row.passed, row.failed, row.other) == (6, 2, 1, {"crashed": 1, "not run": 2})
    assert cells(row)[HEADINGS.index("other")] == "1 crashed, 2 not run"


def test_a_measure_is_the_worst_of_all_cases_and_outputs():
    first = one(gate("worst-row", -3.0), gate("max-z", 4.0, mean_z=-0.5), gate("bound", 0.25), gate("peer", 1.125))
    second = one(gate("worst-row", 2.5), gate("max-z", 3.0, mean_z=0.25), gate("bound", 0.75), gate("peer", 0.75))
    (row,) = table(first, second.model_copy(update={"case": "other"}))
    assert (row.worst_t, row.worst_z, row.mean_z, row.peer_rms_z, row.bound_use) == (2.5, 4.0, 0.5, 0.75, 0.75)


def test_what_was_never_measured_is_a_dash_and_not_a_zero():
    (row,) = table(one(gate("bytes", 0.0), gate("peer", None)))
    assert (row.worst_t, row.worst_z, row.mean_z, row.peer_rms_z, row.bound_use) == (None,) * 5
    assert set(cells(row)[HEADINGS.index("worst t") : HEADINGS.index("total")]) == {"–"}


def test_a_gate_that_failed_without_a_number_is_infinite():
    (row,) = table(one(gate("max-z", 2.0)), one(gate("max-z", None, passed=False), number=1))
    assert cells(row)[HEADINGS.index("worst |z|")] == "∞"
    assert json.loads(as_json([row]))[0]["worst_z"] == "inf"


def test_time_is_summed_over_phases_and_cases_and_the_median_is_of_cases():
    timings = ({"run": 1.0, "judge": 2.0}, {"run": 1.0}, {"run": 20.0})
    (row,) = table(*(one(number=n, timings=found) for n, found in enumerate(timings)))
    assert (row.seconds, row.median_seconds) == (24.0, 3.0)


def test_drills_do_not_count():
    assert table(one(gate("bound", 99.0), status=Status.FAILED, fault="toy-off-by-one")) == []


def test_another_provider_is_named_beside_the_op():
    assert [cells(row)[0] for row in table(one(), one(provider="torch"))] == ["toy", "toy (torch)"]


def test_markdown_has_as_many_columns_in_every_line_and_escapes_its_bars():
    lines = markdown(table(one(), one(arch="gfx950"))).splitlines()
    assert len(lines) == 4
    assert {line.replace("\\|", "").count("|") for line in lines} == {len(HEADINGS) + 1}
    assert "worst \\|z\\|" in lines[0]


def test_html_is_one_closed_table_and_escapes_names():
    tags: list[str] = []

    class Parser(HTMLParser):
        def handle_starttag(self, tag: str, attrs: object) -> None:  # noqa: ARG002
            tags.append(tag)

        def handle_endtag(self, tag: str) -> None:
            tags.append(f"/{tag}")

    Parser().feed(html_table(table(one(op="<script>"))))
    assert "script" not in tags
    assert (tags.count("td"), tags.count("th"), tags.count("tr")) == (len(HEADINGS), len(HEADINGS), 2)
    assert all(tags.count(tag) == tags.count(f"/{tag}") for tag in ("table", "thead", "tbody", "tr", "td", "th"))


@pytest.fixture
def results(tmp_path: Path) -> Path:
    writer = ResultsWriter(tmp_path / "results.jsonl")
    for line in (header(toy_case(), planned=1), one(gate("bound", 0.5), timings={"run": 2.0}), end()):
        writer.append(line)
    writer.close()
    return tmp_path


@pytest.mark.parametrize("form", ["", "--md", "--html", "--json"])
def test_the_command_prints_the_same_numbers_in_every_form(children: Children, results: Path, form: str):
    done = children.rocassay("report", "ops", results, *filter(None, [form]))
    assert done.code == 0, done
    assert all(word in done.out for word in ("toy", "gfx942", "e4m3fn", "0.5", "2.0"))


def test_the_command_is_red_with_the_run(children: Children, results: Path):
    with (results / "results.jsonl").open("a") as stream:
        stream.write("torn")
    assert children.rocassay("report", "ops", results, "--md").code == 1


def test_two_forms_at_once_are_one_clear_error(children: Children, results: Path):
    done = children.rocassay("report", "ops", results, "--md", "--json")
    assert done.complaint == "rocassay: --md and --json exclude each other; pass one of them"
