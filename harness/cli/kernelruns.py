"""What `history add`, `runs` and `prune` do: runs and evaluations go into the history, are listed, and leave it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console
from rich.text import Text

from rocassay.harness.accuracy.history import Entry, History, HistoryError, KernelRun, Limits, SetAside
from rocassay.harness.cli.answering import COLOURS
from rocassay.harness.cli.histories import summary
from rocassay.harness.cli.plain import minute, plain_table, print_json, print_table, say
from rocassay.harness.options import RESULTS
from rocassay.harness.results import Assay, read

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Added:
    """What a results file gave to a history."""

    place: str
    run: KernelRun | None
    evaluations: list[dict[str, Any]]
    left_out: list[str]
    """Why something was not taken, in words."""


def add_results(where: str, results: Path, *, as_json: bool) -> None:
    """Store the run and the finished evaluations of a results file. Raises HistoryError when it holds neither."""
    path = results / RESULTS if results.is_dir() else results
    assay = read(path)
    _require_something(assay)
    added = _anew(lambda: _add(History(where), assay))
    if as_json:
        unfinished = [found.header.run_id for found in assay.evaluations.values() if found.verdict is None]
        ids = [row["run"] for row in added.evaluations]
        run = added.run and asdict(added.run)
        print_json({"run": run, "added": ids, "unfinished": unfinished, "problems": assay.problems})
        return
    console = Console()
    for line in [*_words_of(added), *(f"unreadable: {problem}" for problem in assay.problems)]:
        say(console, line)
    say(console, f"history: {added.place}")


def _require_something(assay: Assay) -> None:
    """HistoryError where nothing can be taken, before a history is made for it."""
    found = assay.evaluations.values()
    if assay.cases or any(evaluation.verdict for evaluation in found):
        return
    what = f"only {len(found)} unfinished evaluations" if found else "no evaluation and no run of healthy cases"
    raise HistoryError(
        f"{assay.path} holds {what}; `rocassay run` and `rocassay gsm8k` make them, --resume finishes them"
    )


def _anew(action: Callable[[], T]) -> T:
    """The action; once more with a new history when the file was none and is set aside now."""
    try:
        return action()
    except SetAside as error:
        say(Console(stderr=True), f"rocassay: {error}; a new history is begun")
        return action()


def _add(history: History, assay: Assay) -> _Added:
    run: KernelRun | None = None
    rows: list[dict[str, Any]] = []
    left_out: list[str] = []
    if assay.headers:
        try:
            run = history.kernel_runs.append(assay)
        except SetAside:
            raise
        except HistoryError as error:
            # A shard or a torn run must not keep out the evaluations beside it; alone it is an error.
            if not any(evaluation.verdict for evaluation in assay.evaluations.values()):
                raise
            left_out.append(f"left out the run: {error}")
    for evaluation in assay.evaluations.values():
        if evaluation.verdict is None:
            name = evaluation.header.run_id
            left_out.append(f"left out {name}: it has no verdict yet; `rocassay gsm8k --resume` finishes it")
        else:
            history.append(evaluation)
            rows.append(summary(evaluation))
    return _Added(history.place, run, rows, left_out)


def _words_of(added: _Added) -> Iterator[str]:
    if run := added.run:
        passed = f"{run.cases - run.not_passed} of {run.cases} cases passed"
        yield f"added {run.run_id}: tier {run.tier}, {run.provider} on {run.engine}, {passed}, {run.status}"
    for row in added.evaluations:
        faults = f" with {' + '.join(row['faults'])}" if row["faults"] else ""
        yield f"added {row['run']}: {row['configuration']}{faults}, {row['task']}, {row['status']}"
    yield from added.left_out


def list_runs(where: str, *, as_json: bool) -> None:
    """Print a row a run of kernel cases, oldest first."""
    found = History(where, make=False).kernel_runs.runs()
    if as_json:
        print_json([asdict(run) for run in found])
        return
    table = plain_table("run", "begun (UTC)", "commit", "what", "cases", "not passed", "drills", "took", "status")
    for run in found:
        what = f"{run.tier} {run.provider} {run.engine}, {run.device}"
        numbers = (str(run.cases), str(run.not_passed), str(run.drills), f"{run.seconds:.0f} s")
        words = (run.run_id, minute(run.started), run.revision, what, *numbers)
        table.add_row(*map(Text, words), Text(run.status, COLOURS.get(run.status, "yellow")))
    print_table(table, "no runs of kernel cases; `rocassay history add RESULTS` stores one")


def prune(where: str, keep_days: float | None, keep_runs: int | None, *, dry_run: bool, as_json: bool) -> None:
    """Remove what is beyond the limits, or only say what that would be. Raises HistoryError without a limit."""
    if keep_days is not None and not 0 < keep_days < 36500:
        raise HistoryError(f"--keep-days {keep_days:g} is no span of time; pass a number of days above 0")
    since = None if keep_days is None else dt.datetime.now(dt.timezone.utc) - dt.timedelta(days=keep_days)
    history = History(where, make=False)
    found = history.prune(Limits(since, keep_runs), dry=dry_run)
    if as_json:
        print_json({"dry_run": dry_run, **asdict(found)})
        return
    console, verb = Console(), "would remove" if dry_run else "removed"
    for entry in (*found.runs, *found.evaluations):
        say(console, f"{verb} {_entry(entry)}")
    for entry in found.held:
        say(console, f"kept {_entry(entry)}: a baseline, or a run that stays, refers to it")
    counted = f"{_count(found.runs, 'run')} and {_count(found.evaluations, 'evaluation')}"
    say(console, f"{verb} {counted} from {history.place}")


def _entry(entry: Entry) -> str:
    return f"{entry.run_id}, {minute(entry.started)}, {entry.kind}"


def _count(entries: Sequence[Entry], word: str) -> str:
    return f"{len(entries)} {word}{'' if len(entries) == 1 else 's'}"
