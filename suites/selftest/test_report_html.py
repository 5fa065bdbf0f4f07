"""The reviewer's page is a pure function of the records: right words, right numbers, nothing foreign alive in it."""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from rocassay.harness.results import (
    Assay,
    CaseRecord,
    Cell,
    Check,
    Coordinate,
    ResultsWriter,
    RunEnd,
    RunHeader,
    Status,
    read,
)
from rocassay.reports import html
from rocassay.reports.html.drills import drill_table
from rocassay.reports.html.grids import error_map, safety
from rocassay.reports.html.measures import usage, worst_use
from rocassay.reports.html.model import limits
from rocassay.reports.html.rows import CHECK_FIELDS, EVERYTHING_UP_TO, GROUP_FIELDS, encode, script_json
from rocassay.reports.html.verdict import gaps, verdict, wall_time
from rocassay.reports.html.words import counted, duration, number, plain

WRONG = Coordinate(output="kv_cache", index=(3, 1, 16), block=3, token=1, byte=16, offset=144)
EXACT = Check(name="bytes", kind="gate", passed=True, statistic=0.0, limit=0.0, reason="every byte is defined")
Z = Check(
    name="max-z",
    kind="gate",
    passed=True,
    statistic=3.55,
    limit=7.1,
    reason="Gaussian tail at 7.1",
    detail="largest |z| is 3.55 in row 5",
    metrics={"rms_z": 0.94},
)
CANARY = Check(name="canary", kind="probe", passed=True, statistic=0.0, limit=0.0, reason="guard bytes are not ours")


def case(op: str = "gather", block_size: int = 1, seed: int = 0, **changes: Any) -> CaseRecord:
    params = {"tokens": 33, "scale": "ue8m0"}
    name = f"{op}:gfx942:e4m3fnuz:bs{block_size}:tokens=33,scale=ue8m0:tagged:s{seed}"
    fields: dict[str, Any] = {
        "run_id": "r1",
        "case": name,
        "op": op,
        "arch": "gfx942",
        "fp8": "e4m3fnuz",
        "block_size": block_size,
        "params": params,
        "recipe": "tagged",
        "seed": seed,
        "provider": "rocassay",
        "engine": "interpreter",
        "tier": "quick",
        "status": Status.PASSED,
        "checks": (EXACT, CANARY),
        "timings": {"inputs": 0.0021, "run": 0.25},
        "counts": {"launches": 1, "elements": 4224},
        "launches": ("_gather_kernel",),
        "digest": "9b810e766ec9d286",
        "repro": f"rocassay repro '{name}' --engine interpreter",
    }
    return CaseRecord(**{**fields, **changes})


def failed(**changes: Any) -> CaseRecord:
    check = EXACT.model_copy(
        update={"passed": False, "statistic": 1289.0, "detail": "1289 bytes differ, found 0x3f", "coordinate": WRONG}
    )
    fields: dict[str, Any] = {
        "status": Status.FAILED,
        "checks": (check, CANARY),
        "first_wrong": WRONG,
        "reason": f"bytes: 1289 bytes differ at {WRONG}",
    }
    return case(**{**fields, **changes})


def cell(op: str = "gather", block_size: int = 1) -> Cell:
    return Cell(op=op, arch="gfx942", fp8="e4m3fnuz", block_size=block_size, engine="interpreter")


def assay(*records: CaseRecord, ended: bool = True, **header: Any) -> Assay:
    fields: dict[str, Any] = {
        "run_id": "r1",
        "started": "2025-01-01T00:00:00Z",
        "command": "rocassay run",
        "tier": "quick",
        "provider": "rocassay",
        "engine": "interpreter",
        "planned": sum(record.fault is None for record in records),
        "versions": {"torch": "2.13.0"},
        "commit": "3fe9a1c+",
    }
    end = RunEnd(run_id="r1", finished="2025-01-01T00:03:39Z", seconds=219.4)
    return Assay(Path("out/results.jsonl"), [RunHeader(**{**fields, **header})], list(records), [end] if ended else [])


def visible(document: str) -> str:
    """Text of the page without markup, styles and scripts, single-spaced."""
    body = re.sub(r"<(style|script|noscript|template)\b.*?</\1>", " ", document, flags=re.DOTALL)
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]*>", " ", body)))


