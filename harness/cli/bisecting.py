"""The verb `bisect`: search a history, say how far it is, print what turned the verdict."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from rocassay.harness.bisect.journal import FILE, Asked, Journal
from rocassay.harness.bisect.points import History, Versions
from rocassay.harness.bisect.running import Run
from rocassay.harness.cli.plain import print_json, say
from rocassay.harness.results import move_aside

if TYPE_CHECKING:
    from rocassay.harness.bisect.believing import Believed
    from rocassay.harness.bisect.journal import Verdicts, Visit
    from rocassay.harness.bisect.points import Point
    from rocassay.harness.bisect.searching import Found
    from rocassay.harness.bisect.selection import Selected
    from rocassay.harness.bisect.sequences import Rates
    from rocassay.harness.bisect.verdicts import Oracle


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the command line asked for.

    Attributes:
        tree: git tree whose commits are the points; None: `versions` are.
        good, bad: the ends.
        every, touching, prepare: which commits, and how each is made ready.
        selected: cases that judge; None: a command does.
        command, outcomes, results: shell lines that judge or evaluate, and the file of the latter's answers.
        rates: what is known of a noisy judge; None without `outcomes`.
        timeout: seconds of a point, None for no limit.
        out, resume: folder of the journal, and whether to continue it.
    """

    tree: Path | None
    versions: tuple[str, ...]
    good: str
    bad: str
    every: bool
    touching: tuple[str, ...]
    prepare: str
    selected: Selected | None
    command: str
    outcomes: str
    results: str
    rates: Rates | None
    timeout: float | None
    out: Path
    resume: bool
    as_json: bool

    @property
    def run(self) -> Run:
        """What runs its commands."""
        return Run(self.out / "points", self.timeout)

    def history(self) -> History:
        """The points."""
        if self.tree is None:
            return Versions(self.versions, self.good, self.bad)
        from rocassay.harness.bisect.commits import Commits

        return Commits(
            self.tree, self.good, self.bad, self.out / "tree", every=self.every, touching=self.touching,
            prepare=self.prepare, run=self.run,
        )  # fmt: skip

    def asked(self, history: History) -> Asked:
        """The first line of the journal."""
        judges = {"command": self.command, "outcomes": self.outcomes, "results": self.results, "prepare": self.prepare}
        judges["cases"] = str(self.selected or "")
        judges["rates"] = str(self.rates or "")
        judges["tree"] = str(self.tree.resolve()) if self.tree else ""
        oracle = {name: value for name, value in judges.items() if value}
        return Asked(points=tuple(point.name for point in history.points), oracle=oracle)


def bisect(wanted: Wanted) -> int:
    """Search; exit code 0 iff the first bad point was found, 1 when it could not be told, 2 for an error."""
    history = wanted.history()
    journal = _journal(wanted, history)
    try:
        if wanted.rates is not None:
            return _believe(wanted, history, journal, wanted.rates)
        return _halve(wanted, history, journal)
    finally:
        journal.close()
        history.close()


def _journal(wanted: Wanted, history: History) -> Journal:
    if not wanted.resume or not (wanted.out / FILE).exists():
        # Answers and records of another bisection would be taken for this one's.
        move_aside(wanted.out / "points")
    return Journal(wanted.out, wanted.asked(history), resume=wanted.resume)


def _halve(wanted: Wanted, history: History, journal: Journal) -> int:
    from rocassay.harness.bisect.searching import bisect as halve

    oracle, told = _oracle(wanted, history), _Progress(history)
    found = halve(history.points, oracle, journal, told.judged)
    result = _deterministic(history, oracle, found)
    _show(wanted, result, journal)
    return 0 if len(found.candidates) == 1 else 1


def _oracle(wanted: Wanted, history: History) -> Oracle:
    if wanted.selected is not None:
        from rocassay.harness.bisect.selection import CaseOracle

        return CaseOracle(wanted.selected, history, wanted.run)
    from rocassay.harness.bisect.commands import CommandOracle

    return CommandOracle(wanted.command, history, wanted.run)


def _believe(wanted: Wanted, history: History, journal: Journal, rates: Rates) -> int:
    from rocassay.harness.bisect.answers import Answers
    from rocassay.harness.bisect.believing import Believing
    from rocassay.harness.bisect.evaluations import CommandEvaluator

    evaluator = CommandEvaluator(wanted.outcomes, history, wanted.run, wanted.results)
    answers = Answers(history.points, evaluator, journal)
    try:
        said = Believing(history.points, answers, rates, journal, _Progress(history).visited).run()
    finally:
        answers.close()
    names = history.points[said.first : said.last + 1]
    result = _probable(history, said, names, evaluator.command)
    _show(wanted, result, journal)
    return 0 if said.status == "found" and len(names) == 1 else 1


