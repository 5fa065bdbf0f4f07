"""The results file: appended line by line, safe against kills and full disks, read without losing a whole line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rocassay.harness.results import (
    RAN,
    SCHEMA_VERSION,
    CaseRecord,
    Check,
    Coordinate,
    ResultsError,
    ResultsWriter,
    RunEnd,
    RunHeader,
    Shard,
    Status,
    finished_keys,
    json_schema,
    read,
    set_aside_cut_tail,
    summary,
)
from rocassay.suites.selftest.children import ROOT
from rocassay.suites.selftest.toys import end, header, record, toy_case

WRITER = """
import resource
import sys
from pathlib import Path
from rocassay.harness.results import CaseRecord, ResultsWriter
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), resource.RLIM_INFINITY))
writer = ResultsWriter(Path(sys.argv[1]))
line = CaseRecord.model_validate_json(sys.argv[2])
number = 0
while True:
    writer.append(line.model_copy(update={"seed": number, "case": f"case {number}"}))
    number += 1
"""
"""Appends numbered records until it is killed or refused."""

ENVIRONMENT = {"PYTHONPATH": os.pathsep.join([str(ROOT / "src"), *sys.path])}
"""Of children: this process's packages, nothing else."""


def written(path: Path, *lines: RunHeader | CaseRecord | RunEnd) -> Path:
    writer = ResultsWriter(path)
    for line in lines:
        writer.append(line)
    writer.close()
    return path


def writing_child(path: Path, file_limit: int = 2**40) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, str(path), record().model_dump_json(), str(file_limit)]
    return subprocess.Popen(command, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True)


def seeds(path: Path) -> list[int]:
    return [line.seed for line in read(path).records]


def test_a_line_is_on_the_file_as_soon_as_append_returns(tmp_path: Path):
    path = tmp_path / "folder" / "results.jsonl"
    writer = ResultsWriter(path)
    for count in (1, 2, 3):
        writer.append(record(toy_case(number=count)))
        assert path.read_bytes().count(b"\n") == count
        assert path.read_bytes().endswith(b"\n")
    writer.close()


@pytest.mark.parametrize(
    "line",
    [
        header(toy_case(), planned=3, drills=("a",), versions={"torch": "2"}),
        RunEnd(run_id="r", finished="now", seconds=1.5, interrupted=True),
        record(
            status=Status.FAILED,
            reason='quotes ", breaks \n\r\u2028 and \x00',
            checks=(Check(name="max-z", kind="gate", passed=False, statistic=float("inf"), limit=7.1),),
            first_wrong=Coordinate(output="out", index=(1, 2), block=3, token=4, byte=0, where={"head": 5}),
        ),
    ],
    ids=lambda line: line.kind,
)
def test_every_kind_of_line_reads_back_equal_and_is_one_line(tmp_path: Path, line):
    path = written(tmp_path / "r", header(), line)
    assay = read(path)
    assert (assay.headers + assay.records + assay.ends).count(line) == 1
    assert path.read_text().count("\n") == 2
    assert assay.problems == []


def test_a_statistic_that_is_nan_reads_back_as_nan(tmp_path: Path):
    check = Check(name="max-z", kind="gate", passed=False, statistic=float("nan"))
    (found,) = read(written(tmp_path / "r", record(checks=(check,)))).records
    assert found.checks[0].statistic != found.checks[0].statistic


def test_appending_continues_an_existing_file(tmp_path: Path):
    path = written(tmp_path / "r", record(toy_case(number=1)))
    written(path, record(toy_case(number=2)))
    assert [line.params["number"] for line in read(path).records] == [1, 2]


def test_kill_9_of_a_writer_leaves_whole_lines_and_at_most_one_torn_one(tmp_path: Path):
    path = tmp_path / "r"
    with writing_child(path) as child:
        while not path.exists() or path.stat().st_size < 100_000:
            assert child.poll() is None, child.communicate()
            time.sleep(0.005)
        child.kill()
    assay = read(path)
    assert [line.seed for line in assay.records] == list(range(path.read_bytes().count(b"\n")))
    assert len(assay.problems) == (0 if path.read_bytes().endswith(b"\n") else 1)


@given(cut=st.integers(1, len(record(toy_case(number=1), seed=1).model_dump_json())))
def test_a_torn_last_line_is_reported_and_the_rest_is_kept(tmp_path_factory: pytest.TempPathFactory, cut: int):
    path = written(tmp_path_factory.mktemp("torn") / "r", record(seed=0), record(toy_case(number=1), seed=1))
    path.write_bytes(path.read_bytes()[:-cut])
    assay = read(path)
    assert seeds(path) == [0]
    (problem,) = assay.problems
    assert f"{path}: line 2 is cut off" in problem
    assert "--resume" in problem
    assert problem in assay.red_reasons()


def test_the_torn_tail_is_set_aside_so_that_appending_starts_on_a_fresh_line(tmp_path: Path):
    path = written(tmp_path / "r", record(seed=0))
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"kind": "ca')
    aside = set_aside_cut_tail(path)
    assert aside is not None
    assert aside.read_bytes() == b'{"kind": "ca\n'
    assert path.read_bytes() == whole
    assert set_aside_cut_tail(path) is None
    assert seeds(written(path, record(toy_case(number=1), seed=1))) == [0, 1]