def embedded(document: str) -> dict[str, Any]:
    """The JSON that the case table is built from."""
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', document, re.DOTALL)
    assert found
    return json.loads(found[1])


def decoded(data: dict[str, Any], row: list[Any]) -> dict[str, Any]:
    """One row read back in the way that the page's script does."""
    (story, *own), values = data["groups"][row[0]], iter(row[5:])
    varying, rest = dict(zip(data["varying"], own, strict=True)), iter(data["stories"][story])
    group = [varying[name] if name in varying else next(rest) for name in data["group_fields"]]
    record: dict[str, Any] = dict(zip(("usage", "ms", "digest", "seed"), row[1:5], strict=True))
    record["digest"] = record["digest"] or ""
    holes = {"\x01": lambda _: next(values), "\x02": lambda _: record["digest"], "\x03": lambda _: record["case"]}

    def text(index: int, statistic: Any = None) -> str:
        fill = {**holes, "\x04": lambda _: statistic}
        return re.sub("[\x01-\x04]", lambda hole: str(fill[hole[0]](None)), data["strings"][index])

    for name, index in zip(GROUP_FIELDS[:-1], group, strict=False):
        record[name] = text(index)
        if name == "case" and not record["case"]:
            axes = ("op", "arch", "fp8", "block_size", "params", "recipe")
            record["case"] = "{}:{}:{}:bs{}:{}:{}".format(*(record[a] for a in axes)) + f":s{record['seed']}"
    record["checks"] = []
    for shape in (data["shapes"][index] for index in group[-1]):
        check = dict(zip(CHECK_FIELDS, shape, strict=True))
        check["statistic"] = next(values) if check["statistic"] is True else check["statistic"]
        for name in ("name", "kind", "reason", "detail", "coordinate", "metrics"):
            check[name] = text(check[name], check["statistic"])
        record["checks"].append(check)
    assert next(values, None) is None
    return record


def test_a_green_run_says_pass_and_that_everything_expected_ran() -> None:
    text = visible(html.render(assay(case(), case(seed=1), expected=(cell(),))))
    assert "PASS 2 cases passed" in text
    assert "Everything that was expected ran: 1 cell, 2 cases." in text
    assert "3 min 39 s" in text
    assert "torch 2.13.0" in text
    assert "3fe9a1c+" in text


def test_a_red_run_says_fail_with_its_reason_and_the_repro_of_the_worst_case() -> None:
    crashed = case(seed=1, status=Status.CRASHED, reason="CompilationError", checks=())
    head = verdict(assay(case(), crashed, failed(seed=2)))
    assert (head.word, head.sentence) == ("FAIL", "2 of 3 cases are not green")
    assert head.first
    assert head.first.seed == 2
    text = visible(html.render(assay(case(), crashed, failed(seed=2))))
    assert head.first.repro in text
    assert "kv_cache[3, 1, 16] (block=3, token=1, byte=16, page offset=144)" in text


def test_every_red_reason_stands_on_the_page() -> None:
    red = assay(failed(), expected=(cell(), cell(block_size=16)), planned=3, drills=("swap",))
    red.problems.append("line 7 is cut off")
    text = visible(html.render(red))
    assert f"FAIL for {len(red.red_reasons())} reasons" in text
    assert len(red.red_reasons()) == 5
    assert all(reason in text for reason in red.red_reasons())


def test_a_run_that_was_cut_short_says_so() -> None:
    text = visible(html.render(assay(case(), ended=False, planned=12)))
    assert "Wall time the run was cut short" in text
    assert "11 planned cases left no record: the run was cut short." in text
    assert "Everything that was expected ran" not in text


def test_a_resumed_run_does_not_pass_its_last_part_off_as_the_whole() -> None:
    resumed = assay(case())
    resumed.headers.append(resumed.headers[0].model_copy(update={"resumed": True, "started": "2025-01-01T00:02:00Z"}))
    assert wall_time(resumed) == "3 min 39 s in the last of 2 parts; earlier parts were cut short"
    resumed.headers.append(resumed.headers[0].model_copy(update={"started": "2025-01-02T00:00:00Z"}))
    assert wall_time(resumed) == "3 min 39 s until the run was cut short"


