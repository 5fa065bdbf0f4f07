"""Verbs that ask what the harness itself sees, as typer sees them: calibrate, drill and fuzz."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from rocassay.harness.cli.arguments import (
    OUT,
    Arches,
    Blocks,
    CaseMemory,
    CaseTimeout,
    EngineName,
    Fp8s,
    Json,
    Ops,
    Out,
    Provider,
    Seed,
    Source,
    TierName,
    Waivers,
    Workers,
    selected,
)
from rocassay.harness.options import CASE_TIMEOUT, Options


def calibrate(
    op: Ops = None,
    provider: Provider = "rocassay",
    engine: EngineName = "",
    seeds: Annotated[int, typer.Option("--seeds", help="Cases of each class, each with a seed of its own.")] = 200,
    first_seed: Annotated[int, typer.Option("--first-seed", help="Least seed; runs count theirs from 0.")] = 1_000_000,
    runs_per_year: Annotated[int, typer.Option("--runs-per-year", help="Runs to count false alarms for.")] = 365,
    out: Out = OUT / "calibration",
    workers: Workers = "auto",
    resume: Annotated[bool, typer.Option("--resume", help="Judge only what results.jsonl lacks.")] = False,
    json_: Json = False,
) -> None:
    """Measure the gates' statistics on healthy kernels, and how often the gates lie.

    Writes OUT/calibration.json for `run --calibration`; exit code 0 iff every healthy case was green.
    """
    from rocassay.harness.cli.calibrating import Wanted, calibrate

    wanted = Wanted(tuple(op or ()), provider, engine, seeds, first_seed, runs_per_year, out, workers, resume)
    raise typer.Exit(calibrate(wanted, as_json=json_))


def drill(
    fault: Annotated[list[str] | None, typer.Argument(help="Faults to inject; none means all.")] = None,
    op: Ops = None,
    arch: Arches = None,
    fp8: Fp8s = None,
    block_size: Blocks = None,
    engine: EngineName = "",
    tier: TierName = "quick",
    seed: Seed = None,
    out: Out = OUT / "drill",
    workers: Workers = "",
    power: Annotated[
        bool, typer.Option("--power", help="Every case that applies; demand a sighted one per op and block size.")
    ] = False,
    mutants: Annotated[
        bool, typer.Option("--mutants", help="Write small mistakes into the kernels instead, and score what sees them.")
    ] = False,
    mutant: Annotated[
        list[str] | None, typer.Option("--mutant", help="mutants: only the one of this id (repeatable).")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", help="mutants: a sample of at most this many per op.", min=0)] = 0,
    least: Annotated[float, typer.Option("--least", help="mutants: the score that every op must reach.")] = 0.98,
    codegen: Annotated[
        bool, typer.Option("--codegen", help="mutants: one that compiles to the same machine code is equivalent.")
    ] = False,
    rules: Annotated[
        bool, typer.Option("--rules", help="mutants: ask other projects' rules about every killed one, too.")
    ] = False,
    then: Annotated[
        str, typer.Option("--then", help="mutants: engine that judges what survives on the first, such as isa.")
    ] = "",
    resume: Annotated[bool, typer.Option("--resume", help="Judge only what the records lack.")] = False,
    json_: Json = False,
    case_timeout: CaseTimeout = CASE_TIMEOUT,
    case_memory: CaseMemory = None,
) -> None:
    """Inject faults and demand that each is seen at ten times a limit or by an exact check; exit code 0 iff all are.

    With --mutants: write every small mistake into the kernels' sources, one at a time, and run the op's cases; exit
    code 0 iff they see the share --least of those that are not equivalent.
    """
    from rocassay.harness.cli.drilling import drill_faults

    options = selected(
        op,
        arch,
        fp8,
        block_size,
        faults=tuple(fault or ()),
        engine=engine,
        tier=tier,
        seed=seed,
        out=out,
        power=power,
        resume=resume,
        case_timeout=case_timeout,
        case_memory=case_memory,
    )
    if mutants or mutant:
        from rocassay.harness.cli.mutating import drill_mutants, processes
        from rocassay.harness.mutants.plan import Wanted

        asked = Wanted(options, tuple(mutant or ()), limit, codegen, rules, then, processes(workers))
        raise typer.Exit(drill_mutants(asked, least=least, as_json=json_))
    raise typer.Exit(drill_faults(options, workers=workers, as_json=json_))


def fuzz(
    op: Ops = None,
    examples: Annotated[int, typer.Option("--examples", min=1, help="Cases drawn of each op.")] = 25,
    seconds: Annotated[
        float | None, typer.Option("--seconds", min=0, help="Seconds that each op is searched. [default: no limit]")
    ] = None,
    provider: Provider = "rocassay",
    source: Source = "",
    engine: EngineName = "",
    waivers: Waivers = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of what is drawn.")] = 0,
    out: Out = OUT / "fuzz",
    resume: Annotated[bool, typer.Option("--resume", help="Judge only what results.jsonl lacks.")] = False,
    keep: Annotated[Path | None, typer.Option("--keep", help="Append every finding to this corpus.")] = None,
    case_timeout: CaseTimeout = CASE_TIMEOUT,
    case_memory: CaseMemory = None,
    workers: Annotated[
        int | None, typer.Option("-n", "--workers", help="Processes; 0: only this one. [default: cores]")
    ] = None,
    json_: Json = False,
) -> None:
    """Draw cases that nobody declared, shrink what is red to its smallest case; exit code 0 iff nothing is."""
    from rocassay.harness.cli import fuzzing

    options = Options(
        ops=tuple(op or ()), provider=provider, source=source, engine=engine, tier="full", waivers=tuple(waivers or ()),
        case_timeout=case_timeout, case_memory=case_memory,
    )  # fmt: skip
    wanted = fuzzing.Wanted(
        options=options, examples=examples, seconds=seconds, seed=seed, out=out, resume=resume, keep=keep,
        workers=os.cpu_count() or 1 if workers is None else workers,
    )  # fmt: skip
    raise typer.Exit(fuzzing.fuzz(wanted, as_json=json_))
