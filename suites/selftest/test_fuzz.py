"""Fuzzing: a planted defect is found and shrunk to its smallest case; declarations and interruptions are respected."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import torch

from rocassay.harness import ops
from rocassay.harness.cases import Case, cross
from rocassay.harness.engines.base import engine
from rocassay.harness.faults import register
from rocassay.harness.fuzz.search import Budget, Mistake, Search, Searched, symptom_of
from rocassay.harness.inputs import Operands, Stream
from rocassay.harness.judge import Judge
from rocassay.harness.ops import Op, Tier
from rocassay.harness.results import CaseRecord, Status, read
from rocassay.suites.selftest.children import Children
from rocassay.suites.selftest.commandline import Rocassay, rocassay  # noqa: F401  a fixture
from rocassay.suites.selftest.toys import UNTOUCHED, Implementation, double, toy_fault, toy_op
from rocassay.suites.selftest.toysuite.names import FATAL

ROWS, COLUMNS = (0, 90), (1, 90)
BUDGET = Budget(examples=30)
shipped = pytest.mark.parametrize("op", ops.discover(), ids=lambda op: op.name)


def sized_cases(tier: Tier) -> Iterable[Case]:
    axes: dict[str, Any] = {"arches": ("gfx950", "gfx942"), "fp8s": ("e4m3fn",), "block_sizes": (16, 1)}
    return cross("toy", **axes, recipes=("tagged", "padded"), mode=("fine", "slim"), rows=(2, 40), columns=(1, 7))


def sized_inputs(case: Case, stream: Stream) -> Operands:
    shape = (case.integer("rows"), case.integer("columns") + 1)
    x = torch.from_numpy(stream.child("x").gaussian(shape)).float()
    return Operands(inputs={"x": x}, outputs={"out": torch.full(shape, UNTOUCHED)})


def sized_op(**changes: Any) -> Op:
    parts: dict[str, Any] = {"cases": sized_cases, "inputs": sized_inputs, "probes": (), "variant": lambda *_: "fine"}
    return toy_op(**{**parts, "free": {"rows": ROWS, "columns": COLUMNS}, **changes})


def wrong_from(rows: int, columns: int) -> Callable[..., None]:
    """The toy with one element wrong where there are so many rows and columns."""

    def function(x: torch.Tensor, out: torch.Tensor) -> None:
        double(x, out)
        if x.shape[0] >= rows and x.shape[1] > columns:
            out[rows - 1, columns - 1] += 1

    return function


class Log:
    """A watcher that remembers what it was told."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.seen: list[CaseRecord | Mistake] = []

    def begins(self, case: Case) -> None:
        """Keep the case's id."""
        self.begun.append(str(case))

    def judged(self, seen: CaseRecord | Mistake) -> None:
        """Keep what was seen."""
        self.seen.append(seen)


@pytest.fixture
def search(registry: None, tmp_path: Path) -> Callable[..., tuple[Searched, Log]]:
    """Searches a toy op with the given implementation; what was red is remembered in a folder of the name `out`."""

    def run(
        function: Callable[..., None],
        op: Op | None = None,
        *,
        seed: int = 0,
        out: str = "a",
        budget: Budget = BUDGET,
        log: Log | None = None,
        **more: Any,
    ) -> tuple[Searched, Log]:
        ops._REGISTRY["toy"] = op or sized_op()
        judge, log = Judge(Implementation(function), engine("interpreter"), "full", "r"), log or Log()
        return Search(ops.op_named("toy"), judge, log, **more)(budget, seed, tmp_path / out), log

    return run


SearchToy = Callable[..., tuple[Searched, Log]]


def test_a_planted_defect_is_shrunk_to_its_smallest_case(search: SearchToy):
    found, _ = search(wrong_from(13, 5))
    smallest = "toy:gfx950:e4m3fn:bs1:mode=fine,rows=13,columns=5:tagged:s0"
    assert [(record.case, symptom_of(record)) for record in found.findings] == [(smallest, "failed: bytes")]
    assert found.findings[0].repro == f"rocassay repro '{smallest}' --engine interpreter"


def test_two_defects_are_told_apart_and_both_are_shrunk(search: SearchToy):
    def function(x: torch.Tensor, out: torch.Tensor) -> None:
        if x.shape[0] >= 31:
            raise ZeroDivisionError("too many rows")
        wrong_from(3, 2)(x, out)

    found, _ = search(function)
    symptoms = {symptom_of(record): (record.params["rows"], record.params["columns"]) for record in found.findings}
    assert symptoms == {"failed: bytes": (3, 2), "crashed: ZeroDivisionError": (31, 1)}


def test_a_right_implementation_is_found_right_on_many_different_cases(search: SearchToy):
    found, log = search(double)
    assert (found.findings, found.mistakes) == ([], [])
    assert found.cases == len(set(log.begun)) == len(log.begun) > BUDGET.examples // 2
    cases = [Case.parse(name) for name in log.begun]
    for name, (low, high) in (("rows", ROWS), ("columns", COLUMNS)):
        drawn = {case.integer(name) for case in cases}
        assert low <= min(drawn) < max(drawn) <= high
        assert len(drawn) > 5
    declared = list(sized_cases("full"))
    assert {case["mode"] for case in cases} == {"fine", "slim"}
    assert {(case.arch, case.block_size, case.recipe) for case in cases} <= {
        (case.arch, case.block_size, case.recipe) for case in declared
    }
    assert len({case.seed for case in cases}) > 5


