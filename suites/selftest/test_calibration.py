"""Calibration: what is drawn, what the records of the draws say, what is refused, and what the tightened limits see."""

from __future__ import annotations

import json
import os
import random
import shlex
import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rocassay.harness.calibration.alarms import TIGHTENED, of_cases, of_quick_tier
from rocassay.harness.calibration.calibrating import ALPHA, calibration
from rocassay.harness.calibration.classes import MOST, class_name, shape_classes
from rocassay.harness.calibration.document import CALIBRATION_VERSION, FILE, Calibration, load, save
from rocassay.harness.calibration.draws import FIRST_SEED, LEAST_DRAWS, LEAST_SEEDS, draws
from rocassay.harness.calibration.errors import CalibrationError
from rocassay.harness.calibration.judging import TightenedLimits, limits_for
from rocassay.harness.calibration.moments import moments
from rocassay.harness.calibration.samples import MOST_KURTOSIS, MOST_SKEW, Sample
from rocassay.harness.calibration.statistics import STATISTICS, statistics_of
from rocassay.harness.calibration.tails import tail
from rocassay.harness.cases import Case
from rocassay.harness.engines.interpreter import InterpreterEngine
from rocassay.harness.environment import versions
from rocassay.harness.faults import register as declare
from rocassay.harness.inputs import Stream
from rocassay.harness.judge import Judge
from rocassay.harness.ops import discover, register
from rocassay.harness.options import RESULTS
from rocassay.harness.providers import provider
from rocassay.harness.results import Assay, CaseRecord, Check, Status, read
from rocassay.reports.html import render
from rocassay.reports.markdown import run_markdown
from rocassay.suites.selftest.children import Children, Done
from rocassay.suites.selftest.toynoise import NAME, launch, noise_cases, noise_golden, noise_inputs, noise_op, noisier
from rocassay.suites.selftest.toys import header, record

A_YEAR = 100
FEW = 40


def drawn(count: int = LEAST_DRAWS) -> list[Case]:
    return draws([shape_classes(noise_op(), list(noise_cases("quick")))])[:count]


def judged(case: Case, times: float = 1.0, **changes: Any) -> CaseRecord:
    """The record of a case by its gates alone, with `times` the planned error."""
    operands = noise_inputs(case, Stream.of(case))
    out = operands.outputs["out"]
    launch(operands.inputs["x"], out, times)
    gates = noise_golden(case, operands)["out"].judge("out", out)
    return record(case, checks=tuple(verdict.check("gate") for verdict in gates), **changes)


@pytest.fixture(scope="module")
def records() -> list[CaseRecord]:
    """Of every draw of the toy."""
    return [judged(case) for case in drawn()]


@pytest.fixture
def of(registry: None) -> Callable[..., Calibration]:
    """Calibrations of records, with the toy registered."""
    declare(noisier())
    register(noise_op())

    def make(*records: CaseRecord, **changes: Any) -> Calibration:
        described = InterpreterEngine().describe()
        head = header(versions={**versions(), **described}, device=described["device"], **changes)
        return calibration(Assay(Path("results.jsonl"), [head], list(records)), A_YEAR)

    return make


# What is drawn


def test_every_quick_case_falls_into_one_of_few_classes_of_its_op():
    for op in discover():
        cases = list(op.cases("quick"))
        found = shape_classes(op, cases)
        assert len(found.cases) <= (1 if op.plan.exact else MOST)
        assert sorted(case for own in found.cases.values() for case in map(str, own)) == sorted(map(str, cases))
        assert all(class_name(case, found.by) == name for name, own in found.cases.items() for case in own)
        assert found == shape_classes(op, cases[::-1]), "the order of declaration does not matter"


def test_a_class_takes_words_as_they_are_and_numbers_by_their_power_of_4():
    def named(**params: int | str) -> str:
        return class_name(Case("toy", "gfx942", "e4m3fn", 1, tuple(params.items())), params)

    assert named(dtype="bf16", heads=16) == named(dtype="bf16", heads=63) == "dtype=bf16,heads=16-63"
    assert [named(n=n) for n in (-1, 0, 1, 3, 4, 64)] == ["n=negative", "n=0", "n=1-3", "n=1-3", "n=4-15", "n=64-255"]
    assert named() == "all"


def test_an_op_draws_enough_and_every_quick_case_among_them():
    for op in discover():
        cases = list(op.cases("quick"))
        classes = shape_classes(op, cases)
        found = draws([classes])
        per_class = Counter(class_name(case, classes.by) for case in found)
        assert len(found) >= LEAST_DRAWS
        assert min(per_class.values()) >= LEAST_SEEDS
        assert {case.with_seed(0) for case in found} == set(cases)


