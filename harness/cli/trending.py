"""What `history trend` does: sparklines, last values, and steps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.text import Text

from rocassay.harness.accuracy.history import History, HistoryError
from rocassay.harness.cli.plain import minute, plain_table, print_json, print_table, say
from rocassay.harness.trends import (
    ALPHA,
    Trend,
    TrendRow,
    evaluation_trends,
    kernel_trends,
    op_trends,
    sparkline,
    trends,
)


def show_trends(where: str, op: str, *, evaluations: bool, alpha: float | None, as_json: bool) -> None:
    """Print the trends of all ops and evaluations, of one op, or of the evaluations.

    Raises HistoryError for an op that no run has, and when there is nothing to show.
    """
    level = ALPHA if alpha is None else alpha
    if not 0 < level < 1:
        raise HistoryError(f"--alpha {level:g} is no probability; pass one between 0 and 1, such as {ALPHA:g}")
    history = History(where, make=False)
    found = _found(history, op, evaluations, level)
    if not found:
        what = f"of {op}" if op else "to compare"
        raise HistoryError(f"the history at {history.place} has nothing {what}; `rocassay history add` stores runs")
    if as_json:
        print_json([_as_json(trend) for trend in found])
    else:
        _print(found, level)


def trend_rows(where: str) -> list[TrendRow]:
    """The trends of all ops and evaluations in a history, as plain data for a report.

    Raises HistoryError where there is no history.
    """
    history = History(where, make=False)
    return trends(history.kernel_runs.stored(), history.summaries())


def _found(history: History, op: str, evaluations: bool, alpha: float) -> list[Trend]:
    if op:
        return kernel_trends(history.kernel_runs.stored(op), op, alpha)
    kernels = [] if evaluations else op_trends(history.kernel_runs.stored(), alpha)
    return [*kernels, *evaluation_trends(history.summaries(), alpha)]


def _print(found: Sequence[Trend], alpha: float) -> None:
    table = plain_table("what", "measure", "trend", "last", "step")
    for trend in found:
        values = [point.value for point in trend.points]
        line = sparkline(values, trend.step.index if trend.step else None)
        last = _value(values[-1], trend.unit)
        table.add_row(*map(Text, (trend.subject, trend.measure, line, last)), Text(_step(trend), "yellow"))
    print_table(table, "nothing to show")
    console, left_out = Console(), max(trend.left_out for trend in found)
    tested = sum(len({point.value for point in trend.points}) > 1 for trend in found)
    if left_out:
        say(console, f"up to {left_out} earlier runs are left out: they judged other cases, or on another device")
    say(
        console,
        f"{tested} series that vary were tested for a step; if none had one, {tested * alpha:.2g} false alarms would "
        f"be expected ({alpha:g} each)",
    )


def _step(trend: Trend) -> str:
    """The change in words; empty without one."""
    step = trend.step
    if step is None:
        return ""
    point = trend.points[step.index]
    change = f"{_value(step.before, trend.unit)} → {_value(step.after, trend.unit)}"
    return f"{change} since {minute(point.when)}{f' ({point.commit})' if point.commit else ''}, p = {step.p:.2g}"


def _value(value: float, unit: str) -> str:
    if not math.isfinite(value):
        return "∞"
    if unit == "share":
        return f"{100 * value:.2f} %"
    return f"{value:.4g} {unit}".strip() if abs(value) < 1e5 else f"{value:,.0f}"


def _as_json(trend: Trend) -> dict[str, Any]:
    """For programs; what is infinite is the word `inf`."""
    step = trend.step
    found = None
    if step is not None:
        at = trend.points[step.index]
        found = {**asdict(step), "before": _plain(step.before), "after": _plain(step.after)}
        found |= {"when": at.when, "commit": at.commit}
    points = [[point.when, _plain(point.value), point.commit] for point in trend.points]
    facts = {"subject": trend.subject, "measure": trend.measure, "unit": trend.unit, "left_out": trend.left_out}
    return {"name": trend.row.name, **facts, "points": points, "step": found}


def _plain(value: float) -> float | str:
    return value if math.isfinite(value) else "inf" if value > 0 else "-inf"
