"""`python -m rocassay.suites.comparison`: what the gates of other projects miss, by the number of keys.

Every fault of the attention ops is injected at every context length, whether or not it claims to show there; what
changes a bit of the output counts. The verdict of the run is no matter here: cases in which a fault shows nothing are
expected. Keys are drawn twice: with needles planted at every edge, as the tiers have them, and at random, as tests
usually do.
"""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import replace
from pathlib import Path

from rocassay.harness.errors import RocassayError


def _parser() -> argparse.ArgumentParser:
    from rocassay.suites.comparison.contexts import LENGTHS

    parser = argparse.ArgumentParser(
        prog="python -m rocassay.suites.comparison",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--keys", type=int, nargs="*", default=LENGTHS, help="context lengths (default: %(default)s)")
    parser.add_argument("--engine", default="", help="interpreter, isa or device (default: the GPU, else interpreter)")
    parser.add_argument("--out", type=Path, default=Path("rocassay-out/comparison"), help="folder for results.jsonl")
    parser.add_argument("-n", "--workers", default="auto", help="processes (default: cores)")
    parser.add_argument("--resume", action="store_true", help="run only what results.jsonl lacks")
    return parser


def _run(asked: argparse.Namespace) -> None:
    from rich.console import Console

    from rocassay.harness.cli.progress import Progress
    from rocassay.harness.cli.running import FINISHED, run_pytest
    from rocassay.harness.options import RESULTS, Options
    from rocassay.harness.results import read
    from rocassay.reports import gatetable
    from rocassay.suites.comparison.contexts import KEYS, cases

    ids = tuple(str(case) for drawn in KEYS for case in cases(asked.keys, drawn))
    # A fault that takes every page for a full one reads 32768 keys of each key's page on the interpreter: it is late.
    options = Options(
        cases=ids, engine=asked.engine, power=True, out=asked.out, resume=asked.resume, case_timeout=120.0
    ).checked()
    if run_pytest(options, asked.workers, Progress(Console(stderr=True))) not in FINISHED:
        raise RocassayError("the run was stopped; --resume goes on with it")
    assay = read(asked.out / RESULTS)
    for drawn in KEYS:
        for keys in asked.keys:
            here = {str(case) for case in cases([keys], drawn)}
            rows = gatetable.gate_table(replace(assay, records=[r for r in assay.records if r.case in here]))
            sys.stdout.write(f"\n{keys} {drawn} keys\n\n{gatetable.markdown(rows)}")
    for row in gatetable.gate_table(assay):
        if row.missed:
            sys.stdout.write(f"\n{row.rule} never sees {', '.join(row.missed)}\n")


def main() -> int:
    """Run what was asked for; 0, or 2 for what cannot be run."""
    # Before numpy and torch load: workers, which inherit this, share the cores.
    for library in ("OPENBLAS", "OMP", "MKL"):
        os.environ.setdefault(f"{library}_NUM_THREADS", "1")
    try:
        _run(_parser().parse_args())
    except (RocassayError, OSError) as error:
        sys.stderr.write(f"comparison: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
