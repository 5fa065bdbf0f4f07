"""The gate as a whole: what turns it red, what does not, and what it refuses to say."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from rocassay.harness.accuracy.baseline import ItemBaseline
from rocassay.harness.accuracy.errors import AccuracyError
from rocassay.harness.accuracy.gate import judge
from rocassay.harness.accuracy.outcomes import Outcome, Run
from rocassay.harness.accuracy.verdict import AccuracyCheck, AccuracyVerdict, Policy
from rocassay.suites.accuracy.builds import ACCURACY, QUESTIONS, baseline_of, broken, item_rates, run_of

FLOOR = 0.92
RATES = item_rates(np.random.default_rng(51))
BASELINE = baseline_of(np.random.default_rng(52), RATES)
GOOD = run_of(np.random.default_rng(53), RATES)
DAMAGED = broken(np.random.default_rng(54), RATES, 0.03)
BAD, BAD_AGAIN = (run_of(np.random.default_rng(seed), DAMAGED) for seed in (55, 56))


def check(verdict: AccuracyVerdict, name: str) -> AccuracyCheck:
    return next(check for check in verdict.checks if check.name == name)


def changed(run: Run, count: int, **fields: object) -> Run:
    """The run with the first questions' outcomes changed."""
    return {q: replace(o, **fields) if i < count else o for i, (q, o) in enumerate(sorted(run.items()))}


def test_a_good_run_is_green_and_the_verdict_says_what_that_means():
    verdict = judge(GOOD, BASELINE, floor=FLOOR)
    assert (verdict.status, verdict.green) == ("green", True), verdict.reason
    assert all(check.passed for check in verdict.checks)
    names = [check.name for check in verdict.checks]
    assert names == ["accuracy", "answered", "finished", "length", "power", "floor", "unanswered", "cut"]
    assert all(check.reason and check.detail for check in verdict.checks)
    assert verdict.promise.startswith("a drop of 2.0 points is seen with probability 0.9")
    assert "false alarm 0.0006 per run" in verdict.promise


def test_a_loss_of_three_points_needs_confirmation_and_then_is_red():
    first = judge(BAD, BASELINE, floor=FLOOR - 0.03)
    assert first.status == "needs-confirmation"
    assert check(first, "accuracy").status == "needs-confirmation"
    assert "points" in first.reason
    both = judge(BAD, BASELINE, floor=FLOOR - 0.03, rerun=BAD_AGAIN)
    assert both.status == "red"
    found = check(both, "accuracy")
    assert found.statistic is not None
    assert found.limit is not None
    assert found.statistic < found.limit == Policy().confirm


def unlucky(seed: int) -> Run:
    """A run of the good build whose p lies between confirm and screen."""
    rng = np.random.default_rng(seed)
    for _ in range(2000):
        run = run_of(rng, RATES)
        p = check(judge(run, BASELINE), "accuracy").statistic
        if p is not None and 0.005 < p < 0.03:
            return run
    raise AssertionError("no run of 2000 was unlucky: the screen alarms too rarely")


def test_an_unlucky_run_is_cleared_by_its_repetition():
    run = unlucky(57)
    assert judge(run, BASELINE).status == "needs-confirmation"
    assert judge(run, BASELINE, rerun=GOOD).status == "green"
    assert judge(run, BASELINE, rerun=BAD).status == "red", "both runs together decide, not the first"
    assert check(judge(run, BASELINE, policy=Policy(rerun=False, alpha=0.0001)), "accuracy").passed


def test_a_repetition_that_was_not_asked_for_changes_nothing():
    alone, again = judge(GOOD, BASELINE), judge(GOOD, BASELINE, rerun=BAD)
    assert check(again, "accuracy") == check(alone, "accuracy")
    assert again.status == "green"


def test_without_a_rerun_the_one_run_decides_at_alpha():
    policy = Policy(rerun=False)
    assert judge(BAD, BASELINE, policy=policy).status == "red"
    assert judge(GOOD, BASELINE, policy=policy).status == "green"
    assert check(judge(GOOD, BASELINE, policy=policy), "accuracy").limit == policy.alpha


def test_good_builds_are_repeated_as_often_as_the_screen_says_and_not_called_red():
    rng = np.random.default_rng(58)
    asked = red = 0
    times = 60
    for _ in range(times):
        rates = item_rates(rng)
        baseline = baseline_of(rng, rates, 4)
        first = judge(run_of(rng, rates), baseline, floor=0.9)
        asked += first.status == "needs-confirmation"
        red += first.status == "red" or judge(run_of(rng, rates), baseline, rerun=run_of(rng, rates)).status == "red"
    expected = 0.03 * times * 1.3
    assert asked <= expected + 3 * expected**0.5
    assert red == 0