def test_no_two_draws_of_a_class_share_inputs_not_even_between_two_architectures():
    cases = [replace(case, arch=arch) for case in noise_cases("quick") for arch in ("gfx942", "gfx950")]
    found = draws([shape_classes(noise_op(), cases)])
    assert len({replace(case, arch="any") for case in found}) == len(found)
    assert {case.arch for case in found} == {"gfx942", "gfx950"}


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [({"seeds": LEAST_SEEDS - 1}, "199 seeds a class"), ({"first_seed": FIRST_SEED - 1}, "seeds from 999999 on")],
)
def test_too_few_seeds_and_seeds_that_a_run_may_use_are_refused(changes: dict[str, int], complaint: str):
    with pytest.raises(CalibrationError, match=complaint):
        draws([shape_classes(noise_op(), list(noise_cases("quick")))], **changes)


# What the records say


def test_a_healthy_op_has_no_false_red_and_its_statistics_are_those_of_the_records(of: Any, records: list[CaseRecord]):
    made = of(*records)
    assert (made.draws, made.red, made.runs) == (LEAST_DRAWS, 0, len(list(noise_cases("quick"))))
    assert made.ops[NAME].at_most == pytest.approx(1 - 0.05 ** (1 / LEAST_DRAWS))
    one = made.ops[NAME].classes["path=one"]
    mine = [statistics_of(record.checks) for record in records if record.params["path"] == "one"]
    for key, fit in one.fits.items():
        values = [found[key] for found in mine]
        assert (fit.n, fit.least, fit.most) == (len(mine), min(values), max(values))
    assert set(one.fits) == {statistic.name for statistic in STATISTICS}
    assert (one.elements, one.rows) == (len(mine) * 16 * 128, len(mine) * 16)
    assert one.cases == ("e4m3fn:bs8:path=one,number=1:tagged", "e4m3fn:bs8:path=one,number=2:tagged")


def test_the_order_of_the_records_does_not_matter(of: Any, records: list[CaseRecord], tmp_path: Path):
    mixed = random.Random(3).sample(records, len(records))  # noqa: S311
    for name, own in (("one", records), ("two", mixed)):
        save(of(*own), tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_a_red_healthy_case_is_counted_by_status_and_by_check(of: Any, records: list[CaseRecord]):
    red = record(Case.parse(records[0].case), Status.FAILED, checks=(Check(name="bytes", kind="gate", passed=False),))
    made = of(red, *records[1:])
    assert (made.red, made.ops[NAME].not_passed, made.ops[NAME].reds) == (1, {"failed": 1}, {"bytes": 1})


def test_false_alarms_are_the_sum_over_the_cases_of_a_run(of: Any, records: list[CaseRecord]):
    made = of(*records)
    quick = of_quick_tier(made, "file")
    single = {name: one.fits["max-z"].above for name, one in made.ops[NAME].classes.items()}
    assert quick.a_run["max-z"] == pytest.approx(2 * sum(single.values()))
    assert quick.a_run[TIGHTENED] == pytest.approx(ALPHA), "none of the toy's limits is refused"
    assert quick.total == sum(quick.a_run.values())
    same, full = (of_cases(made, noise_cases(tier), "file") for tier in ("quick", "full"))
    assert same.a_run == pytest.approx(quick.a_run)
    assert (full.cases, full.a_run) == (same.cases, same.a_run), "nothing is known of the third path"
    assert quick.cases == same.cases == len(list(noise_cases("quick")))
    assert "in 100 of them a year (file)" in str(quick)


# What is refused


def test_records_of_too_few_draws_are_no_calibration(of: Any, records: list[CaseRecord]):
    with pytest.raises(CalibrationError, match=f"class path=two of {NAME} has 199 draws, a calibration needs 200"):
        of(*records[: LEAST_DRAWS // 2 + LEAST_SEEDS - 1])
    with pytest.raises(CalibrationError, match=f"{NAME} has 999 draws, a calibration needs 1000"):
        of(*records[1:])


def test_records_of_two_versions_are_no_calibration(registry: None, records: list[CaseRecord]):
    heads = [header(versions={"torch": version}) for version in ("2.11", "2.13")]
    with pytest.raises(CalibrationError, match=r"draws of torch 2\.11 and of 2\.13"):
        calibration(Assay(Path("results.jsonl"), heads, records), A_YEAR)


def sampled(values: list[float], key: str = "log-rms-z") -> Sample:
    return Sample(key, moments(values), tail(values))


def test_a_limit_is_refused_for_skewed_and_for_long_tailed_samples():
    generator = random.Random(5)  # noqa: S311
    skewed = sampled([generator.expovariate(1) for _ in range(1000)])
    laplace = [generator.expovariate(1) * generator.choice((-1, 1)) for _ in range(5000)]
    long = sampled([value * abs(value) for value in laplace] + [-value * abs(value) for value in laplace])
    normal = sampled([generator.gauss(0, 1) for _ in range(1000)])
    assert skewed.moments.skew > MOST_SKEW
    assert str(skewed.refused).startswith("skewness: ")
    assert long.moments.kurtosis > MOST_KURTOSIS
    assert str(long.refused).startswith("excess kurtosis: ")
    assert normal.refused is None
    assert sampled([generator.gauss(0, 1) for _ in range(LEAST_SEEDS - 1)]).refused == "too few values: 199 of 200"
    assert str(sampled([1.0] * LEAST_SEEDS).refused).startswith("constant")


def test_a_limit_is_never_looser_than_the_a_priori_one():
    generator = random.Random(5)  # noqa: S311
    for mean, tightened in ((2.0, True), (6.9, False)):
        fit = sampled([generator.gauss(mean, 0.1) for _ in range(1000)], "max-z").fit(1e-6)
        assert (fit.limit is not None) == tightened == (fit.refused is None)
        assert fit.limit is None or fit.limit < 7.1
    assert str(fit.refused).startswith("looser than the a-priori limit: ")


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"schema_version": CALIBRATION_VERSION + 1}, f"of version {CALIBRATION_VERSION + 1}, this rocassay reads"),
        ({"tuned": True}, "tuned: Extra inputs are not permitted"),
        ({"alpha": "small"}, "alpha: Input should be a valid number"),
    ],
)
def test_a_file_that_holds_what_is_not_known_is_refused(
    of: Any, records: list[CaseRecord], tmp_path: Path, change: dict[str, Any], complaint: str
):
    path = tmp_path / "calibration.json"
    save(of(*records), path)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(CalibrationError, match=complaint):
        load(tmp_path)


