"""The verb `fuzz`: search the cases of ops, show how far it is, record and print what was found."""

from __future__ import annotations

import importlib.util
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from rocassay.harness.cli.plain import say
from rocassay.harness.cli.progress import SECONDS_BETWEEN_LINES
from rocassay.harness.corpus import keep
from rocassay.harness.errors import RocassayError
from rocassay.harness.options import Options

if TYPE_CHECKING:
    from rocassay.harness.cases import Case
    from rocassay.harness.fuzz.processes import Job
    from rocassay.harness.fuzz.recording import Recording
    from rocassay.harness.fuzz.search import Mistake, Searched
    from rocassay.harness.results import CaseRecord


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the command line asked for.

    Attributes:
        options: ops, provider and engine.
        examples, seconds: how long each op is searched; no seconds for no limit.
        seed: of what is drawn.
        workers: processes; 0 for this one.
        out: folder of the records and of what was red.
        resume: judge only what the records lack.
        keep: corpus that findings are appended to.
    """

    options: Options
    examples: int
    seconds: float | None
    seed: int
    workers: int
    out: Path
    resume: bool
    keep: Path | None


def fuzz(wanted: Wanted, *, as_json: bool) -> int:
    """Search; exit code 0 iff nothing red was found, 2 where a declaration is wrong."""
    if importlib.util.find_spec("hypothesis") is None:
        raise RocassayError("fuzzing needs hypothesis, which is not installed; install rocassay[fuzz]")
    from rocassay.harness.fuzz.recording import Recording

    wanted.options.checked()
    names = _ops(wanted.options)
    recording = Recording(wanted.options, wanted.out, resume=wanted.resume)
    found: list[Searched] = []
    interrupted = True
    try:
        found += _searched(wanted, names, recording)
        interrupted = False
    finally:
        reasons = recording.close(interrupted=interrupted)
    kept = _kept(wanted.keep, found)
    if as_json:
        sys.stdout.write(json.dumps(_plain(wanted, found, reasons), indent=1) + "\n")
    else:
        _print(Console(), found, reasons, kept, recording.path)
    return 2 if any(searched.mistakes for searched in found) else int(bool(reasons))


def _ops(options: Options) -> list[str]:
    from rocassay.harness.ops import discover, op_named

    every = [op.name for op in discover()]
    return [op_named(name).name for name in dict.fromkeys(options.ops)] or every


def _searched(wanted: Wanted, names: list[str], recording: Recording) -> Iterator[Searched]:
    """What the search of each op found, recorded as it comes."""
    from rocassay.harness.fuzz.processes import Job, Searches, search_here
    from rocassay.harness.fuzz.search import Budget

    budget = Budget(wanted.examples, float("inf") if wanted.seconds is None else wanted.seconds)
    known = recording.known

    def job(name: str) -> Job:
        mine = tuple(record for record in known if record.op == name)
        return Job(name, wanted.options, budget, wanted.seed, wanted.out, known=mine)

    jobs = [job(name) for name in names]
    with _Progress(Console(stderr=True), recording, len(jobs)) as progress:
        workers = min(wanted.workers, len(jobs))
        searches = Searches(jobs, workers, progress) if workers else (search_here(job, progress) for job in jobs)
        for searched in searches:
            progress.searched(searched)
            yield searched


class _Progress:
    """A bar of ops on a terminal, a line now and then elsewhere; findings as they come."""

    def __init__(self, console: Console, recording: Recording, ops: int) -> None:
        self._console, self._recording, self._ops = console, recording, ops
        self._cases = self._done = self._red = 0
        self._last = time.monotonic()
        columns = TextColumn("fuzz"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}")
        self._bar = Progress(*columns, TimeElapsedColumn(), console=console, transient=True)
        self._task = self._bar.add_task("", total=ops)

    def __enter__(self) -> _Progress:
        if self._console.is_terminal:
            self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.stop()

    def begins(self, case: Case) -> None:
        """Say where it is."""
        self._bar.update(self._task, description=f"{self._cases} cases, {self._red} red, {case.op}")
        now = time.monotonic()
        if not self._console.is_terminal and now - self._last >= SECONDS_BETWEEN_LINES:
            self._last = now
            say(self._console, f"{self._done} of {self._ops} done, {self._red} failed, {self._cases} cases judged")

    def judged(self, seen: CaseRecord | Mistake) -> None:
        """Record a case."""
        self._cases += 1
        self._recording.judged(seen)

    def searched(self, searched: Searched) -> None:
        """Record and show what the search of an op found."""
        self._recording.searched(searched)
        self._done += 1
        self._red += len(searched.findings)
        self._bar.update(self._task, completed=self._done)


def _kept(corpus: Path | None, found: list[Searched]) -> list[str]:
    """Cases that were appended to the corpus."""
    if corpus is None:
        return []
    from rocassay.harness.fuzz.search import symptom_of

    findings = [record for searched in found for record in searched.findings]
    try:
        return [r.case for r in findings if keep(corpus, r.case, f"{symptom_of(r)} on {r.provider}/{r.engine}")]
    except OSError as error:
        raise RocassayError(f"cannot append to {corpus}: {error.strerror}; choose another --keep") from error


def _plain(wanted: Wanted, found: list[Searched], reasons: list[str]) -> dict[str, Any]:
    """The result for programs."""
    ops = [
        {
            "op": searched.op,
            "cases": searched.cases,
            "findings": [record.model_dump(mode="json") for record in searched.findings],
            "mistakes": [asdict(mistake) for mistake in searched.mistakes],
        }
        for searched in found
    ]
    return {"seed": wanted.seed, "examples": wanted.examples, "ops": ops, "red": reasons}


def _print(console: Console, found: list[Searched], reasons: list[str], kept: list[str], path: Path) -> None:
    from rocassay.harness.wording import explain

    for searched in found:
        for record in searched.findings:
            say(console, explain(record))
        for mistake in searched.mistakes:
            said = f"{searched.op} declares a case whose inputs or golden cannot be made: {mistake.case}"
            say(console, f"MISTAKE {said}: {mistake.reason}; narrow `free` or `accepts`")
    for searched in found:
        if not searched.cases:
            say(console, f"{searched.op}: no case runs on this engine")
    say(console, f"{sum(searched.cases for searched in found)} cases of {len(found)} ops")
    for case in kept:
        say(console, f"kept: {case}")
    for reason in reasons:
        console.print(f"[bold red]RED[/] {reason}", highlight=False, soft_wrap=True)
    if not reasons and not any(searched.mistakes for searched in found):
        console.print("[bold green]GREEN[/] nothing red was found", highlight=False)
    say(console, f"records: {path}")
