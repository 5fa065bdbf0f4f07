"""Verbs that measure, as typer sees them: speed, code objects and answers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rocassay.harness.cli.arguments import (
    OUT,
    EngineName,
    Json,
    Ops,
    Out,
    Provider,
)
from rocassay.harness.errors import RocassayError


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