def test_a_case_that_its_provider_does_not_offer_is_no_failure() -> None:
    found = assay(case(), case(op="score", status=Status.NOT_RUN, reason="mine has no score", checks=(), offered=False))
    head = verdict(found)
    assert (head.word, head.first) == ("PASS", None)


def test_missing_cells_are_listed_once_per_reason_with_their_block_sizes() -> None:
    refused = case(block_size=16, status=Status.NOT_RUN, reason="no such device", checks=())
    expected = (cell(), cell(block_size=16), cell(block_size=128), cell(block_size=64))
    found = gaps(assay(case(), refused, expected=expected))
    assert [(gap.block_sizes, gap.why) for gap in found] == [
        ((16,), "not run: no such device"),
        ((64, 128), "no record"),
    ]


def test_the_map_shows_the_worst_use_of_a_limit_and_the_counts() -> None:
    worse = Z.model_copy(update={"statistic": 6.39})
    grid = error_map(assay(case(checks=(Z, EXACT)), case(seed=1, checks=(worse,)), failed(block_size=16)))[0]
    _, _, (whitened, broken) = grid.rows[0]
    assert (whitened.usage, whitened.heat, whitened.state, whitened.counts) == (
        "0.90",
        90,
        "passed",
        ((Status.PASSED, 2),),
    )
    assert (broken.usage, broken.state) == ("differs", "failed")
    assert "1 failed" in broken.label
    assert "bytes failed in 1" in broken.label


def test_exact_ops_show_exact_and_expected_cells_without_a_run_show_not_run() -> None:
    grid = error_map(assay(case(), expected=(cell(), cell(block_size=16))))[0]
    assert [(c.usage, c.state) for c in grid.rows[0][2]] == [("exact", "passed"), ("–", "not run")]
    assert re.search(r'class="cell not-run".*?<b>not run</b>', html.render(assay(expected=(cell(),))))


def test_a_cell_filter_does_not_match_longer_block_sizes_or_longer_op_names() -> None:
    query = error_map(assay(case()))[0].rows[0][2][0].query
    assert query in f"^{case().case}"
    assert all(query not in f"^{other.case}" for other in (case(block_size=16), case(op="cp_gather")))


def test_a_failed_gate_without_a_finite_statistic_counts_as_infinite_use() -> None:
    infinite = Z.model_copy(update={"statistic": None, "passed": False})
    assert usage(infinite) == math.inf
    assert worst_use([case(checks=(infinite,))]).word == "∞"
    assert embedded(html.render(assay(failed(checks=(infinite,)))))["rows"][0][1] == "∞"


def test_the_yardstick_of_the_rounding_model_is_no_use_of_a_limit() -> None:
    peer = Z.model_copy(update={"name": "peer", "statistic": 1.1, "limit": 1.15})
    assert usage(peer) is None
    assert worst_use([case(checks=(peer, Z))]).share == pytest.approx(3.55 / 7.1)


def test_a_cell_that_failed_only_a_probe_is_red_without_a_claim_about_bytes() -> None:
    broken = CANARY.model_copy(update={"passed": False})
    grid = error_map(assay(case(status=Status.FAILED, checks=(EXACT, broken))))[0]
    assert [(c.usage, c.state) for c in grid.rows[0][2]] == [("exact", "failed")]


def test_a_caught_drill_names_the_check_and_the_first_wrong_place() -> None:
    drill = drill_table(assay(case(), failed(fault="swap"), failed(fault="swap", seed=1), drills=("swap",)))[0]
    assert (drill.state, drill.red, drill.run, drill.caught_by) == ("caught", 2, 2, (("bytes", 2),))
    assert drill.place == "block 3, token 1, byte 16"


