"""`rocassay report diff` and `report md`: what they print, and exit codes on which a pipeline can rely."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from rocassay.harness.cli.app import app
from rocassay.harness.errors import RocassayError
from rocassay.harness.results import Assay, Status
from rocassay.reports.markdown import COMMENT_BYTES
from rocassay.suites.reports.runs import HOSTILE, case, drill, gate, run
from rocassay.suites.selftest.evaluations import evaluation, written

Report = Callable[..., tuple[int, str]]


@pytest.fixture
def report(capsys: pytest.CaptureFixture[str]) -> Report:
    """Exit code and standard output of `rocassay report ...`."""

    def call(*words: object) -> tuple[int, str]:
        with pytest.raises(SystemExit) as end:
            app(["report", *map(str, words)])
        return int(end.value.code or 0), capsys.readouterr().out

    return call


@pytest.fixture
def files(tmp_path: Path) -> Callable[..., list[Path]]:
    """Results files of these runs, each in a folder of its own."""

    def write(*runs: Assay) -> list[Path]:
        return [written(made, tmp_path / str(n) / "results.jsonl") for n, made in enumerate(runs)]

    return write


def test_diff_is_zero_iff_nothing_got_worse(report: Report, files: Callable[..., list[Path]]):
    good, bad = files(run(case(0), drill(1)), run(case(0, Status.FAILED, reason="3 bytes differ"), drill(1)))
    code, out = report("diff", good, bad)
    assert code == 1
    assert "New failures" in out
    assert "3 bytes differ" in out
    assert "WORSE 1 new failure" in out
    assert report("diff", bad, good)[0] == 0, "fixed is not worse"
    code, out = report("diff", bad.parent, bad)
    assert code == 0, "red before and after is not worse"
    assert "nothing is worse" in out


def test_an_error_that_doubled_is_shown_and_red_only_when_asked(report: Report, files: Callable[..., list[Path]]):
    base, head = files(run(case(0)), run(case(0, Status.PASSED, gate(2.0))))
    code, out = report("diff", base, head)
    assert code == 0
    assert "+1.00" in out
    assert report("diff", base, head, "--max-ratio", 2)[0] == 0
    assert report("diff", base, head, "--max-ratio", 1.5)[0] == 1
    with pytest.raises(RocassayError, match=r"--max-ratio 0\.5 is below 1"):
        app(["report", "diff", str(base), str(head), "--max-ratio", "0.5"])


def test_json_holds_everything_and_counts_what_a_limit_leaves_out(report: Report, files: Callable[..., list[Path]]):
    base, head = files(
        run(*(case(n) for n in range(5)), case(9), evaluations=(evaluation("++"),)),
        run(*(case(n, Status.FAILED, gate(None, passed=False)) for n in range(5)), evaluations=(evaluation("+-"),)),
    )
    code, out = report("diff", base, head, "--json")
    told = json.loads(out, parse_constant=pytest.fail)
    assert code == 1
    assert told["worse"] == ["5 new failures", "1 case that ran in the base did not run"]
    assert [entry["head"] for entry in told["new_failures"]] == ["failed"] * 5
    assert told["new_failures"][0]["code"] == "unknown"
    assert told["new_failures"][0]["repro"].startswith("rocassay repro 'toy:")
    assert told["moved"][0]["log2"] == "inf"
    assert told["evaluations"][0]["difference"] == -0.5
    assert told["seconds"] == {"base": 9.0, "head": 9.0}
    few = json.loads(report("diff", base, head, "--json", "--limit", 2)[1])
    assert (len(few["new_failures"]), few["counts"]["new_failures"]) == (2, 5)


def test_a_table_is_cut_at_the_limit_and_says_so(report: Report, files: Callable[..., list[Path]]):
    base, head = files(run(*(case(n) for n in range(20))), run(*(case(n, Status.FAILED) for n in range(20))))
    out = report("diff", base, head)[1]
    assert "… and 10 more; --limit 0 shows all" in out
    assert "more" not in report("diff", base, head, "--limit", 0)[1]
    assert report("diff", base, head, "--limit", 3)[1].count("number=") == 3
    assert report("diff", base, head, "--md", "--limit", 3)[1].count("number=") == 3


def test_a_terminal_gets_no_control_characters_and_no_foreign_markup(report: Report, files: Callable[..., list[Path]]):
    base, head = files(run(case(0)), run(case(0, Status.FAILED, reason=f"[bold]{HOSTILE}[/bold]")))
    out = report("diff", base, head)[1]
    assert "\x1b" not in out
    assert "[bold]a|b" in out.replace("\n", "")


@pytest.mark.parametrize("verb", ["diff", "md"])
def test_missing_empty_and_corrupt_files_are_one_clear_error(
    report: Report, files: Callable[..., list[Path]], verb: str, tmp_path: Path
):
    (good,) = files(run(case(0)))
    words = (lambda bad: [bad, good]) if verb == "diff" else (lambda bad: [good, "--base", bad])
    torn, empty = tmp_path / "torn.jsonl", tmp_path / "empty.jsonl"
    torn.write_bytes(good.read_bytes()[:-9])
    empty.write_bytes(b"")
    for bad, sentence in (
        (tmp_path / "none.jsonl", "No such file or directory"),
        (torn, r"line 3 is cut off after \d+ bytes.*; a comparison needs whole files"),
        (empty, "holds no record: it is empty"),
    ):
        with pytest.raises(RocassayError, match=sentence) as error:
            app(["report", verb, *map(str, words(bad))])
        assert str(bad) in str(error.value)
        assert "\n" not in str(error.value)


def test_md_is_zero_iff_the_run_is_green_and_nothing_got_worse(report: Report, files: Callable[..., list[Path]]):
    green, red, fewer = files(run(case(0), case(1)), run(case(0), case(1, Status.FAILED)), run(case(0)))
    assert report("md", red)[0] == 1
    code, out = report("md", fewer)
    assert code == 0
    assert out.startswith("# ✅ PASS")
    assert report("md", fewer, "--base", red)[0] == 1, "a case is missing"
    assert report("md", green, "--base", red)[0] == 0


def test_md_keeps_to_the_limit_that_was_chosen(report: Report, files: Callable[..., list[Path]]):
    (red,) = files(run(*(case(n, Status.FAILED, reason="x" * 300) for n in range(300))))
    assert COMMENT_BYTES < len(report("md", red)[1].encode()) <= 2**20
    assert COMMENT_BYTES - 2000 < len(report("md", red, "--comment")[1].encode()) <= COMMENT_BYTES
    assert len(report("md", red, "--max-bytes", 2000)[1].encode()) <= 2000
    with pytest.raises(RocassayError, match="exclude each other"):
        app(["report", "md", str(red), "--comment", "--max-bytes", "2000"])
