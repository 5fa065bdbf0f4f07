"""The sequential stop: where it stops, how often it is wrong, and why only a fixed order may be looked at."""

from __future__ import annotations

import hashlib
import math

import numpy as np
import pytest

from rocassay.harness.accuracy.errors import AccuracyError
from rocassay.harness.accuracy.sequential import Sprt, completed_prefix, permutation
from rocassay.suites.accuracy.builds import item_rates

N = 1319
IDS = tuple(f"gsm8k-test-{i:04}" for i in range(N))
TEST = Sprt()


def test_the_order_is_that_of_the_documented_hash_and_of_no_library():
    order = permutation(IDS, 7)
    assert sorted(order) == sorted(IDS)
    assert order != IDS
    digests = [hashlib.sha256(f"7:{question}".encode()).hexdigest() for question in order]
    assert digests == sorted(digests)
    assert permutation(["a", "b", "c", "d", "e"]) == ("d", "a", "c", "b", "e")
    assert permutation(["a", "b", "c", "d", "e"], 1) == ("d", "a", "e", "b", "c")


def test_the_order_depends_on_seed_and_ids_alone_and_subsets_keep_it():
    order = permutation(IDS, 7)
    assert permutation(reversed(IDS), 7) == order
    assert permutation(IDS, 8) != order
    half = set(IDS[::2])
    assert permutation(half, 7) == tuple(question for question in order if question in half)
    with pytest.raises(AccuracyError, match="'a' occurs twice among 3"):
        permutation(["a", "b", "a"])


def test_the_prefix_ends_at_the_first_open_question():
    assert completed_prefix("abcd", {"a": True, "b": False, "d": True}) == [True, False]
    assert completed_prefix("abcd", {"b": True}) == []


def test_a_run_without_a_right_answer_stops_after_fourteen():
    dead = dict.fromkeys(IDS, False)
    found = TEST.along(IDS, dead)
    assert (found.decision, found.questions, found.wrong) == ("fail", 14, 14)
    assert found.log_odds == pytest.approx(14 * math.log(2))
    assert found.log_odds - math.log(2) < math.log(1e4) < found.log_odds


def test_the_first_crossing_decides_whatever_follows():
    outcomes = dict(zip(IDS, [False] * 14 + [True] * (N - 14), strict=True))
    assert TEST.log_odds(N, 14) < 0
    assert TEST.along(IDS, outcomes).questions == 14


def test_a_healthy_run_is_never_passed_early_unless_asked_for():
    healthy = dict.fromkeys(IDS, True)
    assert TEST.along(IDS, healthy).decision == "continue"
    assert TEST.along(IDS, healthy).questions == N
    both = Sprt(alpha=1e-3, pass_error=1e-2)
    found = both.along(IDS, healthy)
    assert found.decision == "pass"
    assert found.questions == math.ceil(math.log(100) / math.log(0.95 / 0.9))


@pytest.mark.parametrize(
    ("accuracy", "questions", "error"), [(0.013, 14, 0.5), (0.13, 16, 0.5), (0.76, 74, 3), (0.90, 456, 8)]
)
def test_a_broken_build_stops_after_as_many_questions_as_published(accuracy: float, questions: int, error: float):
    found = TEST.stopping([accuracy] * N)
    assert found.fail > 0.99
    assert found.questions == pytest.approx(questions, abs=error)


def test_a_healthy_build_is_stopped_less_often_than_alpha_and_a_slightly_weaker_one_rarely():
    healthy, weaker = TEST.stopping([0.95] * N), TEST.stopping([0.94] * N)
    assert 0 < healthy.fail < TEST.alpha
    assert healthy.questions > N - 1
    assert weaker.fail == pytest.approx(0.007, abs=0.002)
    assert TEST.stopping([0.95] * 8000).fail < TEST.alpha, "Ville's bound holds for any number of questions"


def test_the_two_sided_test_passes_a_healthy_build_after_277_questions():
    found = Sprt(alpha=1e-3, pass_error=1e-2).stopping([0.95] * N)
    assert found.questions == pytest.approx(277, abs=2)
    assert found.passes > 0.99
    assert found.fail < 1e-3


