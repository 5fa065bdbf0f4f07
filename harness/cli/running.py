"""The verbs that run pytest."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from rich.console import Console

from rocassay.harness.cli.progress import Meter, Progress
from rocassay.harness.errors import RocassayError
from rocassay.harness.options import RESULTS, Options
from rocassay.harness.results import Assay, Status, merge, read, summary

PLUGIN = "rocassay.harness.plugin"

BAD_INPUT = 2
"""Exit code for input that cannot be used, or a run that was stopped; the message is on stderr."""

FINISHED = (0, 1, 5)
"""pytest's exit codes for: all passed, some failed, nothing to do (all was done before)."""


def execute(options: Options, *, workers: str) -> int:
    """Run the suites under pytest with progress; print the verdict; exit code 0 iff green."""
    options.checked()
    assert options.out is not None
    from rocassay.harness.choice import ledger_for

    broken, red = "", False
    if options.ray:
        from rocassay.harness.cli.clustering import run_on_cluster

        if not run_on_cluster(options, workers, Meter(Console(stderr=True))):
            return BAD_INPUT
    else:
        progress = Progress(Console(stderr=True))
        status = run_pytest(options, workers, progress)
        if status not in FINISHED:
            return BAD_INPUT
        broken, red = progress.broken, status != 0
    assay = read(options.out / RESULTS)
    _print_verdict(Console(), assay, broken)
    for remark in ledger_for(options).remarks(assay.cases, whole=options.whole):
        Console().print(remark, highlight=False, markup=False, soft_wrap=True)
    return 1 if red or broken or assay.red_reasons() else 0


def run_pytest(options: Options, workers: str, progress: Progress) -> int:
    """pytest's exit code for the suites of a run; RocassayError when they cannot be run."""
    assert options.out is not None
    count = str(os.cpu_count() or 1) if workers == "auto" else workers
    try:
        options.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RocassayError(f"cannot make the folder {options.out}: {error.strerror}; choose another --out") from error
    targets = [f"rocassay.suites.{suite}" for suite in options.suites]
    # Other plugins of the environment must not change the verdict or write between the lines.
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    arguments = [
        "--pyargs",
        *targets,
        "-p",
        PLUGIN,
        "-p",
        "no:cacheprovider",
        "--import-mode=importlib",
        "-q",
    ]
    # The worker's working directory and the user's pytest settings must not change the verdict.
    # Hypothesis would be imported at the end only to report that it was not used; objects whose finalisers
    # failed would be searched for, half a second long.
    arguments += ["-p", "no:hypothesispytest", "-p", "no:unraisableexception"]
    arguments += ["-c", os.devnull, "--rootdir", str(options.out)]
    arguments += [] if count == "0" else ["-p", "xdist", "-n", count, "--max-worker-restart", "10000"]
    status = int(pytest.main([*arguments, *options.arguments()], plugins=[progress]))
    if status not in FINISHED and progress.broken:
        raise RocassayError(progress.broken)
    return status


def merge_shards(results: Sequence[Path], out: Path) -> int:
    """Join results files of shards, print the verdict of the whole; exit code 0 iff green.

    A file that is not there is a missing shard, which is red; RocassayError when no file can be read.
    """
    paths = [path / RESULTS if path.is_dir() or not path.suffix else path for path in results]
    there = [path for path in paths if path.is_file()]
    for path in paths:
        if path not in there:
            Console(stderr=True).print(f"there is no {path}", highlight=False, markup=False, soft_wrap=True)
    _print_verdict(Console(), assay := merge(there, out / RESULTS), "")
    return 1 if assay.red_reasons() or len(there) < len(paths) else 0


def _print_verdict(console: Console, assay: Assay, broken: str) -> None:
    counts = ", ".join(f"{count} {status.value}" for status, count in summary(assay.cases).items())
    if assay.headers and (shard := assay.headers[-1].shard):
        mine = f"{assay.headers[-1].planned} of {shard.selected} cases"
        console.print(f"{shard}: {mine}", highlight=False)
    if assay.cases:
        console.print(f"cases: {counts}", highlight=False)
    if assay.drills:
        red = sum(record.status is Status.FAILED for record in assay.drills)
        console.print(f"drills: {red} of {len(assay.drills)} red, as they must be", highlight=False)
    reasons = [broken] if broken else assay.red_reasons()
    for reason in reasons:
        console.print(f"[bold red]RED[/] {reason}", highlight=False, soft_wrap=True)
    if not reasons:
        console.print("[bold green]GREEN[/] everything that was expected ran and agrees", highlight=False)
    if assay.false_alarms:
        console.print(str(assay.false_alarms), highlight=False, markup=False, soft_wrap=True)
    if assay.ends:
        from rocassay.harness.wording import cost

        console.print(cost(assay.ends[-1]), highlight=False, soft_wrap=True)
    console.print(f"records: {assay.path}", highlight=False, soft_wrap=True)
