"""Progress of a run on the terminal, in place of pytest's own output."""

from __future__ import annotations

import io
import time
from typing import Any

import pytest
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

SECONDS_BETWEEN_LINES = 10.0
"""Without a terminal a line is printed this often."""


class Meter:
    """A bar on a terminal, a line now and then elsewhere, failures as they come."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._bar = Bar(
            TextColumn("assay"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
            transient=True,
        )
        self._task = self._bar.add_task("assay", total=None)
        self._done = self._failed = self._total = 0
        self._last = time.monotonic()

    def start(self) -> None:
        """Show the bar."""
        if self.console.is_terminal:
            self._bar.start()

    def stop(self) -> None:
        """Take the bar away."""
        self._bar.stop()

    def set_total(self, total: int) -> None:
        """How many items there are."""
        if total:
            self._total = total
            self._bar.update(self._task, total=total)

    def failed(self, text: str) -> None:
        """Show a failure at once."""
        self._failed += 1
        self.console.print(text, style="red", markup=False, highlight=False, soft_wrap=True)

    def done(self) -> None:
        """Count an item that is finished."""
        self._done += 1
        self._bar.update(self._task, completed=self._done)
        self.say_now_and_then()

    def say_now_and_then(self, more: str = "") -> None:
        """How far it is, where there is no terminal and nothing was said for a while."""
        now = time.monotonic()
        if self.console.is_terminal or now - self._last < SECONDS_BETWEEN_LINES:
            return
        self._last = now
        text = f"{self._done} of {self._total or '?'} done, {self._failed} failed{more}"
        self.console.print(text, highlight=False)


class Progress(Meter):
    """pytest plugin: the progress of its session."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self.broken = ""

    @pytest.hookimpl(trylast=True)
    def pytest_configure(self, config: pytest.Config) -> None:
        """Silence pytest's terminal reporter: its report would repeat every record."""
        reporter: Any = config.pluginmanager.get_plugin("terminalreporter")
        if reporter is not None:
            from _pytest._io import TerminalWriter

            reporter._tw = TerminalWriter(io.StringIO())

    def pytest_sessionstart(self) -> None:
        """Show the bar."""
        self.start()

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Without xdist the items are counted here."""
        self.set_total(len(session.items))

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, node: Any, ids: list[str]) -> None:  # noqa: ARG002
        """With xdist every worker collects all items."""
        self.set_total(len(ids))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count finished items; show a failure at once."""
        if report.failed:
            self.failed(report.longreprtext)
        if report.when == "call" or (report.when == "setup" and not report.passed) or str(report.when) == "???":
            self.done()

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """A suite that cannot be collected must not vanish."""
        if report.failed:
            self.broken = f"{report.nodeid} could not be collected"
            self.console.print(report.longreprtext, markup=False, highlight=False, soft_wrap=True)

    def pytest_internalerror(self, excrepr: Any) -> None:
        """Show what broke inside pytest or the plugin."""
        self.console.print(str(excrepr), markup=False, highlight=False, soft_wrap=True)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Take the bar away; keep the reason if the run was stopped."""
        self.stop()
        if isinstance(session.shouldstop, str):
            self.broken = session.shouldstop
