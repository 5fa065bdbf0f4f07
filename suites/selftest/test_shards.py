"""Shards: a partition that is the same everywhere, parts that take equally long, and a whole that misses none."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rocassay.harness.accuracy.history import History
from rocassay.harness.cases import Case
from rocassay.harness.controller import Controller
from rocassay.harness.faults import register as declare
from rocassay.harness.ops import Matrix, expect, register
from rocassay.harness.options import BadOption, Options
from rocassay.harness.results import Assay, ResultsError, ResultsWriter, RunHeader, Shard, Status, merge, read
from rocassay.harness.sharding import UNKNOWN, cut, durations_of, estimated, numbers_of, plan_of
from rocassay.suites.selftest.children import Children, Done
from rocassay.suites.selftest.toys import end, header, record, toy_case, toy_fault, toy_op
from rocassay.suites.selftest.toysuite.names import EXPECTED_BLOCK_SIZE, NAME, OTHER_BLOCK_SIZE

CASES = [
    Case(op, arch, "e4m3fn", 1, (("number", number),))
    for op in ("a", "b")
    for number in range(10)
    for arch in ("gfx942", "gfx950")
]
WORK = [(case, "") for case in CASES] + [(case, "f") for case in CASES[:6]]
ITEMS = [(str(case), fault) for case, fault in WORK]


@given(count=st.integers(1, 23), took=st.lists(st.integers(0, 10**9), min_size=len(WORK), max_size=len(WORK)))
def test_parts_are_the_selection_without_overlap_and_near_the_best_cut(count: int, took: list[int]):
    parts, loads = cut(WORK, dict(zip(ITEMS, took, strict=True)), count)
    assert sorted(item for part in parts for item in part) == sorted(ITEMS)
    assert all(parts)
    groups: Counter[tuple[Case, str]] = Counter()
    for (case, fault), microseconds in zip(WORK, took, strict=True):
        groups[replace(case, arch=""), fault] += max(1, microseconds)
    best = max(sum(groups.values()) / count, max(groups.values()))
    assert sum(loads) == sum(groups.values())
    assert max(loads) <= best + max(groups.values()) * (1 - 1 / count), "what dealing to the least laden guarantees"


def test_the_order_of_the_selection_and_of_the_durations_does_not_matter():
    known = {item: 10 + number % 3 for number, item in enumerate(ITEMS)}
    wanted = [set(part) for part in cut(WORK, known, 5)[0]]
    shuffled = random.Random(3)  # noqa: S311
    for _ in range(5):
        work, durations = shuffled.sample(WORK, len(WORK)), dict(shuffled.sample(sorted(known.items()), len(known)))
        assert [set(part) for part in cut(work, durations, 5)[0]] == wanted


def test_longest_first_cuts_what_dealing_in_order_cuts_badly():
    work = WORK[:12]
    seconds = [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 5, 5]
    known = {(str(case), fault): n for (case, fault), n in zip(work, seconds, strict=True)}
    assert cut(work, known, 2)[1] == [10, 10]


def test_cases_that_share_inputs_stay_together():
    where = {item: number for number, part in enumerate(cut(WORK, {}, 7)[0]) for item in part}
    for case, fault in WORK:
        assert where[str(case), fault] == where[str(replace(case, arch="gfx942")), fault]


def test_what_is_unknown_takes_what_its_case_its_op_or_everything_takes():
    ids = [item for item in ITEMS if item[0].startswith("a:")][:5]
    known = {ids[0]: 7, ids[1]: 3, ids[2]: 5, ("gone:gfx942:e4m3fn:bs1:x=1:tagged:s0", ""): 4, (*ids[1][:1], "g"): 99}
    found = estimated([*WORK, (CASES[0], "g")], known)
    assert [found[one] for one in ids[:4]] == [7, 3, 5, 5], "its own, else the op's median without drills"
    assert (found[str(CASES[0]), "f"], found[str(CASES[5]), "f"]) == (7, 5)
    assert {found[item] for item in ITEMS if item[0].startswith("b:")} == {4}, "the median of all"
    assert set(estimated(WORK, {}).values()) == {UNKNOWN}


@pytest.mark.parametrize("text", ["0/3", "4/3", "3", "a/b", "-1/2", "1/0", "1/2/3", ""])
def test_what_is_no_shard_is_refused(text: str):
    with pytest.raises(BadOption, match="is none; write I/N with I from 1 to N"):
        numbers_of(text)


def test_shards_without_work_and_durations_without_a_shard_are_refused():
    assert numbers_of("2/5") == (2, 5)
    with pytest.raises(BadOption, match=r"4 shards of 3 groups of cases .* use at most 3"):
        cut(WORK[:6], {}, 4)
    with pytest.raises(BadOption, match="pass --shard I/N with it"):
        Options(durations="x").checked()
    with pytest.raises(BadOption, match="there are no durations at nowhere"):
        durations_of("nowhere", "interpreter", "rocassay")


def written(folder: Path, *lines: Any) -> Path:
    writer = ResultsWriter(folder / "results.jsonl")
    for line in lines:
        writer.append(line)
    writer.close()
    return writer.path


def test_a_results_file_and_a_history_of_it_cut_alike(tmp_path: Path):
    timings = [{"inputs": 0.1 * n, "run": 0.0123456 * n} for n in range(6)]
    records = [record(toy_case(number=n), timings=timing) for n, timing in enumerate(timings)]
    records += [record(toy_case(number=9), engine="device", timings={"run": 1.0}), record(toy_case(number=8))]
    drill = record(toy_case(number=1), Status.FAILED, fault="f", timings={"run": 2.0})
    path = written(tmp_path, header(toy_case()), *records, drill, end())
    history = tmp_path / "history.sqlite"
    History(history).kernel_runs.append(read(path))
    found = durations_of(str(tmp_path), "interpreter", "rocassay")
    assert len(found) == 7
    assert found[str(toy_case(number=3)), ""] == 337037
    assert durations_of(str(path), "interpreter", "rocassay") == found
    assert durations_of(str(history), "interpreter", "rocassay") == found


def part(number: int, *records: Any, count: int = 3, **changes: Any) -> list[Any]:
    """The lines of one shard of three with two cases each."""
    shard = Shard(number=number, count=count, plan=changes.pop("plan", "p"), selected=2 * count)
    found = list(records) or [record(toy_case(number=2 * number + n), run_id=f"r{number}") for n in range(2)]
    head = header(toy_case(), run_id=f"r{number}", shard=shard, planned=2, **changes)
    return [head, *found, end(run_id=f"r{number}", seconds=float(number))]


def merged(tmp_path: Path, *parts: list[Any]) -> Assay:
    paths = [written(tmp_path / f"in{number}", *lines) for number, lines in enumerate(parts)]
    return merge(paths, tmp_path / "all" / "results.jsonl")


def test_all_shards_together_are_green_and_one_run(tmp_path: Path):
    found = merged(tmp_path, part(2), part(1), part(3, device="MI300X"))
    assert found.red_reasons() == []
    (head,) = found.headers
    assert (head.planned, head.shard, [shard.number for shard in head.merged]) == (6, None, [1, 2, 3])
    assert [record.params["number"] for record in found.records] == [2, 3, 4, 5, 6, 7]
    assert [(one.seconds, one.interrupted, one.run_id) for one in found.ends] == [(3.0, False, head.run_id)]
    assert head.device == " / MI300X"
    History(tmp_path / "h.sqlite").kernel_runs.append(found)


@pytest.mark.parametrize(
    ("there", "words"),
    [((1, 3), "shard 2 is missing"), ((2,), "shards 1, 3 are missing"), ((1,), "shards 2, 3 are missing")],
)
def test_a_missing_shard_is_red(tmp_path: Path, there: tuple[int, ...], words: str):
    reasons = merged(tmp_path, *map(part, there)).red_reasons()
    assert any(words in reason for reason in reasons), reasons
    assert f"{6 - 2 * len(there)} planned cases left no record: the run was cut short" in reasons


def test_a_shard_alone_is_judged_by_its_own_part(tmp_path: Path):
    assert read(written(tmp_path, *part(2))).red_reasons() == []


def test_what_is_red_or_unreadable_in_a_shard_stays_so(tmp_path: Path):
    red = part(1, record(toy_case(number=0), Status.FAILED), record(toy_case(number=1)))
    assert merged(tmp_path / "a", red, part(2), part(3)).red_reasons() == ["1 of 6 cases are not green"]
    unended = merged(tmp_path / "b", part(1)[:-1], part(2), part(3))
    assert any("did not come to its end" in reason for reason in unended.red_reasons())
    torn = written(tmp_path / "c", *part(1))
    with torn.open("ab") as stream:
        stream.write(b'{"kind": "ca')
    others = [written(tmp_path / f"c{n}", *part(n)) for n in (2, 3)]
    found = merge([torn, *others], tmp_path / "c" / "all" / "results.jsonl")
    assert len(found.problems) == 1
    assert "is not a record" in found.red_reasons()[0]


UNLIKE: dict[str, tuple[list[Any], str]] = {
    "commit": (part(2, commit="other"), "not of one run: commit  and other"),
    "tier": (part(2, tier="full"), "not of one run: tier quick and full"),
    "count": (part(2, count=4), "not of one run: count 3 and 4"),
    "plan": (part(2, plan="q"), "plan p and q; give every shard the same selection and the same --durations file"),
    "twice": (part(1), r"shard 1 of 3 \(plan p\) is there twice, .*in0.* and .*in1"),
    "whole": ([header(toy_case()), record(), end()], "holds no shard of a run; `rocassay run --shard I/N` writes one"),
}


@pytest.mark.parametrize("kind", UNLIKE)
def test_what_makes_no_whole_is_refused(tmp_path: Path, kind: str):
    lines, words = UNLIKE[kind]
    with pytest.raises(ResultsError, match=words):
        merged(tmp_path, part(1), lines)
    assert not (tmp_path / "all").exists()


def test_joining_replaces_an_earlier_joining_and_nothing_else(tmp_path: Path):
    paths = [written(tmp_path / f"in{number}", *part(number)) for number in (1, 2, 3)]
    target = tmp_path / "all" / "results.jsonl"
    assert merge(paths[:2], target).red_reasons()
    whole = merge(paths, target)
    assert whole.red_reasons() == []
    assert merge(paths[::-1], target).headers == whole.headers, "in any order the same run"
    for other in (paths[0], written(tmp_path / "run", header(toy_case()), record(), end())):
        before = other.read_bytes()
        with pytest.raises(ResultsError, match="holds records that are not of a merging; choose another --out"):
            merge(paths, other)
        assert other.read_bytes() == before


def shard(children: Children, out: Path, numbers: str, *more: object) -> Done:
    sizes = [word for size in (EXPECTED_BLOCK_SIZE, OTHER_BLOCK_SIZE) for word in ("--block-size", size)]
    return children.rocassay("run", "--op", NAME, *sizes, "--shard", numbers, "--out", out, *more)


def test_shards_of_a_real_run_are_green_each_and_joined(children: Children, tmp_path: Path):
    outs = [tmp_path / str(number) for number in (1, 2)]
    runs = [shard(children, out, f"{n}/2", "-n", workers) for n, out, workers in ((1, outs[0], 0), (2, outs[1], 2))]
    assert [done.code for done in runs] == [0, 0], runs
    heads: list[RunHeader] = [read(out / "results.jsonl").headers[0] for out in outs]
    assert [(head.shard and head.shard.number, head.planned) for head in heads] == [(1, 3), (2, 3)]
    assert "shard 1 of 2 (plan " in runs[0].out
    done = children.rocassay("report", "merge", *outs, "--out", tmp_path / "all")
    assert (done.code, "cases: 6 passed" in done.out, "GREEN" in done.out) == (0, True, True), done
    whole = read(tmp_path / "all" / "results.jsonl")
    assert len({found.case for found in whole.cases}) == len(whole.records) == 6
    lost = children.rocassay("report", "merge", outs[0], tmp_path / "nothing", "--out", tmp_path / "half")
    assert (lost.code, "RED shard 2 is missing" in lost.out) == (1, True), lost
    assert "there is no " in lost.complaint


@pytest.mark.parametrize("number", [1, 2])
def test_a_shard_has_to_fill_the_cells_of_its_cases_and_the_first_one_those_of_no_case(
    registry: None, tmp_path: Path, number: int
):
    register(toy_op("toy_cut"))
    declare(toy_fault("toy_cut"))
    sizes = (1, 16, 64)
    expect(Matrix(ops=("toy_cut",), arches=("gfx942",), fp8s=("e4m3fn",), block_sizes=sizes))
    options = Options(ops=("toy_cut",), suites=("kernels",), shard=f"{number}/2", out=tmp_path).checked()
    plan = plan_of(options)
    assert plan
    Controller(options, plan).finish(interrupted=False)
    (head,) = read(tmp_path / "results.jsonl").headers
    mine = {Case.parse(case).block_size for case, _ in plan.mine}
    assert {cell.block_size for cell in head.expected} == mine | ({64} if number == 1 else set())


def test_a_shard_resumes_only_as_itself(children: Children, tmp_path: Path):
    assert shard(children, tmp_path, "1/2", "-n", 0).code == 0
    again = shard(children, tmp_path, "1/2", "-n", 0, "--resume")
    assert (again.code, len(read(tmp_path / "results.jsonl").records)) == (0, 3), again
    other = shard(children, tmp_path, "2/2", "-n", 0, "--resume")
    assert other.code == 2
    assert "its shard is shard 1 of 2" in other.err
    assert shard(children, tmp_path / "x", "1/9", "-n", 0).complaint.endswith("use at most 6")


def test_drills_are_cut_too(children: Children, tmp_path: Path):
    words = ("run", "--op", NAME, "--block-size", EXPECTED_BLOCK_SIZE, "--drills", "-n", 0)
    outs = [tmp_path / str(number) for number in (1, 2)]
    for number, out in enumerate(outs, start=1):
        assert children.rocassay(*words, "--shard", f"{number}/2", "--out", out).code == 0
    found = [read(out / "results.jsonl") for out in outs]
    assert sorted(len(assay.drills) for assay in found) == [0, 1]
    assert sorted(assay.headers[0].drills for assay in found) == [(), (f"{NAME}-off-by-one",)]
    assert children.rocassay("report", "merge", *outs, "--out", tmp_path / "all").code == 0