def test_a_file_of_a_class_with_too_few_draws_is_refused(of: Any, records: list[CaseRecord], tmp_path: Path):
    path = tmp_path / "calibration.json"
    save(of(*records), path)
    held = json.loads(path.read_text())
    held["ops"][NAME]["classes"]["path=one"]["draws"] = FEW
    path.write_text(json.dumps(held))
    with pytest.raises(CalibrationError, match="draws: Input should be greater than or equal to 200"):
        load(path)


@pytest.mark.parametrize(
    ("text", "complaint"), [("{", "is no calibration"), ("[]", "of version None"), (None, "cannot")]
)
def test_what_is_no_calibration_is_refused(tmp_path: Path, text: str | None, complaint: str):
    path = tmp_path / "file.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(CalibrationError, match=complaint):
        load(path)


# The tightened limits


@pytest.fixture
def limits(of: Any, records: list[CaseRecord], tmp_path: Path) -> TightenedLimits:
    """Of the toy on the interpreter, read back from their file."""
    save(of(*records), tmp_path / "calibration.json")
    return limits_for(tmp_path, InterpreterEngine(), "rocassay")


def test_a_kernel_that_is_noisier_within_every_a_priori_limit_is_seen(limits: TightenedLimits):
    case = drawn(1)[0].with_seed(5)
    judge = Judge(provider("rocassay"), InterpreterEngine(), "quick", "", limits=limits)
    assert judge(case).status is Status.PASSED
    found = judge(case, noisier())
    assert {check.name for check in found.checks if not check.passed} == {TIGHTENED}
    assert found.reason.startswith("calibration: log-rms-z is ")
    assert found.repro.endswith(f"--fault {NAME}-noisier --calibration {limits.source}")
    assert Judge(provider("rocassay"), InterpreterEngine(), "quick", "")(case, noisier()).status is Status.PASSED


def test_fresh_seeds_of_a_healthy_kernel_stay_within_the_tightened_limits(limits: TightenedLimits):
    verdicts = [limits.verdict(case, judged(case).checks) for case in (drawn(1)[0].with_seed(n) for n in range(FEW))]
    assert all(verdict.passed and verdict.applicable for verdict in verdicts)
    assert max(verdict.statistic or 0.0 for verdict in verdicts) < 1


def test_a_case_that_no_class_stands_for_is_not_judged_and_says_so(limits: TightenedLimits):
    third = next(case for case in noise_cases("full") if case["path"] == "three")
    verdict = limits.verdict(third, judged(third, 3.0).checks)
    assert (verdict.applicable, verdict.detail) == (False, "not applicable: no case of this kind was calibrated")


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"engine": "isa"}, "of engine isa, this run is of interpreter"),
        ({"provider": "vllm"}, "of provider vllm, this run is of rocassay"),
        ({"versions": {**versions(), "triton": "2.0"}}, r"of triton 2\.0, this run is of "),
        ({"device": "MI355X"}, "of device MI355X, this run is of cpu"),
    ],
)
def test_limits_of_another_machine_are_refused(
    of: Any, records: list[CaseRecord], tmp_path: Path, changes: dict[str, Any], complaint: str
):
    made = of(*records)
    save(made.model_copy(update=changes), tmp_path / "calibration.json")
    with pytest.raises(CalibrationError, match=complaint):
        limits_for(tmp_path, InterpreterEngine(), "rocassay")