def test_nothing_is_set_aside_of_a_missing_or_empty_file(tmp_path: Path):
    assert set_aside_cut_tail(tmp_path / "none") is None
    (tmp_path / "empty").touch()
    assert set_aside_cut_tail(tmp_path / "empty") is None


@pytest.mark.parametrize("extra", [{}, {"colour": "red"}], ids=["same fields", "a new field"])
@pytest.mark.parametrize("kind", ["run", "case", "end"])
def test_another_schema_version_is_named_before_anything_else_is_complained_about(tmp_path: Path, kind: str, extra):
    path = written(tmp_path / "r", header(), record(), RunEnd(run_id="r", finished="", seconds=0))
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line in lines:
        if line["kind"] == kind:
            line.update(extra, schema_version=SCHEMA_VERSION + 1)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    (problem,) = read(path).problems
    assert problem.endswith(f"has schema version {SCHEMA_VERSION + 1}, this rocassay reads {SCHEMA_VERSION}")


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("not json", "Invalid JSON"),
        ("{}", "Unable to extract tag"),
        ('{"kind": "song"}', "'song'"),
        ("", "EOF"),
        ("[]", "is not a record"),
        (record().model_dump_json().replace('"passed"', '"splendid"'), "status"),
        (record().model_dump_json().replace('"seed":0', '"seed":0,"colour":1'), "colour"),
        (record().model_dump_json().replace('"seed":0', '"seed":"many"'), "seed"),
        ("\udcff", "is not a record"),
    ],
)
def test_a_malformed_middle_line_is_a_problem_and_the_others_are_read(tmp_path: Path, line: str, complaint: str):
    before, after = record(seed=0), record(toy_case(number=1), seed=1)
    path = tmp_path / "r"
    text = "\n".join([before.model_dump_json(), line, after.model_dump_json(), ""])
    path.write_bytes(text.encode(errors="surrogateescape"))
    assay = read(path)
    assert [found.seed for found in assay.records] == [0, 1]
    (problem,) = assay.problems
    assert f"{path}: line 2 is not a record: " in problem
    assert complaint in problem
    assert assay.red_reasons() == [problem]


def test_of_two_records_of_the_same_work_the_last_counts(tmp_path: Path):
    path = written(tmp_path / "r", record(status=Status.CRASHED), record(status=Status.PASSED))
    assert [line.status for line in read(path).records] == [Status.PASSED]


@pytest.mark.parametrize("changes", [{"provider": "torch"}, {"engine": "device"}, {"fault": "f"}], ids=str)
def test_provider_engine_and_fault_tell_records_of_one_case_apart(tmp_path: Path, changes: dict[str, Any]):
    assert len(read(written(tmp_path / "r", record(), record(**changes))).records) == 2


@pytest.mark.parametrize("content", [b"", b"\n", b"torn"])
def test_a_file_without_a_record_is_refused_with_the_next_step(tmp_path: Path, content: bytes):
    path = tmp_path / "r"
    path.write_bytes(content)
    with pytest.raises(ResultsError, match=rf"{path} holds no record: .*run `rocassay run` again"):
        read(path)


def test_a_missing_file_is_refused_with_the_next_step(tmp_path: Path):
    with pytest.raises(ResultsError, match=r"none: No such file or directory; run `rocassay run` first"):
        read(tmp_path / "none")


@pytest.mark.parametrize("status", list(Status))
def test_only_a_case_that_ran_to_its_end_fills_its_cell(tmp_path: Path, status: Status):
    assay = read(written(tmp_path / "r", header(toy_case()), record(status=status)))
    assert bool(assay.missing_cells()) == (status not in RAN)


@pytest.mark.parametrize(
    "other",
    [
        record(toy_case(arch="gfx950")),
        record(toy_case(block_size=16)),
        record(fp8="e4m3fnuz"),
        record(engine="device"),
        record(op="other"),
        record(fault="f", status=Status.FAILED),
    ],
    ids=["arch", "block size", "fp8", "engine", "op", "fault"],
)
def test_a_record_of_another_cell_does_not_fill_it(tmp_path: Path, other):
    assay = read(written(tmp_path / "r", header(toy_case()), other))
    assert [cell.block_size for cell in assay.missing_cells()] == [1]
    assert "1 cells of the expected-to-run matrix did not run" in assay.red_reasons()


def test_planned_cases_without_a_record_are_counted_and_drills_do_not_stand_in_for_them(tmp_path: Path):
    assay = read(written(tmp_path / "r", header(planned=3), record(), record(fault="f", status=Status.FAILED), end()))
    assert assay.unrecorded() == 2
    assert assay.red_reasons() == ["2 planned cases left no record: the run was cut short"]