def test_the_same_seed_draws_the_same_cases(search: SearchToy):
    drawn = [
        search(double, seed=seed, out=str(place), budget=Budget(15))[1].begun for place, seed in enumerate((1, 1, 2))
    ]
    assert drawn[0] == drawn[1] != drawn[2]


def test_only_what_the_op_accepts_is_drawn(search: SearchToy):
    op = sized_op(accepts=lambda case: case.integer("rows") % 2 == 0 and case["mode"] == "slim")
    found, log = search(wrong_from(13, 5), op)
    assert [record.params["rows"] for record in found.findings] == [14]
    assert all(op.accepts(Case.parse(name)) for name in log.begun)


def test_a_case_that_cannot_be_made_is_a_mistake_of_the_declaration(search: SearchToy):
    def inputs(case: Case, stream: Stream) -> Operands:
        if case.integer("rows") > 20:
            raise IndexError("no such row")
        return sized_inputs(case, stream)

    found, log = search(double, sized_op(inputs=inputs), budget=Budget(20))
    assert found.findings == []
    (mistake,) = found.mistakes
    assert mistake.reason == "IndexError: no such row"
    assert Case.parse(mistake.case)["rows"] == 21
    assert mistake in log.seen


def test_what_is_known_is_not_judged_again(search: SearchToy):
    first, log = search(wrong_from(13, 5), seed=1)
    known = [seen for seen in log.seen if isinstance(seen, CaseRecord)]
    again, silent = search(wrong_from(13, 5), seed=1, out="b", known=known)
    assert again.findings == first.findings
    assert silent.begun == []


def test_a_search_begins_with_what_was_red_before(search: SearchToy):
    search(wrong_from(13, 5))
    healed, log = search(double, budget=Budget(5))
    assert healed.findings == []
    assert Case.parse(log.begun[0]).params == (("mode", "fine"), ("rows", 13), ("columns", 5))


def test_a_search_whose_time_is_over_keeps_what_it_has_seen(search: SearchToy):
    log = Log()
    found, _ = search(wrong_from(1, 1), log=log, clock=lambda: len(log.begun), budget=Budget(100, seconds=7.5))
    assert len(log.begun) == 8
    assert found.findings[0].case in log.begun
    clock = iter(range(1_000))
    found, log = search(wrong_from(1, 1), out="b", clock=lambda: next(clock), budget=Budget(100, seconds=0.5))
    assert (found.cases, found.findings, log.begun) == (0, [], [])


@shipped
def test_what_is_free_is_a_parameter_and_what_is_declared_is_accepted(op: Op):
    assert op.free, "no parameter of the op may be anything but what is declared"
    cases = list(op.cases("full"))
    assert set(op.free) <= {name for case in cases for name, _ in case.params}
    assert [str(case) for case in cases if not op.accepts(case)] == []


def test_a_free_parameter_needs_a_range():
    with pytest.raises(ops.IncompleteOp, match="the range of its free parameter 'rows' is empty"):
        sized_op(free={"rows": (3, 2)})


@pytest.mark.usefixtures("registry")
def test_the_command_records_shows_and_keeps_its_findings(rocassay: Rocassay, tmp_path: Path):  # noqa: F811
    modes = cross("toy", arches=("gfx942",), fp8s=("e4m3fn",), block_sizes=(1,), mode=("fine", "raises"), number=(0, 1))
    ops.register(toy_op(cases=lambda _: modes, free={"number": (0, 50)}))
    register(toy_fault())
    command = ("fuzz", "--op", "toy", "--examples", 20, "-n", 0, "--out", "out", "--keep", "corpus.txt")
    done, smallest = rocassay(*command), "toy:gfx942:e4m3fn:bs1:mode=raises,number=0:tagged:s0"
    assert done.code == 1
    assert f"rocassay repro '{smallest}' --engine interpreter" in done.out
    assay = read(tmp_path / "out" / "results.jsonl")
    assert assay.ended
    red = [record for record in assay.cases if record.status is not Status.PASSED]
    assert [(record.case, record.status) for record in red] == [(smallest, Status.CRASHED)]
    assert any(record.status is Status.PASSED for record in assay.cases)
    again = rocassay(*command, "--resume", "--json")
    assert [finding["case"] for found in again.json["ops"] for finding in found["findings"]] == [smallest]
    kept = (tmp_path / "corpus.txt").read_text()
    assert kept == f"\n# crashed: ZeroDivisionError on rocassay/interpreter\n{smallest}\n"


def test_a_case_that_kills_its_process_is_a_finding_and_the_search_goes_on(children: Children, tmp_path: Path):
    done = children.rocassay("fuzz", "--op", FATAL, "--examples", 8, "-n", 1, "--out", tmp_path, "--json")
    assert done.code == 1, done
    (searched,) = json.loads(done.out)["ops"]
    symptoms = {finding["params"]["mode"]: finding["reason"] for finding in searched["findings"]}
    assert f"was killed by {signal.SIGKILL.name}" in symptoms["dies"]
    assert searched["cases"] > 1
    (record,) = [record for record in read(tmp_path / "results.jsonl").cases if record.params["mode"] == "dies"]
    assert (record.status, record.seed) == (Status.CRASHED, 0)
