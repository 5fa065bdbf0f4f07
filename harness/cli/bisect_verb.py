"""The verb `bisect`, as typer sees it; what it does lies in `bisecting`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rocassay.harness.cli.arguments import Arches, Blocks, EngineName, Fp8s, Json, Ops, Provider, TierName
from rocassay.harness.errors import RocassayError

OUT = Path("rocassay-out") / "bisect"

Many = list[str] | None


def bisect(
    good: Annotated[str, typer.Option("--good", help="Good end: commit, or one of --versions.")] = "",
    bad: Annotated[str, typer.Option("--bad", help="Bad end: commit, or one of --versions.")] = "",
    tree: Annotated[Path | None, typer.Option("--tree", help="Git tree: its commits are searched.")] = None,
    versions: Annotated[
        str, typer.Option("--versions", help="A,B,...: versions, wheels or folders are searched, good end first.")
    ] = "",
    every: Annotated[bool, typer.Option("--every-commit", help="tree: also commits that came by merges.")] = False,
    touching: Annotated[Many, typer.Option("--touching", help="tree: commits that change it (repeatable).")] = None,
    prepare: Annotated[str, typer.Option("--prepare", help="tree: shell line run in each checkout first.")] = "",
    case: Annotated[Many, typer.Option("--case", help="Judge by this case (repeatable).")] = None,
    op: Ops = None,
    arch: Arches = None,
    fp8: Fp8s = None,
    block_size: Blocks = None,
    provider: Provider = "rocassay",
    engine: EngineName = "",
    tier: TierName = "quick",
    pythonpath: Annotated[
        str | None,
        typer.Option("--pythonpath", help="Folder in each point to import from, or '.'. [default: pass --source]"),
    ] = None,
    command: Annotated[
        str, typer.Option("--command", help="Judge by this shell line: exit code 0 good, 125 cannot say, else bad.")
    ] = "",
    outcomes: Annotated[
        str, typer.Option("--outcomes", help="Noisy: shell line that prints answers as JSON lines, id and correct.")
    ] = "",
    results: Annotated[str, typer.Option("--results", help="outcomes: file that it appends the answers to.")] = "",
    rate: Annotated[float, typer.Option("--rate", help="outcomes: share of right answers of a good point.")] = 0.95,
    drop: Annotated[float, typer.Option("--drop", help="outcomes: how much less at a bad one.")] = 0.05,
    alpha: Annotated[float, typer.Option("--alpha", help="outcomes: one test's error at a good point.")] = 0.1,
    beta: Annotated[float, typer.Option("--beta", help="outcomes: one test's error at a bad point.")] = 0.1,
    confidence: Annotated[float, typer.Option("--confidence", help="outcomes: probability to stop at.")] = 0.99,
    most: Annotated[int, typer.Option("--most", help="outcomes: most questions of one test.")] = 1319,
    budget: Annotated[int, typer.Option("--budget", help="outcomes: most questions of all.")] = 20000,
    timeout: Annotated[
        float, typer.Option("--timeout", help="Seconds that a point, or its next answer, may take; 0: no limit.")
    ] = 0.0,
    out: Annotated[Path, typer.Option("--out", help="Folder of the journal, the checkout and the logs.")] = OUT,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the journal in --out.")] = False,
    json_: Json = False,
) -> None:
    """Find the commit or version that turned a case red, or cost accuracy; exit code 0 iff it was found.

    Shell lines may hold {point}: the checkout, path or version, {name}: hash or version, {out}: a folder of its own.
    """
    from rocassay.harness.bisect.selection import Selected
    from rocassay.harness.bisect.sequences import Rates
    from rocassay.harness.cli.bisecting import Wanted
    from rocassay.harness.cli.bisecting import bisect as search

    chosen = {"--case": case, "--op": op, "--arch": arch, "--fp8": fp8, "--block-size": block_size}
    words = [word for option, values in chosen.items() for value in values or () for word in (option, str(value))]
    check([bool(tree), bool(versions)], "--tree or --versions", "what is searched")
    check(
        [bool(words), bool(command), bool(outcomes)], "--case or --op, --command or --outcomes", "what judges a point"
    )
    words += ["--engine", engine] if engine else []
    wanted = Wanted(
        tree=tree, versions=tuple(name.strip() for name in versions.split(",") if name.strip()), good=good, bad=bad,
        every=every, touching=tuple(touching or ()), prepare=prepare, command=command, outcomes=outcomes,
        selected=None if command or outcomes else Selected((*words, "--tier", tier), provider, pythonpath),
        results=results, rates=Rates(rate, drop, alpha, beta, confidence, most, budget) if outcomes else None,
        timeout=timeout or None, out=out, resume=resume, as_json=json_,
    )  # fmt: skip
    raise typer.Exit(search(wanted))


def check(given: list[bool], options: str, what: str) -> None:
    """RocassayError unless exactly one of the options was given."""
    if sum(given) != 1:
        raise RocassayError(f"{sum(given)} of the options say {what}; give exactly one of {options}")