def test_a_fault_without_a_red_drill_is_named(tmp_path: Path):
    lines = (record(fault="seen", status=Status.FAILED), record(fault="crashed", status=Status.CRASHED))
    assay = read(written(tmp_path / "r", header(drills=("seen", "unseen", "crashed")), record(), *lines))
    assert assay.undrilled() == ["unseen", "crashed"]
    assert "faults without a red drill: unseen, crashed" in assay.red_reasons()
    assert "1 drill cases did not go red" in assay.red_reasons()


def test_where_power_is_measured_a_fault_owes_one_sighted_case_per_op_and_block_size(tmp_path: Path):
    seen, blind = (record(status=status, fault="f") for status in (Status.FAILED, Status.BLIND))
    elsewhere = blind.model_copy(update={"case": "other", "block_size": 64})
    top = header(drills=("f",), power=True)
    both = read(written(tmp_path / "a", top, record(), seen, blind.model_copy(update={"case": "other"}), end()))
    assert both.red_reasons() == []
    alone = read(written(tmp_path / "b", top, record(), seen, elsewhere, end()))
    assert alone.red_reasons() == [f"fault f is seen by no case of {seen.op} at block size 64"]
    part = header(drills=("f",), power=True, shard=Shard(number=1, count=2, plan="p", selected=2))
    assert read(written(tmp_path / "c", part, record(), blind, end())).red_reasons() == []


@pytest.mark.parametrize("status", list(Status))
def test_a_verdict_is_green_exactly_for_passed_and_known_defects(tmp_path: Path, status: Status):
    assay = read(written(tmp_path / "r", header(toy_case(), planned=1), record(status=status), end()))
    assert (not assay.red_reasons()) == (status in (Status.PASSED, Status.KNOWN))


def test_a_case_that_was_not_run_is_red_only_where_the_matrix_lists_it(tmp_path: Path):
    absent = record(toy_case(block_size=16), Status.NOT_RUN, reason="no device")
    unexpected = read(written(tmp_path / "a", header(toy_case()), record(), absent, end()))
    expected = read(written(tmp_path / "b", header(toy_case(), toy_case(block_size=16)), record(), absent))
    assert unexpected.red_reasons() == []
    assert "1 of 2 cases are not green" in expected.red_reasons()


@pytest.mark.parametrize("lines", [(), (record(status=Status.NOT_RUN),)], ids=["no record", "nothing was run"])
def test_a_run_of_nothing_is_red(tmp_path: Path, lines):
    assert read(written(tmp_path / "r", header(), *lines, end())).red_reasons() == ["no case ran"]


@pytest.mark.parametrize("lines", [(), (end(interrupted=True),)], ids=["killed", "interrupted"])
def test_a_run_that_did_not_come_to_its_end_is_red_until_it_is_resumed(tmp_path: Path, lines: tuple[RunEnd, ...]):
    path = written(tmp_path / "r", header(planned=1), record(), *lines)
    reason = "the run did not come to its end; `rocassay run --resume` completes it"
    assert read(path).red_reasons() == [reason]
    again = header(planned=1, resumed=True, started="2025-01-02T00:00:00+00:00")
    assert read(written(path, again)).red_reasons() == [reason]
    assert read(written(path, end(finished="2025-01-02T00:00:01+00:00"))).red_reasons() == []


@pytest.mark.parametrize("status", list(Status))
def test_a_resumed_run_repeats_exactly_what_did_not_run_to_its_end(tmp_path: Path, status: Status):
    assay = read(written(tmp_path / "r", record(status=status)))
    assert (record().key in set(finished_keys(assay))) == (status in RAN)


def test_the_summary_counts_in_the_order_of_the_statuses_and_leaves_zeros_out():
    records = [record(status=Status.FAILED), record(), record()]
    assert list(summary(records).items()) == [(Status.PASSED, 2), (Status.FAILED, 1)]


def test_the_json_schema_describes_all_three_lines():
    assert {"RunHeader", "CaseRecord", "RunEnd"} <= set(json.loads(json_schema())["$defs"])


def test_a_full_device_gives_one_error_that_names_the_file_and_the_next_step():
    writer = ResultsWriter(Path("/dev/full"))
    with pytest.raises(ResultsError, match=r"/dev/full: No space left on device; .*rocassay run --resume"):
        writer.append(record())
    writer.close()


def test_a_disk_that_refuses_a_line_keeps_every_earlier_one_and_no_part_of_it(tmp_path: Path):
    limit, path = 10_000, tmp_path / "r"
    with writing_child(path, limit) as child:
        _, error = child.communicate()
    count = path.read_bytes().count(b"\n")
    assert child.returncode == 1
    assert limit - len(record().model_dump_json()) - 100 < path.stat().st_size <= limit
    assert seeds(path) == list(range(count))
    assert read(path).problems == []
    (last,) = error.strip().splitlines()[-1:]
    assert f"cannot append to {path}: File too large; the {count} records of this run are safe" in last
    assert "rocassay run --resume" in last


def test_a_folder_that_cannot_be_made_is_one_clear_error(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(ResultsError, match=r"cannot open .*file/r: .*; choose another --out"):
        ResultsWriter(tmp_path / "file" / "r")
