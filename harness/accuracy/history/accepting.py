"""What may become a baseline, and what the runs say about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rocassay.harness.accuracy.baseline import ItemBaseline
from rocassay.harness.accuracy.errors import AccuracyError
from rocassay.harness.accuracy.gate import MIXED_BASELINE
from rocassay.harness.accuracy.history.database import HistoryError
from rocassay.harness.accuracy.items import ItemTest, compare
from rocassay.harness.accuracy.outcomes import Run
from rocassay.harness.results import EvalHeader, Evaluation


@dataclass(frozen=True, slots=True)
class Baseline:
    """Runs that somebody declared good."""

    number: int
    """Counts up; the highest of a configuration and task is in force."""
    configuration: str
    """What was judged."""
    task: str
    """By which questions."""
    runs: tuple[str, ...]
    """Ids of the runs."""
    who: str
    """Who accepted it."""
    why: str
    """The reason given."""
    accepted: str
    """UTC, ISO 8601."""
    evidence: dict[str, Any]
    """What its runs say of themselves, and how they compare with the baseline before; see `evidence`."""


def require_acceptable(found: Sequence[Evaluation], errors: Mapping[str, int]) -> None:
    """HistoryError unless these runs are finished, healthy and of one kind.

    errors: by run id, questions that got no answer.
    """
    first = found[0].header
    for evaluation in found:
        _require_healthy(evaluation.header)
        _require_finished(evaluation, errors.get(evaluation.header.run_id, 0))
        _require_like(evaluation.header, first)


def _require_healthy(header: EvalHeader) -> None:
    if header.faults:
        raise HistoryError(f"run {header.run_id} has injected faults ({', '.join(header.faults)}); it is no baseline")


def _require_finished(evaluation: Evaluation, errors: int) -> None:
    header, verdict = evaluation.header, evaluation.verdict
    asked = verdict.asked if verdict else 0
    if verdict is None or asked < header.planned or verdict.stopped_after is not None:
        raise HistoryError(f"run {header.run_id} asked {asked} of {header.planned} questions; a baseline asks all")
    if errors:
        raise HistoryError(
            f"run {header.run_id} has {errors} of {asked} questions without an answer; finish it with --resume first"
        )


def _require_like(header: EvalHeader, first: EvalHeader) -> None:
    unlike = list(header.fingerprint.differences(first.fingerprint))
    if header.configuration != first.configuration:
        unlike.insert(0, f"{header.configuration!r} against {first.configuration!r}")
    if unlike:
        raise HistoryError(
            f"runs {first.run_id} and {header.run_id} are unlike ({'; '.join(unlike)}); accept runs of one kind"
        )


def evidence(runs: Mapping[str, Run], previous: Mapping[str, Run], unlike: str = "") -> dict[str, Any]:
    """What a record of the acceptance holds: accuracies, spread, and the exact test against the baseline before.

    runs: the new baseline. previous: the runs of the one in force until now, empty when there was none. unlike: why
    the two cannot be compared. p-values are one-sided, of `worse than the baseline before`. Raises AccuracyError for
    runs of different questions, HistoryError for runs that differ by more than their questions flip.
    """
    baseline = ItemBaseline.of(list(runs.values()))
    if baseline.dispersion_p < MIXED_BASELINE:
        raise HistoryError(
            f"these {baseline.runs} runs differ more than their questions flip (Cochran's Q, p = "
            f"{baseline.dispersion_p:.2g} < {MIXED_BASELINE}): they are not of one build in one environment; leave out "
            "those that are not"
        )
    counts = {name: [sum(outcome.correct for outcome in run.values()), len(run)] for name, run in runs.items()}
    own = {"correct_of_asked": counts, "psi": baseline.psi, "dispersion_p": baseline.dispersion_p}
    return {**own, **_against(runs, previous, unlike)}


def _against(runs: Mapping[str, Run], previous: Mapping[str, Run], unlike: str) -> dict[str, Any]:
    if unlike or not previous:
        return {"not_compared": unlike} if unlike else {}
    try:
        before = ItemBaseline.of(list(previous.values()))
        each = {name: _test(before, run) for name, run in runs.items()}
    except AccuracyError as error:
        return {"not_compared": str(error)}
    together = _test(before, *runs.values())
    return {
        "p_worse": {name: test.p for name, test in each.items()},
        "p_worse_together": together.p,
        "difference": together.difference,
    }


def _test(before: ItemBaseline, *runs: Run) -> ItemTest:
    rows = before.rows(*runs)
    successes = [sum(outcome.correct for outcome in column) for column in zip(*rows, strict=True)]
    return compare(before.correct, before.runs, successes, len(runs))
