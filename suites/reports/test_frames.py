"""`rocassay.load`: every record once and in its place, with the same columns and dtypes whatever the file holds."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

import rocassay
from rocassay.harness.results import Coordinate, ResultsError, RunEnd, Status
from rocassay.reports.frames import Frames, frames
from rocassay.suites.reports.runs import case, drill, gate, run
from rocassay.suites.selftest.evaluations import evaluation, written
from rocassay.suites.selftest.test_cli import ENVIRONMENT
from rocassay.suites.selftest.toys import end, header

NAMES = ("cases", "checks", "evaluations", "answers", "runs")
WRONG = Coordinate(output="out", index=(2, 5), block=3)


def mixed() -> Frames:
    failed = case(
        1, Status.FAILED, gate(1.0, name="bound"), gate(None, passed=False), first_wrong=WRONG,
        timings={"run": 0.5, "extra": 2.0}, counts={"launches": 2, "waits": 7}, codes={"k": "ab"},
        versions={"torch": "2.13"}, launches=("k", "k"), params={"number": 1, "tokens": 33},
    )  # fmt: skip
    metrics = gate(0.5, name="max-z").model_copy(update={"metrics": {"rms_z": 0.9}})
    other = case(2, Status.PASSED, metrics, params={"tokens": "all", "wide": 3})
    asked = evaluation("+-!~++", run_id="e", status="red", verdict={"stopped_after": 4, "asked": 4, "correct": 1})
    faulty = evaluation("--", "a", "b", run_id="f", status="none")
    return frames(run(failed, other, drill(3), evaluations=(asked, faulty), versions={"triton": "3.9"}))


def test_a_row_per_record_with_axes_parameters_and_measures():
    cases = mixed().cases
    assert list(cases["status"]) == ["failed", "passed", "failed"]
    assert list(cases["worst_ratio"]) == [math.inf, 0.25, 0.5]
    assert list(cases["worst_gate"]) == ["max-z", "max-z", "max-z"]
    assert list(cases["first_wrong"].fillna("")) == [str(WRONG), "", ""]
    assert list(cases["fault"].isna()) == [True, True, False]
    assert list(cases["param.number"].fillna(-1)) == [1, -1, 3]
    assert list(cases["param.wide"].fillna(-1)) == [-1, 3, -1]
    assert list(cases["param.tokens"].fillna("")) == ["33", "all", ""], "numbers among words are words"
    row = cases.iloc[0]
    assert (row["time.run"], row["time.extra"], row["count.launches"], row["count.waits"]) == (0.5, 2.0, 2, 7)
    assert (row["code.k"], row["version.torch"], row["launched"]) == ("ab", "2.13", "k k")
    assert math.isnan(row["time.golden"])


def test_a_row_per_check_that_joins_its_case():
    checks = mixed().checks
    assert list(checks["check"]) == ["bound", "max-z", "max-z", "max-z"]
    assert list(checks["ratio"]) == [0.5, math.inf, 0.25, 0.5]
    assert list(checks["passed"]) == [True, False, True, True]
    assert checks["metric.rms_z"].dropna().tolist() == [0.9]
    joined = checks.merge(mixed().cases, on=["case", "provider", "engine"], suffixes=("", "_case"))
    assert len(joined) == len(checks)


def test_a_row_per_evaluation_and_per_answer():
    loaded = mixed()
    first, second = loaded.evaluations.to_dict("records")
    assert (first["status"], first["asked"], first["accuracy"], first["stopped_after"]) == ("red", 4, 0.25, 4)
    assert 0 < first["low"] < first["high"] < 1
    assert (second["faults"], pd.isna(second["status"]), math.isnan(second["accuracy"])) == ("a + b", True, True)
    answers = loaded.answers
    assert list(answers["run_id"]) == ["e"] * 6 + ["f"] * 2
    assert list(answers["correct"])[:6] == [True, False, False, False, True, True]
    assert list(answers["judged"]) == [True] * 4 + [False] * 2 + [True] * 2
    assert list(answers["finish_reason"])[2:4] == ["error", "length"]
    assert list(answers["strict"].isna())[:3] == [False, False, True]


def test_a_row_per_part_of_a_run_with_its_own_end():
    assay = run(case(0), seconds=None)
    assay.headers[:] = [
        header(run_id="a", started="2025-01-01T00:00:00+00:00"),
        header(run_id="a", started="2025-01-02T00:00:00+00:00", resumed=True),
        header(run_id="b", started="2025-01-01T00:00:00+00:00"),
    ]
    assay.ends[:] = [
        end(run_id="a", finished="2025-01-02T01:00:00+00:00", seconds=3600.0),
        RunEnd(run_id="b", finished="2025-01-01T00:00:05+00:00", seconds=5.0, interrupted=True),
    ]
    runs = frames(assay).runs
    assert list(runs["complete"]) == [False, True, False]
    assert runs["seconds"].fillna(-1).tolist() == [-1, 3600.0, 5.0]
    assert (runs["finished"] - runs["started"])[1] == pd.Timedelta(hours=1)


def without_prefixes(frame: pd.DataFrame) -> dict[str, str]:
    prefixes = ("param.", "code.", "version.", "metric.", "time.extra", "count.waits")
    return {str(name): str(dtype) for name, dtype in frame.dtypes.items() if not str(name).startswith(prefixes)}


def test_columns_and_dtypes_are_those_of_an_empty_file(tmp_path: Path):
    (tmp_path / "results.jsonl").touch()
    empty, full, bare = (
        rocassay.load(tmp_path),
        mixed(),
        frames(run(case(0, Status.NOT_RUN).model_copy(update={"checks": ()}))),
    )
    for name in NAMES:
        expected = without_prefixes(getattr(empty, name))
        assert len(getattr(empty, name)) == 0
        assert without_prefixes(getattr(full, name)) == expected == without_prefixes(getattr(bare, name))
    assert {"object"}.isdisjoint(str(dtype) for name in NAMES for dtype in getattr(full, name).dtypes)


def test_a_file_is_loaded_as_it_was_written_and_what_cannot_be_read_is_told(tmp_path: Path):
    path = written(run(case(0), case(1, Status.FAILED)), tmp_path / "results.jsonl")
    whole = rocassay.load(path)
    assert whole.problems == ()
    pd.testing.assert_frame_equal(whole.cases, rocassay.load(str(tmp_path)).cases)
    path.write_bytes(path.read_bytes()[:-20])
    torn = rocassay.load(path)
    assert len(torn.cases) == 2
    assert torn.runs["seconds"].isna().tolist() == [True]
    assert "cut off" in torn.problems[0]
    with pytest.raises(ResultsError, match="No such file"):
        rocassay.load(tmp_path / "none.jsonl")


def test_pandas_waits_until_it_is_asked_for():
    script = "import sys, rocassay; assert not {'pandas', 'torch'} & set(sys.modules); rocassay.load; print('light')"
    done = subprocess.run([sys.executable, "-c", script], env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.stdout == "light\n", done.stderr