@pytest.mark.parametrize(
    ("records", "word"),
    [
        ((case(fault="swap", status=Status.BLIND, reason="no power"),), "blind"),
        ((case(fault="swap"), failed(fault="swap", seed=1)), "partly blind"),
        ((), "undrilled"),
    ],
)
def test_a_fault_that_was_not_caught_is_marked_red(records: tuple[CaseRecord, ...], word: str) -> None:
    document = html.render(assay(case(), *records, failed(fault="other"), drills=("swap", "other")))
    rows = re.findall(
        r'<tr class="(\w*)">\s*<th scope="row">(\w+)<.*?<td class="state">(.*?)</td>', document, re.DOTALL
    )
    assert [(name, css) for css, name, _ in rows] == [("swap", "hole"), ("other", "")]
    assert visible(rows[0][2]).strip() == word
    assert "#m-failed" in rows[0][2]


def test_the_safety_matrix_counts_and_tells_absent_from_held() -> None:
    broken = CANARY.model_copy(update={"passed": False})
    matrix = safety(assay(case(), case(seed=1, checks=(EXACT, broken)), case(op="logits", checks=(Z,))))
    assert (matrix.probes, matrix.gates) == (("canary",), ("bytes", "max-z"))
    assert [[(c.state, c.held, c.of) for c in cells] for _, cells in matrix.rows] == [
        [("failed", 1, 2), ("passed", 2, 2), ("not run", 0, 0)],
        [("not run", 0, 0), ("not run", 0, 0), ("passed", 1, 1)],
    ]


def test_the_safety_matrix_does_not_count_what_could_not_be_checked_as_held() -> None:
    graph = CANARY.model_copy(update={"name": "graph-replay", "applicable": False})
    matrix = safety(assay(case(checks=(CANARY, graph)), case(seed=1, checks=(CANARY, graph))))
    assert [(c.state, c.held, c.of) for c in matrix.rows[0][1]] == [("passed", 2, 2), ("not run", 0, 0)]


def test_a_drill_never_counts_in_map_or_safety_matrix() -> None:
    drilled = assay(case(), failed(fault="swap"))
    assert error_map(drilled)[0].rows[0][2][0].state == "passed"
    assert safety(drilled).rows[0][1][1].state == "passed"


def test_rows_give_back_what_the_records_say() -> None:
    odd = case(case="no:standard:id", seed=3, params={"n": 7}, reason="at 0x1f, 3.50 of 007, -0.5, 1e-05")
    records = [case(checks=(Z, EXACT)), failed(fault="swap"), odd, case(status=Status.NOT_RUN, checks=(), digest="")]
    data = encode(records)
    data = json.loads(script_json(data))
    for record, row in zip(records, data["rows"], strict=True):
        seen = decoded(data, row)
        for name in ("case", "op", "arch", "fp8", "provider", "engine", "tier", "recipe", "reason", "repro", "digest"):
            assert seen[name] == getattr(record, name)
        assert (seen["status"], seen["fault"]) == (record.status.value, record.fault or "")
        assert seen["first_wrong"] == (str(record.first_wrong) if record.first_wrong else "")
        assert seen["timings"] == "inputs 2.1 ms · run 250 ms"
        for check, found in zip(record.checks, seen["checks"], strict=True):
            assert (found["name"], found["detail"], found["reason"]) == (check.name, check.detail, check.reason)
            assert (found["statistic"], found["limit"]) == (check.statistic, check.limit)
            assert found["coordinate"] == (str(check.coordinate) if check.coordinate else "")


def test_a_large_run_keeps_the_page_small_and_the_metrics_of_its_red_cases() -> None:
    red = failed(seed=1, checks=(Z.model_copy(update={"passed": False}),))
    many = [case(seed=seed, checks=(Z, EXACT)) for seed in range(2, EVERYTHING_UP_TO + 2)]
    data = json.loads(script_json(encode([red, *many])))
    assert decoded(data, data["rows"][0])["checks"][0]["metrics"] == "rms_z 0.94"
    assert decoded(data, data["rows"][1])["checks"][0]["metrics"] == ""
    assert len(data["groups"]) == 2
    assert len(json.dumps(data["rows"])) / len(many) < 90


HOSTILE = (
    "</script><script>alert(1)</script><img src=x onerror=alert(1)> \" ' "
    "\x1b[31m \u202egnp \u2066 \ud800 {{ 7*7 }} <!--"
)