class _Progress:
    """A line for each verdict, on stderr."""

    def __init__(self, history: History) -> None:
        self._points, self._console, self._done = history.points, Console(stderr=True), 0

    def judged(self, line: Verdicts, candidates: int, left: int) -> None:
        """Say what a point is, and how many are still to be judged."""
        self._done += 1
        # The two ends are judged first, whatever they say.
        left += max(0, 2 - self._done)
        what = f"{line.verdict.value:4}  {self._points[line.place]}  {line.reason}, {line.seconds:.1f} s"
        say(self._console, f"[{self._done}] {what}; {candidates} candidates, about {left} more to judge")

    def visited(self, line: Visit, left: int) -> None:
        """Say what a test said, and where the change is likeliest."""
        self._done += 1
        what = f"{line.decision}  {self._points[line.place]}  {line.wrong} of {line.questions} wrong"
        where = self._points[line.likeliest] if line.likeliest < len(self._points) else "no change"
        belief = f"likeliest {where}: {line.posterior:.3f}"
        say(self._console, f"[{self._done}] {what}; {belief}, about {left} more tests")


def _described(point: Point) -> dict[str, str]:
    fields = {"point": point.name, "subject": point.subject, "author": point.author, "date": point.date}
    return {name: value for name, value in fields.items() if value}


def _repro(history: History, point: Point, lines: tuple[str, ...]) -> str:
    """Shell line that shows the bad point; `lines` hold {point}, the first one that is not empty is taken."""
    ready, place = history.recipe(point)
    line = (
        next(filter(None, lines))
        .replace("{point}", place)
        .replace("{name}", point.name)
        .replace("{out}", "$PWD/answers")
    )
    return f"{ready} && {line}" if ready else line


def _deterministic(history: History, oracle: Oracle, found: Found) -> dict[str, Any]:
    """The result for programs."""
    only = len(found.candidates) == 1
    bad = next(point for point in history.points if point.name == found.bad.point)
    good = next(point for point in history.points if point.name == found.good.point)
    judged = [{"point": line.point, "verdict": line.verdict.value, "reason": line.reason} for line in found.judged]
    return {
        "status": "found" if only else "range",
        "first_bad": _described(bad) if only else None,
        "candidates": [_described(point) for point in found.candidates],
        "last_good": _described(good),
        "reason": found.bad.reason,
        "judged": judged,
        "repro": _repro(history, bad, (found.bad.repro, oracle.command("{point}"))),
    }


def _probable(history: History, said: Believed, names: tuple[Point, ...], command: Any) -> dict[str, Any]:
    """The result for programs."""
    points = history.points
    credible = [
        {**(_described(points[place]) if place < len(points) else {"point": None}), "probability": round(mass, 6)}
        for place, mass in said.credible
    ]
    changed = names if said.status != "no change" else ()
    return {
        "status": "range" if said.status == "found" and len(names) > 1 else said.status,
        "first_bad": _described(names[0]) if said.status == "found" and len(names) == 1 else None,
        "candidates": [_described(point) for point in changed],
        "last_good": _described(points[said.first - 1]) if changed and said.first else None,
        "posterior": round(said.posterior, 6),
        "credible": credible,
        "questions": said.questions,
        "tests": said.visits,
        "reason": said.reason,
        "repro": _repro(history, changed[-1], (command("{point}"),)) if changed else "",
    }


_HEADLINES = {
    "found": "first bad:",
    "range": "the first bad one is among these, some of which cannot be judged:",
    "no change": "no change found",
    "unconfirmed": "likeliest, but not confirmed:",
    "undecided": "undecided; likeliest:",
}


def _show(wanted: Wanted, result: dict[str, Any], journal: Journal) -> None:
    if wanted.as_json:
        print_json({**result, "journal": str(journal.path)})
        return
    console = Console(file=sys.stdout)
    say(console, _HEADLINES[result["status"]])
    for point in result["candidates"]:
        say(console, f"  {'  '.join(point.values())}")
    if result["last_good"]:
        say(console, f"last good:\n  {'  '.join(result['last_good'].values())}")
    say(console, result["reason"])
    if "judged" in result:
        say(console, f"judged: {len(result['judged'])} points")
    else:
        _show_belief(console, result)
    if result["repro"]:
        say(console, f"reproduce: {result['repro']}")
    say(console, f"journal: {journal.path}")


def _show_belief(console: Console, result: dict[str, Any]) -> None:
    say(
        console,
        f"posterior: {result['posterior']:.4f} after {result['questions']} questions in {result['tests']} tests",
    )
    say(console, "credible set:")
    for one in result["credible"]:
        name = one["point"][:12] if one["point"] else "no change"
        say(console, f"  {one['probability']:.4f}  {name}  {one.get('subject', '')}".rstrip())
