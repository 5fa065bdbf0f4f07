"""The command line: thin verbs over pytest and over pure functions of records.

Heavy imports happen inside the verbs, so that `rocassay --help` answers at once.
"""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from rocassay.harness.cli.arguments import (
    OUT,
    Arches,
    Blocks,
    CalibrationFile,
    CaseMemory,
    CaseTimeout,
    EngineName,
    Fp8s,
    Json,
    Ops,
    Out,
    Provider,
    Seed,
    Seeds,
    Source,
    TierName,
    Waivers,
    Workers,
    selected,
)
from rocassay.harness.cli.bisect_verb import bisect
from rocassay.harness.cli.contract_verb import contract
from rocassay.harness.cli.history_verbs import baseline, history
from rocassay.harness.cli.measure_verbs import bench, codegen, gsm8k
from rocassay.harness.cli.power_verbs import calibrate, drill, fuzz
from rocassay.harness.cli.report_verbs import report
from rocassay.harness.errors import RocassayError
from rocassay.harness.options import CASE_TIMEOUT, Options

app = typer.Typer(
    name="rocassay",
    help="Assay ROCm attention kernels against gold.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",  # the default one takes "[default: all]" for markup and drops it
)


@app.command()
def run(
    case: Annotated[list[str] | None, typer.Option("--case", help="Only this case, of any tier (repeatable).")] = None,
    op: Ops = None,
    arch: Arches = None,
    fp8: Fp8s = None,
    block_size: Blocks = None,
    provider: Provider = "rocassay",
    source: Source = "",
    engine: EngineName = "",
    tier: TierName = "quick",
    seed: Seed = None,
    seeds: Seeds = 1,
    out: Out = OUT,
    workers: Workers = "auto",
    case_timeout: CaseTimeout = CASE_TIMEOUT,
    case_memory: CaseMemory = None,
    drills: Annotated[bool, typer.Option("--drills/--no-drills", help="Also inject every fault.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Run only what results.jsonl lacks.")] = False,
    shard: Annotated[str, typer.Option("--shard", help="I/N: only the I-th of N parts, for as many machines.")] = "",
    durations: Annotated[
        str, typer.Option("--durations", help="results.jsonl or history: makes the parts take equally long.")
    ] = "",
    ray: Annotated[
        str, typer.Option("--ray", metavar="ADDRESS", help="Judge on a Ray cluster: HOST:PORT of its head, or auto.")
    ] = "",
    calibration: CalibrationFile = "",
    waivers: Waivers = None,
) -> None:
    """Judge an implementation: every selected case, gate and probe; exit code 0 iff the verdict is green."""
    from rocassay.harness.cli.running import execute

    options = selected(
        op,
        arch,
        fp8,
        block_size,
        cases=tuple(case or ()),
        provider=provider,
        source=source,
        engine=engine,
        tier=tier,
        seed=seed,
        seeds=seeds,
        out=out,
        resume=resume,
        suites=("kernels", "drills") if drills else ("kernels",),
        shard=shard,
        durations=durations,
        ray=ray,
        calibration=calibration,
        case_timeout=case_timeout,
        case_memory=case_memory,
        waivers=tuple(waivers or ()),
    )
    raise typer.Exit(execute(options, workers=workers))


@app.command()
def repro(
    case: Annotated[str, typer.Argument(help="Case id, as printed by a run or a report.")],
    provider: Provider = "rocassay",
    source: Source = "",
    engine: EngineName = "",
    fault: Annotated[str, typer.Option("--fault", help="Inject this fault first.")] = "",
    calibration: CalibrationFile = "",
    waivers: Waivers = None,
    json_: Json = False,
) -> None:
    """Judge one case again and show every gate and probe."""
    from rocassay.harness.cli.showing import reproduce

    options = Options(
        provider=provider, source=source, engine=engine, tier="full", calibration=calibration,
        waivers=tuple(waivers or ()),
    )  # fmt: skip
    raise typer.Exit(reproduce(case, options, fault=fault, as_json=json_))


@app.command("list")
def list_(
    op: Ops = None,
    arch: Arches = None,
    fp8: Fp8s = None,
    block_size: Blocks = None,
    tier: TierName = "quick",
    faults: Annotated[bool, typer.Option("--faults", help="List the fault catalogue instead.")] = False,
    ids: Annotated[bool, typer.Option("--ids", help="Print every case id.")] = False,
    digests: Annotated[bool, typer.Option("--digests", help="Print the digests of all inputs as JSON.")] = False,
    json_: Json = False,
) -> None:
    """Show ops, cases or faults."""
    from rocassay.harness.cli.showing import list_cases, list_digests, list_faults

    if faults:
        list_faults(as_json=json_)
        return
    options = selected(
        op,
        arch,
        fp8,
        block_size,
        tier=tier,
    )
    if digests:
        list_digests(options)
    else:
        list_cases(options, ids=ids, as_json=json_)


@app.command()
def doctor(json_: Json = False) -> None:
    """Say what this machine can judge, and what is in the way."""
    from rocassay.harness.cli.doctor import examine

    raise typer.Exit(examine(as_json=json_))


for verb in (bisect, contract, calibrate, drill, fuzz, bench, codegen, gsm8k):
    app.command()(verb)
app.add_typer(report, name="report")
app.add_typer(history, name="history")
app.add_typer(baseline, name="baseline")


def main() -> None:
    """Entry point: a known error is one sentence on stderr and exit code 2."""
    # Before numpy and torch load: the matrices are small, and workers, which inherit this, share the cores.
    for library in ("OPENBLAS", "OMP", "MKL"):
        os.environ.setdefault(f"{library}_NUM_THREADS", "1")
    try:
        app()
    except RocassayError as error:
        sys.stderr.write(f"rocassay: {error}\n")
        sys.exit(2)


if __name__ == "__main__":
    main()
