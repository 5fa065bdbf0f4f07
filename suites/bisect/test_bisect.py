"""Bisection by a judge that is always right: the planted commit is named, and what cannot be told is said."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from rocassay.harness.bisect.commits import Commits
from rocassay.harness.bisect.errors import BisectError
from rocassay.harness.bisect.halving import Halving
from rocassay.harness.bisect.points import Versions
from rocassay.harness.bisect.running import Run
from rocassay.harness.bisect.selection import CaseOracle, Selected, verdict_of
from rocassay.harness.bisect.verdicts import Judged, Verdict
from rocassay.suites.bisect.histories import COMMITS, JUDGE, SUBJECT, Repository, made, provider, toy
from rocassay.suites.bisect.processes import ended
from rocassay.suites.selftest.children import ROOT
from rocassay.suites.selftest.commandline import Done, Rocassay

PLANTED = 41


def halved(count: int, first_bad: int, skipped: Iterable[int] = ()) -> tuple[range, int]:
    """Candidates that a bisection of points with these verdicts leaves, and how many it judged beside the ends."""
    halving, judged = Halving(count), 0
    while (place := halving.next()) is not None:
        judged += 1
        bad = Verdict.BAD if place >= first_bad else Verdict.GOOD
        halving.tell(place, Verdict.SKIP if place in set(skipped) else bad)
    return halving.candidates, judged


def test_every_change_point_is_found_in_the_logarithm_of_the_points():
    for count in (2, 3, 5, 64, 65):
        for first_bad in range(1, count):
            candidates, judged = halved(count, first_bad)
            assert candidates == range(first_bad, first_bad + 1)
            assert judged <= math.ceil(math.log2(count - 1))


def test_points_that_cannot_be_judged_leave_the_smallest_range_that_holds_the_change():
    for first_bad in range(1, COMMITS):
        skipped = range(20, 44)
        candidates, _ = halved(COMMITS, first_bad, skipped)
        inside = 20 <= first_bad <= 44
        assert candidates == (range(20, 45) if inside else range(first_bad, first_bad + 1))


def test_a_run_of_broken_points_away_from_the_change_costs_its_logarithm():
    _, judged = halved(1024, 900, range(400, 640))
    assert judged <= 10 + 9


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    return toy(tmp_path_factory.mktemp("toy") / "tree", PLANTED)


@pytest.fixture
def judge(tmp_path: Path) -> str:
    """A command that judges a checkout and appends its hash to a file."""
    script = tmp_path / "judge.py"
    script.write_text(JUDGE)
    python = f"env -u PYTHONDONTWRITEBYTECODE {sys.executable} -S"
    return f"git rev-parse HEAD >> {tmp_path / 'asked'}; {python} {script} {{point}}"


def asked(tmp_path: Path) -> list[str]:
    """Commits that were judged, in order."""
    return (tmp_path / "asked").read_text().split()


def search(rocassay: Rocassay, repository: Repository, judge: str, *words: object) -> Done:
    ends = "--good", repository.commits[0], "--bad", repository.commits[-1]
    return rocassay("bisect", "--tree", repository.tree, *ends, "--command", judge, *words)


def test_the_planted_commit_of_64_is_named_after_8_judged_points(
    rocassay: Rocassay,
    repository: Repository,
    judge: str,
    tmp_path: Path,
):
    """The kernels have one size and, checked out within a second, one time: old bytecode would be taken for theirs."""
    before = repository.git("status", "--porcelain=v2", "--branch"), repository.git("worktree", "list")
    done = search(rocassay, repository, judge, "--json")
    assert done.code == 0, done
    result = done.json
    assert result["first_bad"]["point"] == repository.commits[PLANTED]
    assert result["first_bad"]["subject"] == SUBJECT
    assert result["last_good"]["point"] == repository.commits[PLANTED - 1]
    assert "softmax overflows" in result["reason"]
    assert asked(tmp_path)[:2] == [repository.commits[0], repository.commits[-1]]
    assert len(set(asked(tmp_path))) == len(asked(tmp_path)) == len(result["judged"]) <= 2 + 6
    assert "[8] " in done.err
    assert (repository.git("status", "--porcelain=v2", "--branch"), repository.git("worktree", "list")) == before


def test_the_text_names_commit_subject_and_a_line_that_reproduces(
    rocassay: Rocassay,
    repository: Repository,
):
    ends = "--good", repository.commits[38], "--bad", repository.commits[44]
    judge = "grep -q 'top = max' {point}/kernel.py || { echo forgets the maximum; exit 3; }"
    done = rocassay("bisect", "--tree", repository.tree, *ends, "--command", judge)
    assert done.code == 0, done
    assert f"first bad:\n  {repository.commits[PLANTED]}  {SUBJECT}" in done.out
    (line,) = [line for line in done.out.splitlines() if line.startswith("reproduce: ")]
    assert f"worktree add --detach $PWD/checkout-{repository.commits[PLANTED][:12]}" in line
    assert "exit code 3: forgets the maximum" in done.out


def test_the_line_that_reproduces_does(rocassay: Rocassay, repository: Repository, tmp_path: Path):
    ends = "--good", repository.commits[39], "--bad", repository.commits[42]
    judge = "grep -q 'top = max' {point}/kernel.py"
    line = rocassay("bisect", "--tree", repository.tree, *ends, "--command", judge, "--json").json["repro"]
    (folder := tmp_path / "elsewhere").mkdir()
    done = subprocess.run(["sh", "-c", line], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 1, done
    assert (folder / f"checkout-{repository.commits[PLANTED][:12]}" / "kernel.py").is_file()


def test_commits_that_do_not_build_leave_a_range(rocassay: Rocassay, tmp_path: Path, judge: str):
    broken = toy(tmp_path / "broken", PLANTED, range(PLANTED - 2, PLANTED + 1))
    prepare = f"{sys.executable} -S -m py_compile kernel.py"
    done = search(rocassay, broken, judge, "--prepare", prepare, "--json")
    assert done.code == 1, done
    assert done.json["status"] == "range"
    assert done.json["first_bad"] is None
    names = [point["point"] for point in done.json["candidates"]]
    assert names == list(broken.commits[PLANTED - 2 : PLANTED + 2])
    skipped = [line for line in done.json["judged"] if line["verdict"] == "skip"]
    assert len(skipped) == 3
    assert all("SyntaxError" in line["reason"] for line in skipped)


@pytest.mark.parametrize(
    ("ends", "said"),
    [
        ((PLANTED, COMMITS - 1), "the good end .* is bad: exit code 1"),
        ((0, PLANTED - 1), "the bad end .* is good: exit code 0"),
    ],
)
def test_an_end_that_is_not_what_it_is_called_is_one_error(
    rocassay: Rocassay,
    repository: Repository,
    judge: str,
    ends: tuple[int, int],
    said: str,
    tmp_path: Path,
):
    names = [repository.commits[place] for place in ends]
    done = rocassay("bisect", "--tree", repository.tree, "--good", names[0], "--bad", names[1], "--command", judge)
    assert (done.code, done.out) == (2, "")
    assert re.search(said, done.err.splitlines()[-1])
    assert len(asked(tmp_path)) == 2


def test_a_judge_of_the_wrong_sign_is_refused(rocassay: Rocassay, repository: Repository, judge: str):
    done = search(rocassay, repository, f"! ( {judge} )")
    assert done.code == 2
    assert "the good end" in done.err
    assert "is bad" in done.err


def test_what_git_tells_its_hooks_leads_nowhere_else(
    rocassay: Rocassay, repository: Repository, judge: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "another"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "index"))
    ends = "--good", repository.commits[PLANTED - 1], "--bad", repository.commits[PLANTED]
    done = rocassay("bisect", "--tree", repository.tree, *ends, "--command", judge, "--json")
    assert done.json["first_bad"]["subject"] == SUBJECT


def test_a_point_that_takes_too_long_is_left_out_and_ended(rocassay: Rocassay, tmp_path: Path):
    judge = f"case {{point}} in a|b) exit 0;; c) sleep 60 & echo $! > {tmp_path / 'pid'}; wait;; esac; exit 1"
    done = rocassay("bisect", "--versions", "a,b,c,d,e", "--command", judge, "--timeout", 0.5, "--json")
    assert [point["point"] for point in done.json["candidates"]] == ["c", "d"]
    assert any("was not done after 0.5 s" in line["reason"] for line in done.json["judged"])
    assert ended(int((tmp_path / "pid").read_text()))


def test_a_command_that_cannot_be_run_is_no_verdict(rocassay: Rocassay, repository: Repository):
    done = search(rocassay, repository, "no-such-program {point}")
    assert done.code == 2
    assert "exit code 127" in done.err
    assert "not found" in done.err


def test_an_interrupted_search_goes_on_where_it_was(
    rocassay: Rocassay,
    repository: Repository,
    judge: str,
    tmp_path: Path,
):
    marker = tmp_path / "mended"
    dying = f"test $(wc -l < {tmp_path / 'asked'}) -lt 5 -o -e {marker} || kill -9 $$; {judge}"
    (tmp_path / "asked").touch()
    first = search(rocassay, repository, dying)
    assert first.code == 2
    assert "signal 9" in first.err
    known = asked(tmp_path)
    journal = tmp_path / "rocassay-out" / "bisect" / "bisect.jsonl"
    with journal.open("a") as file:
        file.write('{"kind": "verd')
    marker.touch()
    done = search(rocassay, repository, dying, "--resume", "--json")
    assert done.json["first_bad"]["point"] == repository.commits[PLANTED]
    assert asked(tmp_path)[: len(known)] == known
    assert len(asked(tmp_path)) == len(set(asked(tmp_path))) == len(done.json["judged"])
    other = search(rocassay, repository, judge, "--resume")
    assert other.code == 2
    assert "command: " in other.err


def test_versions_are_searched_in_the_order_given(rocassay: Rocassay, tmp_path: Path):
    judge = "case {point} in 0.[0-4]) exit 0;; 0.5) exit 125;; esac; exit 1"
    names = [f"0.{minor}" for minor in range(12)]
    done = rocassay("bisect", "--versions", ",".join(names), "--command", judge, "--json")
    assert (done.code, done.json["first_bad"]) == (1, None)
    assert done.json["candidates"] == [{"point": "0.5"}, {"point": "0.6"}]
    assert rocassay("bisect", "--versions", ",".join(reversed(names)), "--command", judge).code == 2
    done = rocassay("bisect", "--versions", ",".join(names), "--good", "0.6", "--bad", "0.2", "--command", judge)
    assert "does not come before" in done.complaint


def test_folders_among_the_versions_are_named_in_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "wheel-1").mkdir()
    assert [point.name for point in Versions(["wheel-1", "2.0"]).points] == [str(tmp_path / "wheel-1"), "2.0"]


def test_only_commits_that_touch_a_path_are_points_beside_the_ends(tmp_path: Path):
    pages = made(tmp_path / "pages", 12, lambda i: {"page": str(i // 4), "code": str(i)}, lambda i: f"revision {i}")
    for touching, places in (("page", (1, 4, 8, 10)), ("code", range(1, 11))):
        points = Commits(pages.tree, pages.commits[1], pages.commits[10], tmp_path / "w", touching=[touching]).points
        assert [point.name for point in points] == [pages.commits[place] for place in places]


def test_side_branches_count_as_their_merge_unless_every_commit_is_asked_for(tmp_path: Path):
    merged = made(tmp_path / "merged", 3, lambda i: {"code": str(i)}, lambda i: f"revision {i}")
    merged.git("checkout", "--quiet", "-b", "side", "main~1")
    who = "-c", "user.name=A Developer", "-c", "user.email=a@example.org"
    merged.git(*who, "commit", "--quiet", "--allow-empty", "-m", "side")
    merged.git("checkout", "--quiet", "main")
    merged.git(*who, "merge", "--quiet", "-m", "merge", "side")

    def subjects(*, every: bool) -> list[str]:
        points = Commits(merged.tree, merged.commits[0], "main", tmp_path / "w", every=every).points
        return [point.subject for point in points]

    assert subjects(every=False) == ["revision 0", "revision 1", "revision 2", "merge"]
    assert sorted(subjects(every=True)) == ["merge", "revision 0", "revision 1", "revision 2", "side"]
    assert subjects(every=True)[0::4] == ["revision 0", "merge"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "exactly one of --tree or --versions"),
        (("--versions", "1,2"), "exactly one of --case or --op, --command or --outcomes"),
        (("--versions", "1,1", "--command", "x"), "1 stands twice"),
        (("--versions", "1,2", "--bad", "3", "--command", "x"), "--bad 3 is not among the 2"),
        (("--versions", "1,2", "--outcomes", "x", "--rate", "1.5"), "rate 1.5"),
        (("--versions", "1,2", "--outcomes", "x", "--alpha", "0.5"), "alpha = 0.5 tells nothing"),
        (("--tree", ".", "--good", "x", "--bad", "y", "--command", "x"), "--good x is no commit"),
    ],
)
def test_what_cannot_be_searched_is_one_complaint(rocassay: Rocassay, words: tuple[str, ...], said: str):
    assert said in rocassay("bisect", *words).complaint


def test_only_cases_that_turned_count():
    passed, failed, lost = "passed", "failed", "not run"
    assert verdict_of({"a": failed, "b": passed}, ("b",))[0] is Verdict.GOOD
    assert verdict_of({"a": passed, "b": failed}, ("b",))[0] is Verdict.BAD
    assert verdict_of({"a": passed}, ("b",))[0] is Verdict.SKIP
    assert verdict_of({"a": lost, "b": failed}, ("a", "b"))[0] is Verdict.BAD
    assert verdict_of({"a": lost, "b": passed}, ("a", "b"))[0] is Verdict.SKIP
    assert verdict_of({"b": "known"}, ("b",))[0] is Verdict.BAD, "a failure that is known is one"


@pytest.mark.parametrize(
    ("good", "bad", "said"),
    [
        ({"x": "failed"}, {"x": "failed"}, "the good end a is bad: 1 of 1 cases red"),
        ({"x": "passed", "y": "failed"}, {"x": "passed", "y": "failed"}, "the good end a is bad: 1 of 2 cases red"),
        ({"x": "passed"}, {"x": "passed"}, "the bad end b is good: 1 of 1 cases green"),
        ({"x": "not run"}, {"x": "failed"}, "the good end a cannot be judged: 1 of 1 cases say nothing"),
        ({"x": "passed", "y": "not run"}, {"x": "passed", "y": "failed"}, "of the 1 cases that are red at the bad end"),
    ],
)
def test_ends_between_which_no_case_turned_are_refused(good: dict[str, str], bad: dict[str, str], said: str):
    history = Versions(["a", "b"])
    ends = [Judged(*verdict_of(cases, ()), cases) for cases in (good, bad)]
    with pytest.raises(BisectError, match=said):
        CaseOracle(Selected(("--op", "OP")), history, Run()).settle(history.points, *ends)


def test_only_cases_that_turned_are_run_again_with_the_point_as_source():
    history = Versions(["a", "b"])
    oracle = CaseOracle(Selected(("--op", "OP", "--tier", "full"), "mine"), history, Run())
    assert oracle.command("$PWD/it").startswith("rocassay run --op OP --tier full --provider mine --source $PWD/it")
    good = Judged(Verdict.BAD, cases={"x": "passed", "y": "failed", "z": "passed"})
    oracle.settle(history.points, good, Judged(Verdict.BAD, cases={"x": "crashed", "y": "failed", "z": "passed"}))
    words = "rocassay run --case x --tier full --workers 0 --provider mine --source b"
    assert oracle.command("b") == words


FORMULA = """def kernel(weights, q_scale, out, head_dim):
    torch.mul(weights, q_scale, out=out)
    out.mul_(head_dim**-0.5 * weights.shape[1] ** -0.5)"""


OTHER = (
    "apply_rope:gfx950:e4m3fn:bs1:tokens=1,heads=3,keys=0,index=int64,tensor=mla,mode=functional,dtype=bf16:tagged:s0"
)
"""Of an op that the provider does not have: it turns nothing, and is left out between the ends."""


def test_a_case_names_the_commit_that_broke_a_provider(
    rocassay: Rocassay,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    mistake = FORMULA.replace("head_dim**-0.5", "head_dim**-1")
    mine = provider(tmp_path / "mine", 3, 1, "indexer_weights", FORMULA, mistake)
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "src"))
    case = "indexer_weights:gfx950:e4m3fn:bs1:heads=12,rows=67,dtype=bf16,scales=general:padded:s0"
    done = rocassay("bisect", "--tree", mine.tree, "--good", mine.commits[0], "--bad", "main", "--case", case,
                    "--case", OTHER, "--provider", "mine", "--pythonpath", ".", "--json")  # fmt: skip
    assert done.code == 0, done
    assert done.json["first_bad"]["subject"] == "mine: revision 1"
    assert f"repro '{case}' --engine" in done.json["repro"]
    verdicts = [json.loads(line) for line in Path(done.json["journal"]).read_text().splitlines()[1:]]
    assert [sorted(line["cases"]) for line in verdicts] == [[OTHER, case], [OTHER, case], [case]]
    assert [line["cases"][case] for line in verdicts] == ["passed", "failed", "failed"]
