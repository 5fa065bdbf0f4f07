"""`rocassay contract`: whether declared calls bind to a version of a package, and what broke between two."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from rocassay.harness.cli.console import table_console
from rocassay.harness.contract.checking import Report, Result, check
from rocassay.harness.contract.declared import Contract, contract_named
from rocassay.harness.contract.differences import Change, Difference, Turn, compare
from rocassay.harness.contract.sources import open_source
from rocassay.harness.contract.tree import Tree
from rocassay.harness.errors import RocassayError

LEAST_WIDTH = 150
"""Columns of a table at least."""

_STYLE: dict[str, Any] = {"box": SIMPLE_HEAD, "pad_edge": False, "padding": (0, 1, 0, 0), "title_justify": "left"}


def show(
    sources: Sequence[str], name: str, callers: Sequence[str], versions: Sequence[str], *,
    every: bool, whole: bool, limit: int, as_json: bool,
) -> int:  # fmt: skip
    """Check one source, or compare two; exit code 1 iff a call that must bind does not.

    RocassayError for another number of sources or versions, a negative limit, and what cannot be read.
    """
    if len(sources) not in (1, 2):
        raise RocassayError(f"{len(sources)} sources cannot be compared; pass one to check it, two to compare them")
    if len(versions) > len(sources):
        raise RocassayError(f"--version is given {len(versions)} times for {len(sources)} source; pass one for each")
    if limit < 0:
        raise RocassayError(f"--limit {limit} is below 0; pass the most rows of a table, or 0 for all")
    contract = contract_named(name)
    told = [*versions, "", ""]
    opened = [open_source(source, contract, told[number]) for number, source in enumerate(sources)]
    reports = [check(source, contract, callers, every=every) for source in opened]
    if len(reports) == 1:
        return _one(reports[0], contract, as_json=as_json)
    trees = [Tree(source, contract) for source in opened]
    return _two(compare(reports[0], reports[1], trees[0], trees[1]), limit, whole=whole, as_json=as_json)


def _one(report: Report, contract: Contract, *, as_json: bool) -> int:
    if as_json:
        Console().print_json(json.dumps({"source": _source(report), "calls": [*map(_as_data, report.results)]}))
        return 1 if report.broken else 0
    table = Table(
        Column("caller", no_wrap=True), Column("call", overflow="fold", ratio=3), Column("must", no_wrap=True),
        Column("verdict", overflow="fold", ratio=2), Column("where", overflow="fold", ratio=4),
        Column("what", overflow="fold", ratio=5), title=Text(f"calls into {contract.package}: {report.source}"),
        **_STYLE,
    )  # fmt: skip
    for result in report.results:
        named = map(Text, (result.call.caller, result.call.name, "yes" if result.due else result.call.versions))
        table.add_row(*named, _verdict(result), Text(result.function.path if result.function else ""), _told(result))
    console = table_console(LEAST_WIDTH)
    console.print(table)
    console.print(_sum(report), soft_wrap=True)
    return 1 if report.broken else 0


def _verdict(result: Result) -> Text:
    style = "green" if result.binds else "bold red" if result.due else "yellow"
    return Text(result.verdict, style)


def _told(result: Result) -> Text:
    """Every problem and note on a line of its own; the first kind of problem is the verdict already."""
    lines = [str(each) if number else each.detail for number, each in enumerate(result.problems)]
    return Text("\n".join((*lines, *(f"note: {note}" for note in result.notes))))


def _sum(report: Report) -> Text:
    counts = Counter((result.binds, result.due) for result in report.results)
    told = f"{counts[True, True] + counts[True, False]} of {len(report.results)} calls bind"
    if waived := counts[False, False]:
        told += f"; {waived} do not and need not in this version"
    broken = len(report.broken)
    verdict = Text(f"{broken} that must bind {'do' if broken > 1 else 'does'} not", "bold red")
    return Text.assemble(told, "; ", verdict if broken else Text("every call that must bind does", "bold green"))


def _two(difference: Difference, limit: int, *, whole: bool, as_json: bool) -> int:
    if as_json:
        Console().print_json(json.dumps(_difference(difference)))
        return 1 if difference.broken else 0
    console = table_console(LEAST_WIDTH)
    reached = {result.function.path for report in (difference.old, difference.new) for result in report.results
               if result.function}  # fmt: skip
    rows = sorted(difference.changes, key=lambda each: (not _touches(each, reached), not each.breaking, each.path))
    shown = rows if whole else [each for each in rows if _touches(each, reached)]
    title = f"{difference.old.source} -> {difference.new.source}: {'all functions' if whole else 'functions we call'}"
    _changes(console, title, shown, reached, limit, whole=whole)
    console.print(Text(", ".join(_counted(difference.changes)) + "\n"), soft_wrap=True)
    _turns(console, difference.turns)
    broken = difference.broken
    lost = f"{_calls(len(difference.lost))} that bound do not any more, "
    console.print(Text(f"{lost}{len(broken)} of them must", "bold red" if broken else "bold green"), soft_wrap=True)
    return 1 if broken else 0


def _calls(count: int) -> str:
    return f"{count} call{'' if count == 1 else 's'}"


def _touches(change: Change, reached: set[str]) -> bool:
    return change.path in reached or change.moved_to in reached


def _changes(
    console: Console, title: str, rows: Sequence[Change], reached: set[str], limit: int, *, whole: bool
) -> None:
    table = Table(
        Column("", no_wrap=True), Column("function", overflow="fold"), Column("what became of it", overflow="fold"),
        *([Column("called", no_wrap=True)] if whole else []), title=Text(title), **_STYLE,
    )  # fmt: skip
    for change in rows[: limit or None]:
        details = [f"now {change.moved_to}"] if change.moved_to else []
        style = "red" if change.breaking else ""
        called = ["yes" if _touches(change, reached) else ""] if whole else []
        became = Text("\n".join((*details, *change.details)))
        table.add_row(Text(change.what, style), Text(change.path), became, *called)
    console.print(table)
    if limit and len(rows) > limit:
        console.print(Text(f"… and {len(rows) - limit:,} more; --limit 0 shows all\n", "dim"))


def _counted(changes: Sequence[Change]) -> Iterator[str]:
    counts = Counter(change.what for change in changes)
    for what in ("added", "removed", "moved", "changed"):
        yield f"{counts[what]} functions {what}"


def _turns(console: Console, turns: Sequence[Turn]) -> None:
    table = Table(
        Column("caller", no_wrap=True), Column("call", overflow="fold", ratio=3), Column("must", no_wrap=True),
        Column("before", overflow="fold", ratio=2), Column("now", overflow="fold", ratio=2),
        Column("what", overflow="fold", ratio=5), title="calls that turned out otherwise", **_STYLE,
    )  # fmt: skip
    for turn in sorted(turns, key=lambda each: (not each.broken, not each.lost)):
        call = turn.new.call
        must = "yes" if turn.new.due else call.versions
        named = map(Text, (call.caller, call.name, must))
        table.add_row(*named, _verdict(turn.old), _verdict(turn.new), _told(turn.new))
    console.print(table)


def _source(report: Report) -> dict[str, str]:
    source = report.source
    return {"source": source.label, "distribution": source.distribution, "version": source.version_text}


def _as_data(result: Result) -> dict[str, Any]:
    function = result.function
    return {
        "caller": result.call.caller,
        "call": result.call.name,
        "due": result.due,
        "verdict": result.verdict,
        "path": result.path,
        "function": function.path if function else None,
        "line": function.line if function else None,
        "signature": str(function.signature) if function else None,
        "problems": [{"kind": each.kind.value, "detail": each.detail} for each in result.problems],
        "notes": list(result.notes),
    }


def _difference(difference: Difference) -> dict[str, Any]:
    return {
        "old": _source(difference.old),
        "new": _source(difference.new),
        "functions": [
            {"what": each.what, "path": each.path, "moved to": each.moved_to or None, "details": list(each.details),
             "breaking": each.breaking}
            for each in difference.changes
        ],
        "calls": [
            {"old": _as_data(each.old), "new": _as_data(each.new), "lost": each.lost, "broken": each.broken}
            for each in difference.turns
        ],
    }  # fmt: skip
