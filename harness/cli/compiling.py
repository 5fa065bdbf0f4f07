"""The verb `codegen`: compile the shipped kernels for the chips, check their code objects, compare with the record."""

# pyright: reportMissingTypeStubs=false

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import triton
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from rocassay.harness.arch import profile
from rocassay.harness.cases import Selection
from rocassay.harness.cli.codetable import code_table, difference_lines
from rocassay.harness.cli.console import table_console
from rocassay.harness.codegen import declared, records
from rocassay.harness.codegen.building import Builders, in_order
from rocassay.harness.codegen.choosing import Origin
from rocassay.harness.codegen.coverage import mnemonics_of
from rocassay.harness.codegen.records import Code
from rocassay.harness.codegen.verdicts import Comparison, compared, problems, slack
from rocassay.harness.errors import RocassayError
from rocassay.harness.fp8 import format_of
from rocassay.harness.ops import discover, op_named, select_cases

SECONDS_BETWEEN_LINES = 10.0
"""Without a terminal a line is printed this often."""

_Item = TypeVar("_Item")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the command line asked for."""

    ops: tuple[str, ...] = ()
    """Only code objects of these ops."""
    arches: tuple[str, ...] = ()
    """Only these chips; each word may be several with commas between."""
    fp8s: tuple[str, ...] = ()
    """Only these flavours; each word may be several with commas between."""
    every: bool = False
    """Every specialisation of the quick tier, not the fewest that show every value."""
    record: bool = False
    """Write the record anew."""
    strict: bool = False
    """Differences from the record are red."""
    workers: int = 0
    """Processes; 0: one a core."""
    json_file: Path | None = None
    """Where everything is written as JSON."""

    def selection(self) -> Selection:
        """The filters; UnknownArch or an error of the same kind for a name that is not known."""
        arches, fp8s = _names(self.arches), _names(self.fp8s)
        for arch in arches:
            profile(arch)
        for fp8 in fp8s:
            format_of(fp8)
        return Selection(ops=frozenset(self.ops), arches=arches, fp8s=fp8s)

    @property
    def whole(self) -> bool:
        """Whether nothing is filtered out."""
        return not (self.ops or self.arches or self.fp8s)


def _names(words: Iterable[str]) -> frozenset[str]:
    return frozenset(name for word in words for name in word.split(","))


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run found."""

    codes: Sequence[Code]
    """The code objects in order."""
    wrong: dict[str, list[str]]
    """Id -> what is wrong with it."""
    comparison: Comparison
    """Beside the record."""
    seconds: float
    """Wall time."""


def codegen(wanted: Wanted) -> int:
    """Check the selected code objects; exit code 0 iff none has a problem (with `strict`: and none differs)."""
    if wanted.record and wanted.every:
        raise RocassayError("--record keeps the representative code objects only; leave --all out")
    start = time.perf_counter()
    path = declared.beside(declared.RECORD)
    record = records.read(path)
    origins, codes = _compiled(wanted)
    found = declared.budgets()
    pinned = record.triton in ("", triton.__version__)
    wrong = {code.id: list(problems(code, found, pinned=pinned)) for code in codes}
    comparison = _compared(wanted, record, codes, found)
    outcome = Outcome(codes, {name: said for name, said in wrong.items() if said}, comparison, _since(start))
    if wanted.json_file:
        _write_json(wanted.json_file, outcome)
    _print(outcome)
    if wanted.record:
        _record(wanted, record, outcome, {origin.id for origin in origins}, path)
    return exit_code(wanted, outcome)


def _since(start: float) -> float:
    return time.perf_counter() - start


def _compiled(wanted: Wanted) -> tuple[list[Origin], list[Code]]:
    """Choose and compile, with a word now and then on stderr."""
    discover()
    for op in wanted.ops:
        op_named(op)
    cases = select_cases("quick", wanted.selection())
    if not cases:
        raise RocassayError("no case of the quick tier matches the filters; `rocassay list` shows what there is")
    console = Console(stderr=True)
    builders = Builders(wanted.workers or os.cpu_count() or 1)
    by_op = {op: tuple(case for case in cases if case.op == op) for op in dict.fromkeys(case.op for case in cases)}
    asked = [(own, wanted.every) for own in by_op.values()]
    found = list(_shown("choosing", builders.chosen(asked), len(asked), console))
    origins = sorted((origin for some in found for origin in some), key=lambda origin: origin.id)
    codes = in_order(_shown("compiling", builders.built(origins), len(origins), console), origins)
    return origins, codes