# The command

LINES_BEFORE_THE_KILL = 300


@pytest.fixture(scope="module")
def killed_and_resumed(children: Children, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Done]:
    """The folder of a calibration that was killed in the middle and then completed, and what that printed."""
    out = tmp_path_factory.mktemp("calibration") / "out"
    words = ("rocassay", "calibrate", "--op", NAME, "-n", 0, "--out", out, "--runs-per-year", A_YEAR)
    pid = children.start(*words)
    while lines_of(out) < LINES_BEFORE_THE_KILL and children.running(pid):
        time.sleep(0.02)
    os.kill(pid, signal.SIGKILL)
    assert children.wait(pid).code == -signal.SIGKILL
    assert LINES_BEFORE_THE_KILL <= lines_of(out) < LEAST_DRAWS
    return out, children(*words, "--resume")


def lines_of(out: Path) -> int:
    results = out / RESULTS
    return results.read_bytes().count(b"\n") if results.exists() else 0


def test_a_killed_calibration_is_completed_without_a_draw_lost_or_doubled(killed_and_resumed: tuple[Path, Done]):
    out, done = killed_and_resumed
    assert done.code == 0, done
    written = [json.loads(line) for line in (out / RESULTS).read_text().splitlines()]
    assert sorted(line["case"] for line in written if line["kind"] == "case") == sorted(map(str, drawn()))
    assert f"seen: 0 false reds in {LEAST_DRAWS} draws" in done.out
    assert "in 100 of them a year" in done.out


def test_the_file_is_what_its_records_say(killed_and_resumed: tuple[Path, Done], of: Any, tmp_path: Path):
    out, _ = killed_and_resumed
    save(calibration(read(out / RESULTS), A_YEAR), tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == (out / FILE).read_bytes()


def test_a_complete_calibration_is_only_read_again(killed_and_resumed: tuple[Path, Done], children: Children):
    out, _ = killed_and_resumed
    words = ("calibrate", "--op", NAME, "-n", 0, "--out", out, "--runs-per-year", A_YEAR, "--resume", "--json")
    before, done = (out / FILE).read_text(), children.rocassay(*words)
    assert (done.code, done.out) == (0, before)
    assert json.loads(done.out)["draws"] == LEAST_DRAWS


def test_a_red_healthy_case_turns_the_calibration_red_and_is_named(
    killed_and_resumed: tuple[Path, Done], children: Children, tmp_path: Path
):
    out, _ = killed_and_resumed
    text = (out / RESULTS).read_text()
    (tmp_path / RESULTS).write_text(text.replace('"status":"passed"', '"status":"failed"', 1))
    done = children.rocassay("calibrate", "--op", NAME, "-n", 0, "--out", tmp_path, "--resume")
    assert done.code == 1
    assert f"seen: 1 false reds in {LEAST_DRAWS} draws" in done.out
    assert f"rocassay repro '{drawn(1)[0]}'" in done.out
    assert load(tmp_path).ops[NAME].not_passed == {"failed": 1}


def test_a_run_with_a_calibration_judges_by_it_and_says_how_often_it_lies(
    killed_and_resumed: tuple[Path, Done], children: Children, tmp_path: Path
):
    out, _ = killed_and_resumed
    done = children.rocassay("run", "--op", NAME, "-n", 0, "--calibration", out, "--out", tmp_path)
    assert done.code == 0, done
    held = read(tmp_path / RESULTS)
    assert held.false_alarms is not None
    assert held.false_alarms.cases == len(held.cases) == len(list(noise_cases("quick")))
    assert str(held.false_alarms) in done.out
    assert all([check.applicable for check in one.checks if check.name == TIGHTENED] == [True] for one in held.cases)
    assert f"By measurement on healthy kernels, {held.false_alarms}" in render(held)
    assert str(held.false_alarms) in run_markdown(held)
    again = children.rocassay(*shlex.split(held.cases[0].repro)[1:])
    assert (again.code, TIGHTENED in again.out) == (0, True), again


def test_a_run_refuses_a_calibration_of_another_provider(
    killed_and_resumed: tuple[Path, Done], children: Children, tmp_path: Path
):
    out, _ = killed_and_resumed
    words = ("run", "--op", NAME, "--provider", "torch", "-n", 0, "--calibration", out, "--out", tmp_path)
    assert "of provider rocassay, this run is of torch" in children.rocassay(*words).complaint