def test_hostile_ids_and_details_are_shown_and_do_nothing() -> None:
    check = EXACT.model_copy(update={"passed": False, "name": HOSTILE, "detail": HOSTILE, "reason": HOSTILE})
    fields: dict[str, Any] = dict.fromkeys(
        ("case", "op", "arch", "reason", "repro", "digest", "recipe", "fault"), HOSTILE
    )
    records = [
        case(checks=(check,), status=status, **{**fields, "fault": fault})
        for status in Status
        for fault in (None, HOSTILE)
    ]
    document = html.render(assay(*records, command=HOSTILE, versions={HOSTILE: HOSTILE}, drills=(HOSTILE,)))
    assert document.count("<script") == document.count("</script") == 2
    assert "<img" not in document
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", document)
    assert "49" not in visible(document)
    assert plain(HOSTILE) in visible(document)
    assert "\\x1b[31m \\u202egnp" in document
    assert plain(HOSTILE) in embedded(document)["strings"]


def test_the_page_asks_nothing_of_the_network() -> None:
    document = html.render(assay(case(), failed(seed=1), failed(fault="swap")))
    assert not re.search(r"https?:|//[a-z]|@import|url\(|\bfetch\(|XMLHttpRequest", document)
    assert "default-src 'none'; script-src 'unsafe-inline'" in document


def test_the_page_has_language_title_labels_and_captions() -> None:
    document = html.render(assay(case(), failed(fault="swap")))
    assert '<html lang="en">' in document
    assert "<title>PASS · rocassay · gfx942</title>" in document
    assert document.count("<table") == document.count("<caption")
    assert all("<label" in before[-60:] for before in re.split(r"<(?:input|select) ", document)[:-1])


def test_the_footer_says_how_limits_are_derived_and_where_the_page_is_from() -> None:
    text = visible(html.render(assay(case(checks=(Z, EXACT)))))
    assert "max-z 7.1 Gaussian tail at 7.1" in text
    assert "bytes exact every byte is defined" in text
    assert "Made from out/results.jsonl , record schema 1." in text


def test_reasons_that_differ_in_numbers_only_are_told_once() -> None:
    checks = [Z.model_copy(update={"limit": float(n), "reason": f"rows of {n} elements"}) for n in (64, 128)]
    found = limits([case(checks=(check,)) for check in checks])
    assert [(limit.name, limit.limits, limit.reasons) for limit in found] == [
        ("max-z", "64 to 128", ("rows of 64 elements",))
    ]


def test_an_assay_without_any_record_is_a_readable_red_page() -> None:
    text = visible(html.render(assay()))
    assert "FAIL no case ran" in text
    assert "No case was recorded or expected." in text


def test_the_page_is_the_same_from_any_directory_and_after_a_trip_through_the_file(tmp_path: Path) -> None:
    writer = ResultsWriter(tmp_path / "results.jsonl")
    source = assay(case(), failed(seed=1), expected=(cell(),))
    for line in (*source.headers, *source.records, *source.ends):
        writer.append(line)
    writer.close()
    program = (
        "from pathlib import Path; from rocassay.harness.results import read; from rocassay.reports import html\n"
        "html.write(read(Path('results.jsonl')), Path('new/report.html'))"
    )
    path = [str(Path(entry).resolve()) for entry in sys.path if entry]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path)}
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, env=environment, check=True)
    here = read(Path(os.path.relpath(tmp_path / "results.jsonl")))
    here.path = Path("results.jsonl")
    assert (tmp_path / "new/report.html").read_text(encoding="utf-8") == html.render(here)


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(html.ReportError, match=r"cannot write .*/file/report\.html: .*; choose another place"):
        html.write(assay(case()), tmp_path / "file" / "report.html")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.4312, "0.431"),
        (290.4, "290"),
        (17.0, "17"),
        (1234567.0, "1.23e6"),
        (1.2e-7, "1.2e-7"),
        (math.inf, "∞"),
        (-2.5, "-2.5"),
    ],
)
def test_numbers_are_short_and_without_padding(value: float, text: str) -> None:
    assert number(value) == text


def test_durations_and_counts_read_as_words() -> None:
    assert [duration(s) for s in (0.25, 59.4, 219.4, 7260)] == ["0.25 s", "59 s", "3 min 39 s", "2 h 1 min"]
    assert (counted(1, "case"), counted(20_000, "case")) == ("1 case", "20,000 cases")
