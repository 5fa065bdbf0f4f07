"""Options that several verbs share: their names, types and help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from rocassay.harness.options import Options

Ops = Annotated[list[str] | None, typer.Option("--op", help="Only this op (repeatable).")]
Arches = Annotated[list[str] | None, typer.Option("--arch", help="Only this gfx architecture (repeatable).")]
Fp8s = Annotated[list[str] | None, typer.Option("--fp8", help="Only this FP8 flavour (repeatable).")]
Blocks = Annotated[list[int] | None, typer.Option("--block-size", help="Only this block size (repeatable).")]
Provider = Annotated[
    str, typer.Option("--provider", help="Whose implementation: rocassay, torch, vllm, aiter, or an entry point.")
]
Source = Annotated[
    str,
    typer.Option("--source", help="Where its code lies: an unpacked tree or a wheel. [default: what is installed]"),
]
EngineName = Annotated[
    str, typer.Option("--engine", help="interpreter, isa or device. [default: the GPU, else interpreter]")
]
TierName = Annotated[str, typer.Option("--tier", help="quick, full or nightly.")]
Seed = Annotated[int | None, typer.Option("--seed", help="Seed of all inputs, instead of each case's own.")]
Seeds = Annotated[int, typer.Option("--seeds", help="Run every case with this many seeds, from --seed or 0 on.")]
Waivers = Annotated[list[str] | None, typer.Option("--waivers", help="File of known failures (repeatable).")]
Out = Annotated[Path, typer.Option("--out", help="Folder for results.jsonl and reports.")]
CaseTimeout = Annotated[
    float,
    typer.Option(
        "--case-timeout",
        metavar="SECONDS",
        help="Most that running and judging a case may take; imports, inputs and golden are not counted. 0: no limit.",
    ),
]
CaseMemory = Annotated[
    float | None,
    typer.Option(
        "--case-memory",
        metavar="GIB",
        help="Most that it may take beside what its process has: of the machine, or with --engine device of the GPU. "
        "0: no limit. [default: a worker's share of the machine, half of the GPU]",
    ),
]
Workers = Annotated[
    str,
    typer.Option("-n", "--workers", help="Worker processes: a number, 'auto', or 0 for none.", show_default=False),
]
CalibrationFile = Annotated[
    str, typer.Option("--calibration", help="File of `rocassay calibrate`: judge by its tightened limits, too.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]

OUT = Path("rocassay-out")
"""Folder of a run's records, unless another one is named."""


def selected(
    op: list[str] | None,
    arch: list[str] | None,
    fp8: list[str] | None,
    block_size: list[int] | None,
    **rest: Any,
) -> Options:
    """The options of a run over what the common filters select."""
    return Options(tuple(op or ()), tuple(arch or ()), tuple(fp8 or ()), tuple(block_size or ()), **rest)
