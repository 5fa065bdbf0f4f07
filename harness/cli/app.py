"""The command line: thin verbs over pytest and over pure functions of records.

Heavy imports happen inside the verbs, so that `rocassay --help` answers at once.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from rocassay.harness.cli.arguments import (
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
)
from rocassay.harness.cli.bisect_verb import bisect
from rocassay.harness.cli.contract_verb import contract
from rocassay.harness.cli.history_verbs import baseline, history
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
app.add_typer(report, name="report")
app.add_typer(history, name="history")
app.add_typer(baseline, name="baseline")
app.command()(bisect)
app.command()(contract)

OUT = Path("rocassay-out")


def _options(
    op: list[str] | None,
    arch: list[str] | None,
    fp8: list[str] | None,
    block_size: list[int] | None,
    **rest: Any,
) -> Options:
    return Options(tuple(op or ()), tuple(arch or ()), tuple(fp8 or ()), tuple(block_size or ()), **rest)


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

    options = _options(
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


@app.command()
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

    options = _options(
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


@app.command()
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
    options = _options(
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


@app.command()
def bench(
    op: Ops = None,
    words: Annotated[
        list[str] | None, typer.Option("--filter", help="Only benches whose id contains this (repeatable, all).")
    ] = None,
    engine: Annotated[
        str, typer.Option("--engine", help="device: time on a GPU; isa: count the machine code's cost on any machine.")
    ] = "device",
    against: Annotated[
        Path | None, typer.Option("--against", help="isa: compare with this file. [default: the recorded counts]")
    ] = None,
    record: Annotated[bool, typer.Option("--record", help="isa: keep these counts as the recorded ones.")] = False,
    provider: Provider = "rocassay",
    fault: Annotated[str, typer.Option("--fault", help="isa: what this injected defect costs.")] = "",
    workers: Annotated[int, typer.Option("-n", "--workers", help="isa: processes. [default: cores]")] = 0,
    json_: Json = False,
    out: Annotated[Path, typer.Option("--out", help="File that records are appended to.")] = OUT / "bench.jsonl",
    resume: Annotated[bool, typer.Option("--resume", help="Leave out what --out holds already.")] = False,
    list_: Annotated[bool, typer.Option("--list", help="Print the ids of the benches; needs no device.")] = False,
) -> None:
    """Time the shipped kernels, or count what they cost, verified first.

    Exit code 0 iff every output was right and, with --engine isa, no count grew beyond the base's.
    """
    if engine == "isa":
        from rocassay.harness.cli import costing

        asked = costing.Wanted(
            tuple(op or ()), tuple(words or ()), out, resume, against, record, provider, fault, workers
        )
        raise typer.Exit((costing.list_cases if list_ else costing.count)(asked, as_json=json_))
    if engine != "device":
        raise RocassayError(f"bench runs on device or isa, not on {engine!r}")
    from rocassay.harness.cli import benching

    wanted = benching.Wanted(tuple(op or ()), tuple(words or ()), out, resume)
    raise typer.Exit((benching.list_benches if list_ else benching.bench)(wanted, as_json=json_))


@app.command()
def codegen(
    ops: Annotated[list[str] | None, typer.Argument(help="Ops whose kernels to compile; none means all.")] = None,
    arch: Annotated[list[str] | None, typer.Option("--arch", help="Only these gfx architectures (commas).")] = None,
    fp8: Annotated[list[str] | None, typer.Option("--fp8", help="Only these FP8 flavours (commas).")] = None,
    all_: Annotated[
        bool, typer.Option("--all", help="Every specialisation of the quick tier, not only representative ones.")
    ] = False,
    record: Annotated[bool, typer.Option("--record", help="Write the record of digests and mixes anew.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="A difference from the record is a failure, too.")] = False,
    json_: Annotated[
        Path | None, typer.Option("--json", help="File for everything that was found; - for stdout.")
    ] = None,
    workers: Annotated[int, typer.Option("-n", "--workers", help="Processes. [default: cores]")] = 0,
) -> None:
    """Compile the shipped kernels for every chip and check their machine code; exit code 0 iff nothing is wrong."""
    from rocassay.harness.cli.compiling import Wanted
    from rocassay.harness.cli.compiling import codegen as check

    wanted = Wanted(
        ops=tuple(ops or ()), arches=tuple(arch or ()), fp8s=tuple(fp8 or ()), every=all_, record=record,
        strict=strict, workers=workers, json_file=json_,
    )  # fmt: skip
    raise typer.Exit(check(wanted))


@app.command()
def gsm8k(
    task: Annotated[str, typer.Option("--task", help="problems (synthetic), gsm8k or retrieval.")] = "",
    data: Annotated[
        Path | None, typer.Option("--data", help="GSM8K's train.jsonl and test.jsonl. [default: from the hub]")
    ] = None,
    shots: Annotated[int, typer.Option("--shots", help="Worked examples before each question.")] = 5,
    length: Annotated[
        list[int] | None, typer.Option("--length", help="Prompt tokens of the retrieval sweep (repeatable).")
    ] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", help="Questions to ask. [default: all; on the interpreter 32]")
    ] = None,
    url: Annotated[str, typer.Option("--url", help="OpenAI-compatible server to ask instead.")] = "",
    model: Annotated[str, typer.Option("--model", help="Model of that server. [default: what it serves]")] = "",
    suite: Annotated[str, typer.Option("--suite", help="Top-k and published accuracy of this suite.")] = "",
    in_process: Annotated[str, typer.Option("--in-process", help="Model that vLLM loads in this process.")] = "",
    concurrency: Annotated[int, typer.Option("--concurrency", help="Requests at a time.")] = 64,
    timeout: Annotated[float, typer.Option("--timeout", help="Seconds that a request may take.")] = 600.0,
    api_key_file: Annotated[Path | None, typer.Option("--api-key-file", help="File that holds the key.")] = None,
    arch: Annotated[str, typer.Option("--arch", help="gfx architecture. [default: gfx950]")] = "",
    fp8: Annotated[str, typer.Option("--fp8", help="FP8 flavour. [default: the architecture's]")] = "",
    block_size: Annotated[int, typer.Option("--block-size", help="Tokens per cache page. [default: 16]")] = 0,
    provider: Provider = "rocassay",
    engine: EngineName = "",
    fault: Annotated[
        list[str] | None, typer.Option("--fault", help="Inject it; A+B injects both (repeatable: one run each).")
    ] = None,
    drills: Annotated[bool, typer.Option("--drills", help="Measure the accuracy under each known defect.")] = False,
    matrix: Annotated[bool, typer.Option("--matrix", help="Every chip and page size of the embedded model.")] = False,
    suites: Annotated[bool, typer.Option("--suites", help="List the suites of served models instead.")] = False,
    workers: Annotated[int, typer.Option("-n", "--workers", help="Processes on the interpreter. [default: cores]")] = 0,
    floor: Annotated[float | None, typer.Option("--floor", help="Accuracy that a good build certainly has.")] = None,
    drop: Annotated[float | None, typer.Option("--drop", help="Loss of accuracy that must be seen.")] = None,
    stop: Annotated[bool, typer.Option("--stop/--no-stop", help="End a dead run early.")] = True,
    order_seed: Annotated[int, typer.Option("--order-seed", help="Seed of the order of questions.")] = 0,
    history: Annotated[str, typer.Option("--history", help="File or database URL. [default: beside --out]")] = "",
    out: Out = OUT,
    resume: Annotated[bool, typer.Option("--resume", help="Ask only what results.jsonl lacks.")] = False,
    json_: Json = False,
) -> None:
    """Measure end-to-end accuracy as a statistical test; exit code 0 iff every healthy evaluation is green."""
    from rocassay.harness.cli import evaluating

    if suites:
        raise typer.Exit(evaluating.list_suites(json_))
    wanted = evaluating.Wanted(
        task=task, data=data, shots=shots, limit=limit, url=url, model=model, suite=suite, in_process=in_process,
        concurrency=concurrency, timeout=timeout, api_key_file=api_key_file, arch=arch, fp8=fp8,
        block_size=block_size, provider=provider, engine=engine, faults=tuple(fault or ()), drills=drills,
        matrix=matrix, workers=workers, floor=floor, drop=drop, stop=stop, order_seed=order_seed, history=history,
        out=out, resume=resume, as_json=json_,
    )  # fmt: skip
    if length:
        wanted = evaluating.with_lengths(wanted, tuple(length))
    raise typer.Exit(evaluating.gsm8k(wanted))


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
