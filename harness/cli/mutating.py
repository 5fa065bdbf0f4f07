"""The verb `drill --mutants`: judge mutants of the kernels, print scores and survivors."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from rocassay.harness.cli.plain import plain_table, print_json, print_table, say
from rocassay.harness.cli.showing import show_rules
from rocassay.harness.errors import RocassayError
from rocassay.harness.mutants.campaign import Campaign, Outcome
from rocassay.harness.mutants.ledger import shipped_ledger
from rocassay.harness.mutants.plan import Wanted
from rocassay.harness.results.mutants import FATES, MutantRecord, Score

SECONDS_BETWEEN_LINES = 10.0
"""Without a terminal a line is printed this often."""


def processes(workers: str) -> int:
    """How many processes `-n` asks for; one a core unless it says."""
    if workers in ("", "auto"):
        return os.cpu_count() or 1
    if not workers.isdecimal():
        raise RocassayError(f"{workers!r} is no number of worker processes; pass -n with a number, 'auto' or 0")
    return int(workers)


def drill_mutants(wanted: Wanted, *, least: float, as_json: bool) -> int:
    """Judge the mutants; exit code 0 iff all were, every op's score is `least` or more, and the ledger is true."""
    if wanted.options.faults:
        raise RocassayError(
            f"--mutants takes no fault such as {wanted.options.faults[0]!r}; choose by --op or --mutant"
        )
    wanted.options.checked()
    ledger = shipped_ledger()
    campaign = Campaign(wanted)
    for _ in _shown(campaign.run(), campaign.left, Console(stderr=True)):
        pass
    outcome = campaign.outcome(ledger, least)
    if as_json:
        print_json(_machine_readable(outcome))
    else:
        _print(outcome)
        say(Console(), f"records: {campaign.path}")
    return 1 if outcome.problems else 0


def _shown(records: Iterable[MutantRecord], total: int, console: Console) -> Iterator[MutantRecord]:
    """The records, with a bar on a terminal and a line now and then elsewhere."""
    fates, last = Counter[str](), time.monotonic()
    counts = TextColumn("{task.fields[fates]}")
    columns = TextColumn("mutants"), BarColumn(), MofNCompleteColumn(), counts, TimeElapsedColumn()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=total, fates="")
        for record in records:
            fates[record.fate] += 1
            told = ", ".join(f"{fates[fate]} {fate}" for fate in FATES if fates[fate])
            bar.update(task, advance=1, fates=told)
            if not console.is_terminal and time.monotonic() - last >= SECONDS_BETWEEN_LINES:
                last = time.monotonic()
                say(console, f"{fates.total()} of {total} mutants: {told}")
            yield record


def _machine_readable(outcome: Outcome) -> dict[str, object]:
    return {
        "ops": [
            {"op": one.op, "mutants": one.mutants, **{fate: one.fates[fate] for fate in FATES}, "score": one.share}
            for one in outcome.scores
        ],
        "survivors": [record.model_dump(mode="json") for record in outcome.survivors],
        "problems": list(outcome.problems),
    }


def _print(outcome: Outcome) -> None:
    print_table(_table(outcome.scores), "no mutant was judged")
    console = Console()
    for record in outcome.survivors:
        say(console, f"{record.op} {record.place} {record.old}  ->  {record.new}")
        # A survivor that no case reaches asks for another case than one whose results are right.
        say(console, f"  {record.id}" + (f": {record.detail}" if record.detail else f": green in {record.cases} cases"))
    show_rules(outcome.records)
    for problem in outcome.problems:
        console.print("[bold red]RED[/] ", end="")
        say(console, problem)
    if not outcome.problems:
        console.print("[bold green]GREEN[/] every op sees its mutants", highlight=False)


def _table(scores: list[Score]) -> Table:
    """One row an op, and one for all of them."""
    table = plain_table("op", "mutants", *FATES, "score", "seconds")
    whole = Score("all")
    for score in scores:
        whole.fates.update(score.fates)
        whole.seconds += score.seconds
    for score in [*scores, *([whole] if len(scores) > 1 else [])]:
        counts = [str(score.fates[fate] or "") for fate in FATES]
        table.add_row(score.op, str(score.mutants), *counts, f"{score.share:.4f}", f"{score.seconds:.1f}")
    return table
