"""rocassay's own cases as the judge of a point: each point is judged by a run in a child process of its own."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rocassay.harness.bisect.errors import BisectError
from rocassay.harness.bisect.points import History, Point
from rocassay.harness.bisect.running import Run, tail_of
from rocassay.harness.bisect.verdicts import Judged, Verdict, check_ends
from rocassay.harness.results import ResultsError, Status, read

RED = frozenset(status.value for status in (Status.FAILED, Status.CRASHED, Status.TIMED_OUT, Status.KNOWN))
"""Statuses of a case that the implementation got wrong; a failure that is known is one."""
GREEN = Status.PASSED.value
CHOOSING = ("--case", "--op", "--arch", "--fp8", "--block-size")
"""Options that choose cases."""
MOST_NAMED = 40
"""Cases that are named on a command line; of more, the whole selection is run again."""
FEW = 4
"""Cases that are sooner judged in one process than workers are started."""


@dataclass(frozen=True, slots=True)
class Selected:
    """Which cases are judged, and of whom.

    Attributes:
        words: options of `rocassay run` that choose cases and engine.
        provider: whose implementation.
        pythonpath: folder in each point, "." for the point itself, that is put in front of PYTHONPATH; None: the point
            is passed as the provider's --source.
    """

    words: tuple[str, ...]
    provider: str = "rocassay"
    pythonpath: str | None = None


class CaseOracle:
    """A point is bad if a case is red there that is green at the good end and red at the bad one.

    Cases that are red or green at both ends say nothing about the change. A point where a case that counts did not run,
    or could not be judged, is skipped unless another one is red there.
    """

    def __init__(self, selected: Selected, history: History, run: Run) -> None:
        """The records of each point lie beside its log."""
        self._selected, self._history, self._run = selected, history, run
        self._turned: tuple[str, ...] = ()

    def judge(self, point: Point) -> Judged:
        """Run the cases in a child process and read its records."""
        source = self._history.at(point)
        log = self._run.log_of(point)
        out = log.with_name(log.stem)
        out.mkdir(exist_ok=True)
        here = [sys.executable, "-m", "rocassay.harness.cli.app"]
        words = [*here, *self._words(str(source)), "--out", str(out)]
        done = self._run(words, point, out, PYTHONPATH=self._path(str(source)))
        try:
            cases = {record.case: record for record in read(out / "results.jsonl").cases} if done.code in (0, 1) else {}
        except ResultsError as error:
            return Judged(Verdict.SKIP, f"no records: {error}")
        if not cases:
            return Judged(Verdict.SKIP, f"no case was judged, the run {done.how}: {tail_of(done.log)}")
        statuses = {name: record.status.value for name, record in cases.items()}
        verdict, reason = verdict_of(statuses, self._turned)
        red = next((name for name in self._turned or cases if statuses.get(name) in RED), "")
        return Judged(verdict, reason, statuses, self._repro(cases[red].repro, source) if red else "")

    def settle(self, points: Sequence[Point], good: Judged, bad: Judged) -> None:
        """From here on only the cases count that are green at the good end and red at the bad one."""
        self._turned = tuple(
            name for name, status in good.cases.items() if status == GREEN and bad.cases.get(name) in RED
        )
        if not self._turned:
            check_ends(points, good, bad)
            red = sum(status in RED for status in bad.cases.values())
            raise BisectError(
                f"of the {red} cases that are red at the bad end none is green at the good one; "
                "choose an older good end, or other cases"
            )

    def command(self, place: str) -> str:
        """A run of the cases that count."""
        line = shlex.join(["rocassay", *self._words("{}")]).replace(shlex.quote("{}"), place)
        folder = self._selected.pythonpath
        return line if folder is None else f"PYTHONPATH={_within(place, folder)} {line}"

    def _repro(self, line: str, source: Path | str) -> str:
        folder = self._selected.pythonpath
        line = line.replace(shlex.quote(str(source)), "{point}")
        return line if folder is None else f"PYTHONPATH={_within('{point}', folder)} {line}"

    def _words(self, source: str) -> list[str]:
        named = [word for name in self._turned for word in ("--case", name)]
        narrow = 0 < len(self._turned) <= MOST_NAMED
        chosen = [*named, *_without_choice(self._selected.words)] if narrow else list(self._selected.words)
        few = not any(word in chosen for word in CHOOSING if word != "--case") and chosen.count("--case") <= FEW
        words = ["run", *chosen, *(["--workers", "0"] if few else [])]
        whose = ["--provider", self._selected.provider]
        return [*words, *whose, *(["--source", source] if self._selected.pythonpath is None else [])]

    def _path(self, source: str) -> str:
        """PYTHONPATH of a child: the point's folder, then what this process imports rocassay from, then its own."""
        own = [str(Path(__file__).resolve().parents[2] / "src")] if _is_checkout() else []
        inherited = [str(Path(one).resolve()) for one in os.environ.get("PYTHONPATH", "").split(os.pathsep) if one]
        folder = self._selected.pythonpath
        return os.pathsep.join(([] if folder is None else [_within(source, folder)]) + own + inherited)


def verdict_of(cases: Mapping[str, str], turned: Sequence[str]) -> tuple[Verdict, str]:
    """What the statuses of cases say of a point; before it is known which turned, one red case is enough."""
    counted = {name: cases.get(name, Status.NOT_RUN.value) for name in turned} or dict(cases)
    red = [name for name, status in counted.items() if status in RED]
    if red:
        return Verdict.BAD, f"{len(red)} of {len(counted)} cases red, such as {red[0]}: {counted[red[0]]}"
    open_ = [name for name, status in counted.items() if status != GREEN]
    if open_ and (turned or len(open_) == len(counted)):
        return (
            Verdict.SKIP,
            f"{len(open_)} of {len(counted)} cases say nothing, such as {open_[0]}: {counted[open_[0]]}",
        )
    return Verdict.GOOD, f"{len(counted) - len(open_)} of {len(counted)} cases green"


def _without_choice(words: Sequence[str]) -> list[str]:
    """Options other than those that choose cases: what is named is chosen."""
    pairs = zip(words[::2], words[1::2], strict=True)
    return [word for name, value in pairs if name not in CHOOSING for word in (name, value)]


def _within(place: str, folder: str) -> str:
    return place if folder == "." else f"{place}/{folder}"


def _is_checkout() -> bool:
    return (Path(__file__).resolve().parents[2] / "src" / "rocassay").is_dir()
