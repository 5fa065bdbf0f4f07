"""What the terminal shows of an evaluation: its progress, its verdict, and a table of several."""

from __future__ import annotations

import time
from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as RichBar
from rich.table import Table

from rocassay.harness.accuracy.evaluating import Subject
from rocassay.harness.results import Evaluation, QuestionRecord

SECONDS_BETWEEN_LINES = 10.0
"""Without a terminal a line is printed this often."""

COLOURS = {"green": "green", "red": "red", "blind": "red", "refused": "red"}
"""Others are yellow: more has to be asked."""


class Bar:
    """A bar on a terminal, a line now and then elsewhere."""

    def __init__(self, console: Console, subject: Subject) -> None:
        self._console = console
        words = "asking" + (f" with {' + '.join(subject.faults)}" if subject.faults else "")
        self._bar = RichBar(
            TextColumn(words), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[right]} right"),
            TimeElapsedColumn(), console=console, transient=True,
        )  # fmt: skip
        self._words = words
        self._done = self._right = self._total = 0
        self._last = 0.0

    def begin(self, total: int, done: int) -> None:
        """Show how much there is to do."""
        self._total, self._done, self._last = total, done, time.monotonic()
        self._task = self._bar.add_task("", total=total, completed=done, right=0)
        if self._console.is_terminal:
            self._bar.start()

    def answered(self, record: QuestionRecord) -> None:
        """Count an answer."""
        self._done += 1
        self._right += record.correct
        self._bar.update(self._task, completed=self._done, right=self._right)
        now = time.monotonic()
        if not self._console.is_terminal and now - self._last >= SECONDS_BETWEEN_LINES:
            self._last = now
            self._console.print(f"{self._words}: {self._done} of {self._total}, {self._right} right", highlight=False)

    def end(self, reason: str) -> None:  # noqa: ARG002 (the verdict says it)
        """Take the bar away."""
        self._bar.stop()


def print_evaluation(console: Console, evaluation: Evaluation) -> None:
    """One evaluation in a few lines."""
    header, verdict = evaluation.header, evaluation.verdict
    assert verdict is not None
    faults = f" with {' + '.join(header.faults)}" if header.faults else ""
    colour = COLOURS.get(verdict.status, "yellow")
    low, high = verdict.interval
    share = verdict.correct / verdict.asked if verdict.asked else 0.0
    console.print(f"{header.configuration}{faults}", highlight=False, markup=False, soft_wrap=True)
    console.print(
        f"  {verdict.correct} of {verdict.asked} right: {share:.4f} (95 %: {low:.3f} to {high:.3f}), "
        f"by the last number {verdict.correct_flexible}; {verdict.seconds:.1f} s",
        highlight=False,
    )
    status = verdict.status.upper()
    console.print(f"  [bold {colour}]{status}[/] {escape(verdict.reason)}", highlight=False, soft_wrap=True)
    for check in verdict.checks:
        mark = "ok" if check.passed else "NO"
        mark = mark if check.applicable else "--"
        console.print(f"  {mark} {check.name}: {check.detail}", highlight=False, markup=False, soft_wrap=True)
    console.print(f"  {verdict.power}", highlight=False, markup=False, soft_wrap=True)


def print_table(console: Console, evaluations: Sequence[Evaluation]) -> None:
    """A row an evaluation; its fault beside what it did to the answers."""
    table = Table(box=None, pad_edge=False)
    for name, side in (
        ("configuration", "left"), ("faults", "left"), ("asked", "right"), ("right", "right"), ("accuracy", "right"),
        ("stopped after", "right"), ("seconds", "right"), ("status", "left"),
    ):  # fmt: skip
        table.add_column(name, justify="right" if side == "right" else "left", overflow="fold")
    for evaluation in evaluations:
        header, verdict = evaluation.header, evaluation.verdict
        assert verdict is not None
        table.add_row(
            escape(header.configuration),
            " + ".join(header.faults) or "none",
            str(verdict.asked),
            str(verdict.correct),
            f"{verdict.correct / max(1, verdict.asked):.4f}",
            "" if verdict.stopped_after is None else str(verdict.stopped_after),
            f"{verdict.seconds:.1f}",
            f"[{COLOURS.get(verdict.status, 'yellow')}]{verdict.status}[/]",
        )
    console.print(table)
