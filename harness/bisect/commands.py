"""A shell line as the judge of a point, by its exit code, as `git bisect run` reads it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rocassay.harness.bisect.errors import BisectError
from rocassay.harness.bisect.points import History, Point
from rocassay.harness.bisect.running import Finished, Run, filled, tail_of
from rocassay.harness.bisect.verdicts import Judged, Verdict, check_ends

SKIP = 125
"""Exit code of a command that cannot judge a point."""
CANNOT_RUN = (126, 127)
"""Exit codes of a shell for what is no program, or is not there."""


class CommandOracle:
    """Exit code 0: good. 125, or a time that is over: cannot be judged. Other codes up to 124: bad.

    A command that cannot be run at all (126, 127), or that was ended by a signal (from 128 on), says nothing about the
    point and ends the bisection with BisectError.
    """

    def __init__(self, template: str, history: History, run: Run) -> None:
        """template: shell line; {point} is what stands for the point, {name} its hash or version."""
        self._template, self._history, self._run = template, history, run

    def judge(self, point: Point) -> Judged:
        """Run the command in the point's folder, where it has one, and read its exit code."""
        source = self._history.at(point)
        where = source if isinstance(source, Path) else Path.cwd()
        done = self._run(filled(self._template, point=source, name=point.name), point, where)
        if done.code == 0:
            return Judged(Verdict.GOOD, "exit code 0")
        if done.code in (None, SKIP):
            return Judged(Verdict.SKIP, f"the command {done.how}")
        _check(done, self._template, point)
        return Judged(Verdict.BAD, f"exit code {done.code}: {tail_of(done.log)}")

    def settle(self, points: Sequence[Point], good: Judged, bad: Judged) -> None:
        """The good end must be good, the bad end bad."""
        check_ends(points, good, bad)

    def command(self, place: str) -> str:
        """The shell line itself."""
        return self._template.replace("{point}", place)


def _check(done: Finished, template: str, point: Point) -> None:
    """BisectError when an exit code says nothing about the point."""
    code = done.code or 0
    if code in CANNOT_RUN or code < 0 or code >= 128:
        raise BisectError(
            f"`{template}` {done.how} at {point}, which is no verdict: {tail_of(done.log)}; "
            f"mend it, or let it end with {SKIP} where it cannot judge, and continue with --resume"
        )
