"""The gate: one run of a set of questions, judged against its baseline and its floor.

A suspicious run is repeated once before it is called red, because a single run can be unlucky: the first look screens
at a loose level, both runs together must then be worse at a strict one. What cannot be bad luck, an accuracy that is
certainly below the declared floor, is red at once.
"""

from __future__ import annotations

from collections.abc import Sequence

from rocassay.harness.accuracy.absolute import against_floor
from rocassay.harness.accuracy.baseline import ItemBaseline
from rocassay.harness.accuracy.errors import AccuracyError
from rocassay.harness.accuracy.outcomes import Protocol, Run
from rocassay.harness.accuracy.relative import against_baseline, gate_power
from rocassay.harness.accuracy.verdict import AccuracyCheck, AccuracyVerdict, GateStatus, Policy

MIXED_BASELINE = 1e-3
"""p of Cochran's Q below which the runs of a baseline are not taken for repeats of one build.

It is a property of the baseline and the same every night: of a thousand good baselines one must be recorded again.
"""

_BEST_FIRST: tuple[GateStatus, ...] = ("blind", "undecided", "needs-confirmation", "red")

_SIDE_CHECKS = 3
"""answered, finished, length."""

_DEFAULT = Policy()


def judge(
    run: Run,
    baseline: ItemBaseline | None,
    *,
    floor: float | None = None,
    rerun: Run | None = None,
    recent: Sequence[Run] = (),
    protocol: Protocol = (),
    policy: Policy = _DEFAULT,
) -> AccuracyVerdict:
    """Judge a run; every outcome is a verdict, and the reason says what to do next.

    floor: declared ability, a share of right answers. rerun: the repetition that an earlier verdict asked for; it is
    ignored where the first run did not ask for one, since looking twice at will would double the false alarms. recent:
    the latest accepted runs of the configuration, of any questions. protocol: what the run and the baseline must share.
    """
    refusal = _refusal(run, baseline, floor, rerun, protocol)
    if refusal:
        return AccuracyVerdict("refused", refusal)
    again = [rerun] if rerun is not None else []
    checks = against_floor(run, [*recent, *again], floor, policy)
    if baseline is None:
        return _verdict([*checks, _no_baseline(policy)], policy)
    checks = against_baseline(baseline.rows(run, *again), baseline, policy) + checks
    return _verdict(checks, policy, baseline)


def _refusal(
    run: Run, baseline: ItemBaseline | None, floor: float | None, rerun: Run | None, protocol: Protocol
) -> str:
    """Why the runs cannot be judged; empty when they can."""
    if not run:
        return "the run has no answers; finish it before it is judged"
    if floor is not None and not 0 < floor < 1:
        return f"a floor of {floor} is no share of right answers; declare one between 0 and 1"
    if baseline is None:
        return ""
    ours, theirs = dict(protocol), dict(baseline.protocol)
    for key in sorted(ours.keys() | theirs.keys()):
        if ours.get(key) != theirs.get(key):
            return (
                f"{key} is {ours.get(key)!r} in the run and {theirs.get(key)!r} in the baseline; "
                "runs of different protocols are not comparable, record a baseline of this one"
            )
    try:
        baseline.rows(run, *([rerun] if rerun is not None else []))
    except AccuracyError as error:
        return str(error)
    mixed = baseline.dispersion_p
    if mixed < MIXED_BASELINE:
        return (
            f"the {baseline.runs} runs of the baseline differ more than their questions flip (Cochran's Q, "
            f"p = {mixed:.2g} < {MIXED_BASELINE}): they are not of one build in one environment, record them again"
        )
    return ""


def _no_baseline(policy: Policy) -> AccuracyCheck:
    detail = "there is no baseline: only a fall below the floor is seen; record runs of a good build"
    reason = "the statistic is the probability of seeing a drop that stays above the floor"
    return AccuracyCheck("power", "blind", 0.0, policy.power, reason, detail)


def _verdict(checks: list[AccuracyCheck], policy: Policy, baseline: ItemBaseline | None = None) -> AccuracyVerdict:
    status: GateStatus = "green"
    for worse in _BEST_FIRST:
        status = worse if any(check.status == worse for check in checks) else status
    deciding = [check for check in checks if check.status == status and status != "green"]
    reason = "; ".join(f"{check.name}: {check.detail}" for check in deciding) or "every check holds"
    if baseline is None:
        return AccuracyVerdict(status, reason, tuple(checks), policy.drop)
    levels = policy.levels(policy.side)
    return AccuracyVerdict(
        status,
        reason,
        tuple(checks),
        policy.drop,
        gate_power(baseline, policy, policy.drop),
        gate_power(baseline, policy, 0.0),
        _SIDE_CHECKS * (levels.confirm if policy.rerun else levels.alone),
    )