def _shown(words: str, items: Iterable[_Item], total: int, console: Console) -> Iterator[_Item]:
    """The items, with a bar on a terminal and a line now and then elsewhere."""
    last = time.monotonic()
    columns = TextColumn(words), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    # Refreshed by hand: a thread of the bar's own must not be there when processes are forked.
    bar = Progress(*columns, console=console, transient=True, auto_refresh=False, disable=not console.is_terminal)
    with bar:
        task = bar.add_task("", total=total)
        for done, item in enumerate(items, start=1):
            bar.update(task, completed=done, refresh=True)
            if not console.is_terminal and time.monotonic() - last >= SECONDS_BETWEEN_LINES:
                last = time.monotonic()
                console.print(f"{words}: {done} of {total}", highlight=False)
            yield item


def _compared(
    wanted: Wanted, record: records.Record, codes: Sequence[Code], found: tuple[declared.Budget, ...]
) -> Comparison:
    selection = wanted.selection()
    asked = [name for name in record.codes if selection.takes(*_axes(name), 1)]
    loose = slack(codes, found) if wanted.whole and wanted.every else ()
    return replace(compared(codes, record, asked, every=wanted.every), slack=loose)


def _axes(code: str) -> tuple[str, str, str]:
    op, arch, fp8 = code.split(":", 3)[:3]
    return op, arch, fp8


def _record(wanted: Wanted, before: records.Record, outcome: Outcome, ids: set[str], path: Path) -> None:
    gone = set(before.codes) if wanted.whole else set(outcome.comparison.gone) - ids
    record = records.updated(before, outcome.codes, triton.__version__, gone)
    records.write(path, record)
    table_console(100).print(f"recorded: {len(record.codes)} code objects in {path}", highlight=False, soft_wrap=True)


def exit_code(wanted: Wanted, outcome: Outcome) -> int:
    """1 for any problem, and with `strict` for any difference from a record of this Triton; else 0."""
    comparable = outcome.comparison.triton == triton.__version__
    if outcome.wrong:
        return 1
    return int(wanted.strict and not wanted.record and comparable and not outcome.comparison.clean)


def _print(outcome: Outcome) -> None:
    console = table_console(150)
    console.print(code_table(outcome.codes, outcome.wrong, outcome.comparison))
    for name, said in outcome.wrong.items():
        kernel = next(code.kernel for code in outcome.codes if code.id == name)
        _line(console, f"RED {kernel} of {name}: {'; '.join(said)}", "red")
    for line in difference_lines(outcome.comparison, triton.__version__):
        _line(console, line)
    for line in _summary(outcome):
        _line(console, line)


def _line(console: Console, text: str, style: str | None = None) -> None:
    console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)


def _summary(outcome: Outcome) -> Iterator[str]:
    codes, failed = outcome.codes, sum(bool(code.error) for code in outcome.codes)
    mnemonics = {name for code in codes for name in code.mix}
    refused = mnemonics_of(refusal for code in codes for refusal in code.unknown)
    kernels, digests = {code.kernel for code in codes}, {code.digest for code in codes if code.digest}
    yield (
        f"{len(codes) - failed} code objects of {len(kernels)} kernels, {len(digests)} of them different machine code, "
        f"{sum(sum(code.mix.values()) for code in codes)} instructions; Triton {triton.__version__}; "
        f"{outcome.seconds:.1f} s"
    )
    knows = f"all but {len(refused)} ({', '.join(refused)})" if refused else "all"
    yield f"mnemonics: {len(mnemonics)}; the machine-code engine knows {knows}"
    red = f"RED: {len(outcome.wrong)} of {len(codes)} code objects have a problem"
    yield red if outcome.wrong else "GREEN: no code object has a problem"


def _write_json(path: Path, outcome: Outcome) -> None:
    """Everything, for programs; RocassayError when the file cannot be written."""
    comparison = outcome.comparison
    content = {
        "triton": triton.__version__,
        "recorded_triton": comparison.triton,
        "codes": [
            {
                **code.model_dump(mode="json"),
                "problems": outcome.wrong.get(code.id, []),
                "state": comparison.states.get(code.id, ""),
            }
            for code in outcome.codes
        ],
        "gone": comparison.gone,
        "slack": comparison.slack,
        "seconds": outcome.seconds,
    }
    text = json.dumps(content, indent=1) + "\n"
    try:
        if str(path) == "-":
            sys.stdout.write(text)
        else:
            path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise RocassayError(f"cannot write {path}: {error.strerror}; choose another --json") from error