def test_a_collapse_is_red_at_once_by_the_floor():
    dead = run_of(np.random.default_rng(59), np.full(QUESTIONS, 0.013))
    verdict = judge(dead, BASELINE, floor=FLOOR)
    assert verdict.status == "red"
    assert check(verdict, "floor").status == "red"
    assert check(verdict, "accuracy").status == "needs-confirmation"
    assert judge(dead, None, floor=FLOOR).status == "red", "the floor needs no baseline"


def test_a_drifted_baseline_cannot_hide_a_loss_from_the_floor():
    drifted = broken(np.random.default_rng(50), RATES, 0.07)
    baseline = baseline_of(np.random.default_rng(60), drifted)
    run = run_of(np.random.default_rng(61), drifted)
    assert judge(run, baseline).status == "green"
    assert check(judge(run, baseline, floor=FLOOR), "floor").status == "red"


def test_the_latest_runs_decide_what_one_run_cannot():
    near = ACCURACY - 0.012
    recent = [run_of(np.random.default_rng(62 + i), RATES) for i in range(6)]
    one, many = judge(GOOD, BASELINE, floor=near), judge(GOOD, BASELINE, floor=near, recent=recent)
    assert one.status == "undecided"
    assert "pool more runs" in one.reason
    assert many.status == "green"
    low = [run_of(np.random.default_rng(72 + i), np.full(QUESTIONS, near - 0.02)) for i in range(9)]
    assert check(judge(GOOD, BASELINE, floor=near, recent=low), "floor").status == "red"


