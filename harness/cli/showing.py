"""The verbs that show: cases, faults, one case in detail, reports."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from rocassay.harness.cases import Case
from rocassay.harness.cli.console import table_console
from rocassay.harness.errors import RocassayError
from rocassay.harness.faults import catalogue, fault_named
from rocassay.harness.ops import discover, op_named, select_cases
from rocassay.harness.options import Options, records_in
from rocassay.harness.prepared import input_digests
from rocassay.harness.results import GREEN, CaseRecord, Check, Status, read

if TYPE_CHECKING:
    from rocassay.harness.results.mutants import MutantRecord
    from rocassay.reports.html import Trend

_PLAIN: dict[str, Any] = {"box": SIMPLE_HEAD, "pad_edge": False, "padding": (0, 1, 0, 0)}
"""Table style: one line under the head, nothing else."""


def list_cases(options: Options, *, ids: bool, as_json: bool) -> None:
    """Print the selected cases: a table of counts, or every id."""
    cases = _selected(options)
    console = Console()
    if as_json:
        console.print_json(json.dumps([str(case) for case in cases]))
        return
    if ids:
        for case in cases:
            console.print(str(case), highlight=False, soft_wrap=True, markup=False)
        return
    counts = Counter((case.op, case.block_size) for case in cases)
    totals = Counter(case.op for case in cases)
    blocks = sorted({case.block_size for case in cases})
    scope = " and ".join(" ".join(sorted({getattr(case, axis) for case in cases})) for axis in ("arch", "fp8"))
    table = Table(
        Column("op", no_wrap=True),
        *(Column(str(size), justify="right", no_wrap=True) for size in blocks),
        Column("all", justify="right", no_wrap=True),
        title=f"{len(cases)} cases of tier {options.tier}, by block size; {scope}",
        **_PLAIN,
    )
    for op in sorted(totals):
        table.add_row(op, *(str(counts[op, size] or "") for size in blocks), str(totals[op]))
    table_console(100).print(table)


def list_digests(options: Options) -> None:
    """Print the digests of the selected cases' inputs as JSON, in the form of the file that pins them."""
    sys.stdout.write(json.dumps(input_digests(_selected(options)), indent=1) + "\n")


def _selected(options: Options) -> list[Case]:
    cases = select_cases(options.checked().tier_name, options.selection())
    for op in options.ops:
        op_named(op)
    if not cases:
        raise RocassayError(f"no case of tier {options.tier} matches the filters; `rocassay list` shows what there is")
    return cases


def list_faults(*, as_json: bool) -> None:
    """Print the fault catalogue."""
    discover()
    console = Console()
    if as_json:
        rows = [
            {
                "name": f.name,
                "ops": f.ops,
                "caught_by": sorted(f.caught_by),
                "reference": f.reference,
                "summary": f.summary,
            }
            for f in catalogue()
        ]
        console.print_json(json.dumps(rows))
        return
    for fault in catalogue():
        console.print(f"[bold]{fault.name}[/] ({fault.reference})", highlight=False)
        console.print(f"  {fault.summary}\n  ops: {', '.join(fault.ops)}", highlight=False)


def reproduce(text: str, options: Options, *, fault: str, as_json: bool) -> int:
    """Judge one case and print every check; exit code 0 iff green (with a fault: iff red)."""
    from rocassay.harness.choice import ledger_for, make_judge

    case = Case.parse(text)
    discover()
    op_named(case.op)
    injected = fault_named(fault) if fault else None
    record = make_judge(options.checked())(case, injected)
    record = record if injected else ledger_for(options).applied(record)
    if as_json:
        Console().print_json(record.model_dump_json())
    else:
        _print_record(Console(), record)
    return 0 if (record.status is Status.FAILED if injected else record.status in GREEN) else 1


def _print_record(console: Console, record: CaseRecord) -> None:
    console.print(record.case, highlight=False, soft_wrap=True, markup=False)
    grid = Table.grid(padding=(0, 2, 0, 0))
    for check in record.checks:
        mark = Text("pass", "green") if check.passed else Text("FAIL", "bold red")
        mark = mark if check.applicable else Text("–", "dim")
        grid.add_row(mark, check.name, Text("\n".join(_words_of(check))))
    console.print(grid)
    seconds = ", ".join(f"{name} {value:.3f} s" for name, value in record.timings.items())
    text = f"{record.status.value}; {seconds}; inputs {record.digest}; {record.device}"
    console.print(text, highlight=False, soft_wrap=True)
    if record.reason:
        console.print(record.reason, markup=False, highlight=False, soft_wrap=True)


