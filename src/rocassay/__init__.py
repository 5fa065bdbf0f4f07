"""rocassay: assay ROCm attention kernels against gold."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from os import PathLike

    from rocassay.harness.engines import isa as isa
    from rocassay.harness.results import CaseRecord
    from rocassay.reports.frames import Frames

__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    """`rocassay.isa`, the machine-code engine, is imported when it is first asked for: it needs torch and Triton."""
    if name == "isa":
        import importlib

        return importlib.import_module("rocassay.harness.engines.isa")
    raise AttributeError(f"module 'rocassay' has no attribute {name!r}")


def judge(case: str, *, provider: str = "rocassay", source: str = "", engine: str = "", fault: str = "") -> CaseRecord:
    """Judge one case by its id and return the record: status, every gate and probe, the first wrong coordinate.

    source: an unpacked tree or a wheel that holds the provider's code; by default what is installed.
    engine: "interpreter", "isa" or "device"; by default the GPU where there is one. fault: inject this defect first.
    Raises RocassayError for an id, provider, engine or fault that does not exist.
    """
    from rocassay.harness.cases import Case
    from rocassay.harness.choice import make_judge
    from rocassay.harness.faults import fault_named
    from rocassay.harness.ops import discover
    from rocassay.harness.options import Options

    parsed = Case.parse(case)
    discover()
    chosen = make_judge(Options(provider=provider, source=source, engine=engine, tier="full").checked())
    return chosen(parsed, fault_named(fault) if fault else None)


def load(path: str | PathLike[str]) -> Frames:
    """A results file as tidy pandas DataFrames: `cases`, `checks`, `evaluations`, `answers`, `runs`.

    path: the file, or the folder that holds `results.jsonl`. Raises ResultsError when there is no file, or when no line
    of it can be read.
    """
    from rocassay.reports.frames import load as load_frames

    return load_frames(path)
