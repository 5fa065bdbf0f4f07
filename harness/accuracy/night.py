"""All configurations of a night judged together: what is still red once it is counted how often was looked."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from rocassay.harness.accuracy.errors import AccuracyError
from rocassay.harness.accuracy.holm import holm
from rocassay.harness.accuracy.power import false_alarms_per_year
from rocassay.harness.accuracy.verdict import Policy
from rocassay.harness.results import AccuracyRecord, AccuracyStatus, Evaluation

_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}

_SIDE_CHECKS = 3
"""answered, finished, length: checks of a run against its baseline beside that of the accuracy."""


@dataclass(frozen=True, slots=True)
class NightLine:
    """One configuration with one task: its last evaluation of the night."""

    configuration: str
    """What was judged."""
    task: str
    """By which questions."""
    run: str
    """Id of the run whose verdict stands; of the repetition where there was one."""
    repeats: str
    """Id of the run that it repeats, or empty."""
    started: str
    """UTC, ISO 8601."""
    evaluations: int
    """How often this configuration was evaluated, repetitions not counted."""
    status: AccuracyStatus
    """What the gate said of it alone."""
    reason: str
    """Why."""
    p: float | None
    """Of the accuracy check: one run's where it was not repeated, both runs' together where it was; None: no baseline,
    or the run was stopped early."""
    adjusted: float | None
    """The same after Holm's adjustment over the night."""
    red: bool
    """Whether it is red after that."""


@dataclass(frozen=True, slots=True)
class Night:
    """What the evaluations of one night say together."""

    alpha: float
    """Probability at most that the accuracy of any good configuration is called red in one night."""
    lines: tuple[NightLine, ...]
    """By configuration and task."""
    policy: Policy = field(default_factory=Policy)
    """Error rates of the gate."""

    @property
    def red(self) -> bool:
        """Whether anything is red."""
        return any(line.red for line in self.lines)

    @property
    def tested(self) -> int:
        """Configurations whose accuracy was compared with a baseline."""
        return sum(line.p is not None for line in self.lines)

    def alarms(self, nights: int = 1) -> dict[str, float]:
        """Expected number of false alarms at most, if all configurations are good.

        alone: of the accuracy checks, each by itself. holm: nights with any of them after Holm. side: of the checks of
        answers, endings and lengths against the baseline, which Holm leaves alone.
        """
        levels = self.policy.levels(self.policy.side)
        return {
            "alone": false_alarms_per_year(self.tested, self.policy.confirm, nights),
            "holm": min(self.alpha * nights, false_alarms_per_year(self.tested, self.policy.confirm, nights)),
            "side": false_alarms_per_year(self.tested * _SIDE_CHECKS, levels.confirm, nights),
        }


def judge_night(evaluations: Sequence[Evaluation], alpha: float, policy: Policy | None = None) -> Night:
    """Judge the last evaluation of each configuration and task; those with injected faults are left out.

    Holm's adjustment covers the accuracy checks, whose p is that of the run, or of run and repetition where the first
    fell below the screen: P(p <= t) <= t holds for the two looks together, too. A verdict that rests on the accuracy
    check alone is red where the adjusted p is at most `alpha`; so is one that still waits for its repetition. What
    other checks turned red (the floor, an early stop, missing answers) stays red: their error rates are their own.
    Raises AccuracyError for an alpha outside (0, 1).
    """
    if not 0 < alpha < 1:
        raise AccuracyError(f"alpha = {alpha} is no probability of a false alarm; give one between 0 and 1")
    last, counts = _last(evaluations)
    p = {key: value for key, found in last.items() if (value := _accuracy_p(found)) is not None}
    words = {"\n".join(key): value for key, value in p.items()}
    adjusted = holm(words)
    lines = [_line(found, counts[key], p.get(key), adjusted.get("\n".join(key)), alpha) for key, found in last.items()]
    return Night(alpha, tuple(lines), policy or Policy())


Key = tuple[str, str]
"""Configuration and task."""


def _last(evaluations: Sequence[Evaluation]) -> tuple[dict[Key, Evaluation], dict[Key, int]]:
    """By key, sorted: the evaluation that stands, and how many there were."""
    repeated = {evaluation.header.repeats for evaluation in evaluations}
    last: dict[Key, Evaluation] = {}
    counts: dict[Key, int] = {}
    for evaluation in sorted(evaluations, key=lambda evaluation: evaluation.header.started):
        header = evaluation.header
        if evaluation.verdict is not None and not header.faults and header.run_id not in repeated:
            key = (header.configuration, header.fingerprint.task)
            last[key], counts[key] = evaluation, counts.get(key, 0) + 1
    return {key: last[key] for key in sorted(last)}, counts


def _verdict(evaluation: Evaluation) -> AccuracyRecord:
    assert evaluation.verdict is not None
    return evaluation.verdict


def _accuracy_p(evaluation: Evaluation) -> float | None:
    checks = [check for check in _verdict(evaluation).checks if check.name == "accuracy" and check.applicable]
    return checks[0].statistic if checks else None


def _line(evaluation: Evaluation, count: int, p: float | None, adjusted: float | None, alpha: float) -> NightLine:
    header, verdict = evaluation.header, _verdict(evaluation)
    return NightLine(
        configuration=header.configuration,
        task=header.fingerprint.task,
        run=header.run_id,
        repeats=header.repeats,
        started=header.started,
        evaluations=count,
        status=verdict.status,
        reason=verdict.reason,
        p=p,
        adjusted=adjusted,
        red=_red(verdict, adjusted, alpha),
    )


def _red(verdict: AccuracyRecord, adjusted: float | None, alpha: float) -> bool:
    holds = adjusted is not None and adjusted <= alpha
    if verdict.status == "needs-confirmation":
        return "accuracy" in verdict.decided_by and holds
    return verdict.status == "red" and (set(verdict.decided_by) != {"accuracy"} or holds)


def since_of(text: str, now: dt.datetime) -> dt.datetime:
    """The moment that `24h`, `90m`, `7d`, `2w` or an ISO 8601 date and time (UTC unless it says otherwise) names.

    now: with a time zone. Raises AccuracyError for anything else.
    """
    if ago := re.fullmatch(r"(\d{1,4}(?:\.\d+)?)([mhdw])", text.strip()):
        return now - dt.timedelta(**{_UNITS[ago.group(2)]: float(ago.group(1))})
    try:
        # Python 3.10 does not read the Z.
        found = dt.datetime.fromisoformat(re.sub(r"[zZ]$", "+00:00", text.strip()))
    except ValueError:
        raise AccuracyError(f"--since {text!r} is no time; write it like 24h, 7d or 2025-01-31T22:00") from None
    return found if found.tzinfo else found.replace(tzinfo=dt.timezone.utc)