def _words_of(check: Check) -> list[str]:
    lines = [check.detail]
    if check.limit and check.statistic is not None:
        lines[0] += f" (limit {check.limit:g})"
    if not check.passed and check.reason:
        lines.append(f"why the limit: {check.reason}")
    if check.coordinate:
        lines.append(f"first wrong: {check.coordinate}")
    return lines


def show_ops(results: Path, forms: list[str]) -> int:
    """Print the op table, on a terminal or in one form; exit code 0 iff the verdict is green.

    RocassayError when more than one form is asked for.
    """
    from rocassay.reports import optable

    _at_most_one(forms)
    assay = read(records_in(results))
    rows = optable.op_table(assay)
    printers = {"md": optable.markdown, "html": optable.html_table, "json": optable.as_json}
    if forms:
        sys.stdout.write(printers[forms[0]](rows))
    else:
        table_console(150).print(_table(optable.HEADINGS, optable.TEXTS, map(optable.cells, rows)))
    return 1 if assay.red_reasons() else 0


def show_gates(results: Path, forms: list[str]) -> int:
    """Print what other projects' rules would have missed; exit code 0, as nothing is judged.

    RocassayError when more than one form is asked for, or when no injected defect changed a floating-point output.
    """
    from rocassay.reports import gatetable

    _at_most_one(forms)
    if not (rows := gatetable.gate_table(read(records_in(results)))):
        raise RocassayError(
            f"{results} holds no drill that changed a floating-point output; `rocassay run --drills` makes some"
        )
    if forms:
        sys.stdout.write({"md": gatetable.markdown, "json": gatetable.as_json}[forms[0]](rows))
        return 0
    table_console(150).print(_table(gatetable.HEADINGS, 1, map(gatetable.cells, rows)))
    for row in rows:
        if row.missed:
            Console().print(f"{row.rule} never sees {', '.join(row.missed)}", highlight=False, soft_wrap=True)
    return 0


def show_rules(mutants: Iterable[MutantRecord]) -> None:
    """Print what other projects' rules say of killed mutants, where they were asked."""
    from rocassay.reports import gatetable

    for row in gatetable.mutant_table(mutants):
        missed = f"{row.changed - row.seen} of {row.changed} killed mutants with floating-point outputs"
        Console().print(f"{row.rule} misses {missed}, on every case that reaches them", highlight=False, soft_wrap=True)


def show_accuracy(results: Path, forms: list[str]) -> int:
    """Print every evaluation and injected defect, on a terminal or in one form; exit code 0 iff the verdict is green.

    RocassayError when more than one form is asked for.
    """
    from rocassay.reports import accuracytable as text

    _at_most_one(forms)
    assay = read(records_in(results))
    table = text.accuracy_table(assay)
    printers = {"md": text.markdown, "json": text.as_json}
    if forms:
        sys.stdout.write(printers[forms[0]](table))
        return 1 if assay.red_reasons() else 0
    console = table_console(180)
    if table.evaluations:
        console.print(_table(text.HEADINGS, text.TEXTS, map(text.cells, table.evaluations)))
    if table.defects:
        console.print(
            _table(text.DEFECT_HEADINGS, text.DEFECT_TEXTS, map(text.defect_cells, table.defects), lines=True)
        )
    for line in text.remarks(table, assay.red_reasons()):
        console.print(Text(line), soft_wrap=True)
    return 1 if assay.red_reasons() else 0


def _at_most_one(forms: list[str]) -> None:
    if len(forms) > 1:
        raise RocassayError(f"--{' and --'.join(forms)} exclude each other; pass one of them")


def _table(headings: Sequence[str], texts: int, rows: Iterable[Sequence[str]], *, lines: bool = False) -> Table:
    """Words to the left, numbers to the right."""
    table = Table(show_lines=lines, **_PLAIN)
    for number, name in enumerate(headings):
        table.add_column(name, justify="left" if number < texts else "right", overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def write_html(results: Path, output: Path | None, base: Path | None = None, history: str = "") -> int:
    """Write the page beside the results, compared with the base's, with a history's trends.

    Exit code 0 iff the verdict is green.
    """
    from rocassay.reports.html import write

    source = records_in(results)
    assay, former = read(source), read(records_in(base)) if base else None
    target = write(assay, output or source.with_name("report.html"), former, _trends(history) if history else ())
    console, reasons = Console(), assay.red_reasons()
    for reason in reasons:
        console.print(f"[bold red]RED[/] {reason}", highlight=False, soft_wrap=True)
    console.print(f"report: {target}", highlight=False, soft_wrap=True)
    return 1 if reasons else 0


def _trends(history: str) -> list[Trend]:
    from rocassay.harness.cli.trending import trend_rows
    from rocassay.reports.html import Trend

    return [Trend(*row) for row in trend_rows(history)]
