"""Records as tidy pandas DataFrames: one row a case, a check, an evaluation, an answer, a run."""

# pyright: reportMissingTypeStubs=false
from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import pandas as pd

from rocassay.harness.results import Assay, read
from rocassay.reports.frames.evaluations import answer_frame, evaluation_frame
from rocassay.reports.frames.records import case_frame, check_frame
from rocassay.reports.frames.runs import run_frame

__all__ = ["Frames", "frames", "load"]


@dataclass(frozen=True, slots=True)
class Frames:
    """All that a results file holds; columns and dtypes are the same for every file, prefixed ones beside them.

    Columns with a prefix come from the data: `param.`, `time.` (seconds), `count.`, `code.` (digest of a kernel's
    machine code), `version.` and `metric.`.
    """

    cases: pd.DataFrame
    """One row per record of a case, drills among them: `fault` is missing where none was injected."""
    checks: pd.DataFrame
    """One row per gate or probe of a case."""
    evaluations: pd.DataFrame
    """One row per end-to-end evaluation."""
    answers: pd.DataFrame
    """One row per answered question."""
    runs: pd.DataFrame
    """One row per run, and one more for each time that it was resumed."""
    problems: tuple[str, ...]
    """Lines that could not be read, in words; their records are in no table."""


def frames(assay: Assay) -> Frames:
    """The tables of a file that was read."""
    return Frames(
        case_frame(assay), check_frame(assay), evaluation_frame(assay), answer_frame(assay), run_frame(assay),
        tuple(assay.problems),
    )  # fmt: skip


def load(path: str | PathLike[str]) -> Frames:
    """The tables of a results file, or of the `results.jsonl` in a folder; a file of no bytes gives empty tables.

    Raises ResultsError when there is no file, or when no line of it can be read.
    """
    file = Path(path)
    file = file / "results.jsonl" if file.is_dir() else file
    return frames(Assay(file) if file.is_file() and not file.stat().st_size else read(file))
