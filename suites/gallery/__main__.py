"""`python -m rocassay.suites.gallery`: known defects as a reviewer would meet them, in one folder."""

from __future__ import annotations

import argparse
import functools
import os
import sys
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from rocassay.harness.errors import RocassayError


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m rocassay.suites.gallery", description=__doc__)
    parser.add_argument("defects", nargs="*", metavar="DEFECT", help="which to show; none means all")
    parser.add_argument("--out", type=Path, default=Path("gallery"), help="folder to write to")
    parser.add_argument("--engine", default="interpreter", help="interpreter, isa or device")
    parser.add_argument("--diff", action="store_true", help="also print the diff of each")
    parser.add_argument("--docs", type=Path, help="also write docs/gallery.md here, from all that lies in --out")
    return parser


def _show(asked: argparse.Namespace) -> None:
    from rocassay.harness.ops import discover
    from rocassay.suites.gallery import pages
    from rocassay.suites.gallery.exhibits import EXHIBITS, exhibit_named
    from rocassay.suites.gallery.runs import cases_of, run

    console, notes = Console(), Console(stderr=True)
    exhibits = [exhibit_named(name) for name in asked.defects] or list(EXHIBITS)
    discover()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    for number, exhibit in enumerate(exhibits, 1):
        with Progress(*columns, console=notes, transient=True) as bar:
            task = bar.add_task(f"{number}/{len(exhibits)} {exhibit.fault}", total=2 * len(cases_of(exhibit)))
            base, head = run(exhibit, asked.out / exhibit.fault, asked.engine, functools.partial(bar.advance, task))
        pages.write(asked.out / exhibit.fault, base, head)
        found = pages.shown(exhibit, base, head).turned_red.replace("`", "")
        console.print(f"{exhibit.fault}: {found}", highlight=False, soft_wrap=True)
        if asked.diff:
            sys.stdout.write((asked.out / exhibit.fault / pages.DIFF).read_text(encoding="utf-8"))
    console.print(f"open {pages.write_index(asked.out)}", highlight=False, soft_wrap=True)
    if asked.docs:
        pages.write_document(asked.out, asked.docs)


def main() -> int:
    """Run what was asked for; 0, or 2 for what cannot be shown."""
    # Before numpy and torch load: the matrices are small.
    for library in ("OPENBLAS", "OMP", "MKL"):
        os.environ.setdefault(f"{library}_NUM_THREADS", "1")
    try:
        _show(_parser().parse_args())
    except (RocassayError, OSError) as error:
        sys.stderr.write(f"gallery: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