def test_good_latest_runs_do_not_hide_todays_collapse():
    recent = [GOOD] * 40
    dead = changed(GOOD, QUESTIONS // 4, correct=False)
    assert check(judge(dead, BASELINE, floor=FLOOR, recent=recent), "floor").status == "red"


@pytest.mark.parametrize(
    ("name", "cap", "fields"),
    [("answered", "unanswered", {"answered": False, "correct": False}), ("finished", "cut", {"finished": False})],
)
def test_unanswered_and_cut_texts_are_seen_beside_the_accuracy(name: str, cap: str, fields: dict[str, object]):
    """Of texts that were wrong anyway: the accuracy does not move."""
    wrong = [question for question, outcome in sorted(GOOD.items()) if not outcome.correct]
    spoilt = {q: replace(o, **fields) if q in wrong[:20] else o for q, o in GOOD.items()}
    first = judge(spoilt, BASELINE, floor=FLOOR)
    assert check(first, "accuracy").passed
    assert check(first, name).status == "needs-confirmation"
    assert check(first, cap).passed
    assert judge(spoilt, BASELINE, floor=FLOOR, rerun=spoilt).status == "red"
    once = judge(spoilt, BASELINE, floor=FLOOR, rerun=GOOD)
    assert once.status == "red"
    assert check(once, name).detail.endswith("comes and goes")
    half = changed(GOOD, QUESTIONS // 2, **fields)
    assert check(judge(half, BASELINE, floor=FLOOR), cap).status == "red"


def test_a_baseline_that_is_often_cut_does_not_make_every_run_suspicious():
    rng = np.random.default_rng(63)
    cut = rng.random(QUESTIONS) < 0.03

    def with_cuts(run: Run) -> Run:
        return {q: replace(o, finished=not cut[i]) for i, (q, o) in enumerate(sorted(run.items()))}

    baseline = ItemBaseline.of([with_cuts(run_of(rng, RATES)) for _ in range(4)])
    assert check(judge(with_cuts(GOOD), baseline, floor=FLOOR), "finished").passed
    assert check(judge(GOOD, baseline, floor=FLOOR), "finished").passed


@pytest.mark.parametrize(
    ("tokens", "status"), [(150.0, "needs-confirmation"), (90.0, "needs-confirmation"), (120.0, "green")]
)
def test_a_shift_of_the_mean_length_is_seen_to_either_side(tokens: float, status: str):
    run = run_of(np.random.default_rng(64), RATES, tokens)
    assert check(judge(run, BASELINE), "length").status == status


def test_a_shift_that_good_runs_have_among_themselves_is_none():
    runs = [run_of(np.random.default_rng(65 + i), RATES, 120.0 + 3 * i) for i in range(5)]
    baseline = ItemBaseline.of(runs)
    found = check(judge(run_of(np.random.default_rng(71), RATES, 124.0), baseline), "length")
    assert found.statistic is not None
    assert found.limit is not None
    assert found.statistic < found.limit
    assert found.status == "green"


def test_lengths_that_were_not_counted_are_said_to_be_unknown():
    silent = {question: replace(outcome, tokens=None) for question, outcome in GOOD.items()}
    assert check(judge(silent, BASELINE), "length").status == "not applicable"
    assert check(judge(GOOD, ItemBaseline.of([silent, silent])), "length").status == "not applicable"


def test_a_gate_that_would_not_see_the_drop_says_so():
    one = judge(GOOD, baseline_of(np.random.default_rng(66), RATES, 1))
    assert one.status == "blind"
    assert "record " in one.reason
    assert "baseline runs" in one.reason
    few = {question: GOOD[question] for question in sorted(GOOD)[:50]}
    small = judge(few, ItemBaseline.of([few] * 3 + [changed(few, 1, correct=False)]))
    assert small.status == "blind"
    assert "ask more questions" in small.reason
    none = judge(GOOD, None, floor=FLOOR)
    assert none.status == "blind"
    assert none.promise.startswith("without a baseline")


def test_a_larger_drop_may_be_asked_for_with_less():
    single = baseline_of(np.random.default_rng(66), RATES, 1)
    assert judge(GOOD, single, policy=Policy(drop=0.05)).status == "green"


@pytest.mark.parametrize(
    ("run", "options", "words"),
    [
        ({}, {}, "no answers"),
        ({"q00000": Outcome(True)}, {}, "lacks 1318 of 1319 questions"),
        ({**GOOD, "other": Outcome(True)}, {}, "1 others, the first 'other'"),
        (GOOD, {"rerun": {"q00000": Outcome(True)}}, "lacks 1318"),
        (GOOD, {"protocol": (("few-shot", "5"),)}, "few-shot is '5' in the run and None in the baseline"),
        (GOOD, {"floor": 1.2}, "a floor of 1.2"),
    ],
)
def test_what_cannot_be_compared_is_refused(run: Run, options: dict[str, object], words: str):
    verdict = judge(run, BASELINE, **options)  # pyright: ignore[reportArgumentType]
    assert verdict.status == "refused"
    assert words in verdict.reason
    assert verdict.checks == ()


def test_equal_protocols_are_compared_and_other_ones_are_not():
    protocol = (("extraction", "strict"), ("few-shot", "5"))
    baseline = replace(BASELINE, protocol=protocol)
    assert judge(GOOD, baseline, protocol=tuple(reversed(protocol))).status == "green"
    assert (
        "'5' in the run and '8'"
        in judge(GOOD, replace(BASELINE, protocol=(("few-shot", "8"),)), protocol=(("few-shot", "5"),)).reason
    )


def test_a_baseline_of_two_builds_is_refused():
    rng = np.random.default_rng(67)
    mixed = ItemBaseline.of([run_of(rng, RATES) for _ in range(4)] + [run_of(rng, DAMAGED) for _ in range(4)])
    assert mixed.dispersion_p < 1e-3
    verdict = judge(GOOD, mixed)
    assert verdict.status == "refused"
    assert "not of one build" in verdict.reason


def test_good_baselines_have_uniform_dispersion():
    rng = np.random.default_rng(68)
    values = [baseline_of(rng, item_rates(rng, 300), 4).dispersion_p for _ in range(250)]
    assert np.mean(values) == pytest.approx(0.5, abs=0.07)
    assert np.mean(np.array(values) < 0.1) == pytest.approx(0.1, abs=0.06)
    assert ItemBaseline.of([GOOD]).dispersion_p == ItemBaseline.of([GOOD, GOOD]).dispersion_p == 1


def test_the_baseline_measures_its_own_noise():
    rng = np.random.default_rng(69)
    measured = [baseline_of(rng, item_rates(rng), 4).psi for _ in range(20)]
    assert np.mean([psi for psi in measured if psi is not None]) == pytest.approx(0.04, abs=0.004)
    assert ItemBaseline.of([GOOD]).psi is None
    other = changed(GOOD, 10, correct=False)
    pair = ItemBaseline.of([GOOD, other])
    assert pair.psi == pytest.approx(sum(GOOD[q].correct != other[q].correct for q in GOOD) / QUESTIONS)
    assert pair.accuracy == pytest.approx(sum(o.correct for run in (GOOD, other) for o in run.values()) / QUESTIONS / 2)


def test_outcomes_policies_and_baselines_that_contradict_themselves_are_refused():
    with pytest.raises(AccuracyError, match="correct without an answer"):
        Outcome(True, answered=False)
    with pytest.raises(AccuracyError, match="-1 tokens"):
        Outcome(True, tokens=-1)
    with pytest.raises(AccuracyError, match="confirms nothing"):
        Policy(screen=0.001, confirm=0.01)
    with pytest.raises(AccuracyError, match="policy alpha = 0"):
        Policy(alpha=0)
    with pytest.raises(AccuracyError, match="at least one whole run"):
        ItemBaseline.of([])
    with pytest.raises(AccuracyError, match="run 2 of the baseline lacks 1 of 1319"):
        ItemBaseline.of([GOOD, {q: o for q, o in GOOD.items() if q != "q00007"}])


def test_the_statistics_import_no_torch():
    script = "import sys, rocassay.harness.accuracy; print(sorted({'torch', 'scipy', 'pandas'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.stdout == "[]\n", done.stderr
