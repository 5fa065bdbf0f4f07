"""The verb `calibrate`: judge healthy draws, fit their statistics, print how often the gates lie."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Column, Table

from rocassay.harness.calibration.alarms import of_quick_tier
from rocassay.harness.calibration.calibrating import calibration
from rocassay.harness.calibration.classes import ShapeClasses, shape_classes
from rocassay.harness.calibration.document import FILE, Calibration, Fit, OpCalibration, load, save
from rocassay.harness.calibration.draws import draws
from rocassay.harness.calibration.errors import CalibrationError
from rocassay.harness.calibration.moments import most_often
from rocassay.harness.choice import chosen_engine
from rocassay.harness.cli.console import table_console
from rocassay.harness.cli.plain import say
from rocassay.harness.cli.progress import Progress
from rocassay.harness.cli.running import BAD_INPUT, FINISHED, run_pytest
from rocassay.harness.gates.whitened import MAX_Z, WORST_ROW_T
from rocassay.harness.ops import discover, op_named
from rocassay.harness.options import RESULTS, Options
from rocassay.harness.providers import provider
from rocassay.harness.results import GREEN, Assay, read

TABLE_WIDTH = 130

DRAWS = "draws.txt"
"""File in the output folder that names the draws, one case id a line."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the command line asked for; fields as the options are called."""

    ops: tuple[str, ...]
    provider: str
    engine: str
    seeds: int
    first_seed: int
    runs_per_year: int
    out: Path
    workers: str
    resume: bool


def calibrate(wanted: Wanted, *, as_json: bool) -> int:
    """Judge the draws, write the calibration beside their records and print it; exit code 0 iff all were green."""
    if wanted.runs_per_year < 1:
        raise CalibrationError(f"{wanted.runs_per_year} runs a year have no false alarms; use 1 or more")
    status = _judge(wanted)
    if status not in FINISHED:
        return BAD_INPUT
    assay, path = read(wanted.out / RESULTS), wanted.out / FILE
    save(calibration(assay, wanted.runs_per_year), path)
    made = load(path)
    if as_json:
        sys.stdout.write(path.read_text())
    else:
        _show(made, assay, path)
    return 1 if assay.red_reasons() else 0


def _judge(wanted: Wanted) -> int:
    """Run the draws as any other run, with every gate and probe that they have there; pytest's exit code."""
    drawn = draws(_drawable(wanted), wanted.seeds, wanted.first_seed)
    if not drawn:
        raise CalibrationError("no case of these ops can run here; `rocassay doctor` says what is in the way")
    listed = wanted.out / DRAWS
    try:
        wanted.out.mkdir(parents=True, exist_ok=True)
        listed.write_text("".join(f"{case}\n" for case in drawn))
    except OSError as error:
        raise CalibrationError(f"cannot write {listed}: {error.strerror}; choose another --out") from error
    options = Options(
        cases=(f"@{listed}",),
        suites=("kernels",),
        provider=wanted.provider,
        engine=wanted.engine,
        out=wanted.out,
        resume=wanted.resume,
    ).checked()
    return run_pytest(options, wanted.workers, Progress(Console(stderr=True)))


def _drawable(wanted: Wanted) -> Iterator[ShapeClasses]:
    """Classes of the cases of the quick tier that this engine and provider can run."""
    engine, whose = chosen_engine(wanted.engine), provider(wanted.provider)

    every = discover()
    for op in [op_named(name) for name in wanted.ops] or every:
        cases = [c for c in op.cases("quick") if not (engine.unavailable(c.arch, c.fp8) or whose.unavailable(op, c))]
        if cases:
            yield shape_classes(op, cases)


def _show(made: Calibration, assay: Assay, path: Path) -> None:
    console = table_console(TABLE_WIDTH)
    console.print(_table(made))
    for line in _summary(made, path):
        say(console, line)
    for record in (record for record in assay.cases if record.status not in GREEN):
        text = f"FALSE RED {record.status.value}: {record.reason}"
        console.print(text, style="red", markup=False, highlight=False, soft_wrap=True)
        say(console, f"  {record.repro}")
    for reason in assay.red_reasons():
        console.print(f"RED {reason}", style="bold red", markup=False, highlight=False, soft_wrap=True)


def _summary(made: Calibration, path: Path) -> Iterator[str]:
    most = most_often(made.red, made.draws)
    yield (
        f"seen: {made.red} false reds in {made.draws} draws; with 95 % confidence at most {most:.2g} a case, "
        f"{most * made.runs:.2g} in a run of {made.runs} cases"
    )
    alarms = of_quick_tier(made, str(path))
    each = ", ".join(f"{check} {count:.2g}" for check, count in sorted(alarms.a_run.items())) or "no check can lie"
    yield f"estimated: {each} in a run"
    yield str(alarms)
    fits = [fit for op in made.ops.values() for fit in _fits(op)]
    why = Counter(fit.refused.partition(":")[0] for fit in fits if fit.refused)
    refused = ", ".join(f"{count} {reason}" for reason, count in why.most_common())
    yield f"limits: {sum(fit.limit is not None for fit in fits)} of {len(fits)} tightened; {refused or 'none refused'}"
    yield f"calibration: {path}"


def _table(made: Calibration) -> Table:
    limits = (f"above {MAX_Z:g}", f"above {WORST_ROW_T:g}")
    right = ("classes", "draws", "red", "at most", "max |z|", limits[0], "worst t", limits[1], "tightened")
    table = Table(
        Column("op", overflow="fold"),
        *(Column(name, justify="right", no_wrap=True) for name in right),
        title=f"healthy cases of {made.provider} on {made.engine} {made.device}".rstrip(),
        box=SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    for name, op in made.ops.items():
        fits = _fits(op)
        tightened = f"{sum(fit.limit is not None for fit in fits)} of {len(fits)}" if fits else "exact"
        counts = (str(len(op.classes)), str(op.draws), str(sum(op.not_passed.values())), f"{op.at_most:.2g}")
        table.add_row(name, *counts, *_worst(op, "max-z"), *_worst(op, "worst-row"), tightened)
    return table


def _fits(op: OpCalibration) -> list[Fit]:
    return [fit for one in op.classes.values() for fit in one.fits.values()]


def _worst(op: OpCalibration, check: str) -> tuple[str, str]:
    """Largest value that was seen of a statistic, and the largest probability of a class to exceed its limit."""
    found = [fit for one in op.classes.values() for key, fit in one.fits.items() if key.partition(".")[0] == check]
    if not found:
        return "", ""
    above = max(fit.above or 0.0 for fit in found)
    return f"{max(fit.most for fit in found):.2f}", f"{above:.1g}"