@pytest.mark.parametrize("test", [Sprt(), Sprt(alpha=1e-3, pass_error=1e-2), Sprt(0.6, 0.5, 0.05, 0.2)])
def test_the_recursion_agrees_with_simulated_runs(test: Sprt):
    rng = np.random.default_rng(31)
    rates = rng.beta(9, 2, 120)
    runs = [test.along(IDS[:120], dict(zip(IDS, (rng.random(120) < rates).tolist(), strict=False))) for _ in range(800)]
    exact = test.stopping(rates.tolist())
    for decision, probability in (("fail", exact.fail), ("pass", exact.passes)):
        seen = sum(run.decision == decision for run in runs) / len(runs)
        assert seen == pytest.approx(probability, abs=4 * math.sqrt(0.25 / len(runs)))
    assert np.mean([run.questions for run in runs]) == pytest.approx(exact.questions, abs=5)


@pytest.mark.parametrize("test", [Sprt(), Sprt(alpha=1e-3, pass_error=1e-2)])
def test_the_recursion_and_the_run_draw_the_same_boundary(test: Sprt):
    for step in range(1, 400):
        low, high = test._bounds(step)
        decisions = [test.decide(step, wrong) for wrong in range(step + 1)]
        assert decisions == ["pass" if w < low else "fail" if w >= high else "continue" for w in range(step + 1)], step


def finished_in_order_of_length(rng: np.random.Generator, order: tuple[str, ...]) -> tuple[dict[str, bool], list[str]]:
    """A healthy run of .955: hard questions take longer texts, and all are in flight at once."""
    rates = item_rates(rng, N, 0.955, 0.04)
    right = dict(zip(order, (rng.random(N) < rates).tolist(), strict=True))
    length = {question: rng.gamma(4, 30 if right[question] else 75) for question in order}
    return right, sorted(order, key=lambda question: length[question])


def failing_early(rng: np.random.Generator, order: tuple[str, ...]) -> tuple[dict[str, bool], list[str]]:
    """A healthy run in which the few failed texts are cut short, hence the first to finish."""
    right, _ = finished_in_order_of_length(rng, order)
    return right, sorted(order, key=lambda question: (right[question], question))


def test_looking_at_answers_as_they_finish_is_biased_and_looking_along_the_permutation_is_not():
    rng = np.random.default_rng(32)
    order = permutation(IDS)
    naive_stops = stops = 0
    early: list[float] = []
    for _ in range(40):
        right, finished = failing_early(rng, order)
        naive_stops += TEST.along(finished, right).decision == "fail"
        stops += TEST.along(order, right).decision == "fail"
        right, finished = finished_in_order_of_length(rng, order)
        done = {question: right[question] for question in finished[:700]}
        early.append(sum(done.values()) / len(done) - sum(right.values()) / N)
    assert naive_stops == 40, "in the order of completion every healthy run is killed"
    assert stops == 0
    assert np.mean(early) > 0.02, "and half of a broken run looks healthier than it is"


def test_what_has_finished_beyond_a_gap_waits():
    order = permutation(IDS)
    outcomes = dict.fromkeys(order, False)
    del outcomes[order[5]]
    found = TEST.along(order, outcomes)
    assert (found.decision, found.questions) == ("continue", 5)


def test_a_decision_does_not_depend_on_when_it_is_looked_at():
    rng = np.random.default_rng(33)
    order = permutation(IDS)
    right = dict(zip(order, (rng.random(N) < 0.8).tolist(), strict=True))
    final = TEST.along(order, right)
    done: dict[str, bool] = {}
    for question in rng.permutation(np.array(order)).tolist():
        done[question] = right[question]
        found = TEST.along(order, done)
        assert found.decision == "continue" or found == final


def test_hard_questions_first_are_a_false_alarm_that_the_recursion_foresees():
    rates = np.sort(item_rates(np.random.default_rng(34)))
    assert TEST.stopping(rates.tolist()).fail > 0.99
    assert TEST.stopping(rates[::-1].tolist()).fail < TEST.alpha


@pytest.mark.parametrize("options", [{"p1": 0.95}, {"p0": 1.0}, {"alpha": 0.0}, {"pass_error": 1.0}])
def test_hypotheses_without_a_test_are_refused(options: dict[str, float]):
    with pytest.raises(AccuracyError):
        Sprt(**options)
