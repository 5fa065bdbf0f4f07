"""The verbs of `report`, as typer sees them; what they do lies in `showing` and `comparing`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

report = typer.Typer(help="Reports: pure functions of results.jsonl.", no_args_is_help=True)

OUT = Path("rocassay-out")

Results = Annotated[Path, typer.Argument(help="results.jsonl, or the folder that holds it.")]
Markdown = Annotated[bool, typer.Option("--md", help="Print markdown.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


@report.command("html")
def html_(
    results: Results = OUT,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write. [default: report.html beside]")
    ] = None,
    base: Annotated[
        Path | None, typer.Option("--base", help="Results of the run to compare with, or the folder that holds them.")
    ] = None,
    history: Annotated[
        str, typer.Option("--history", help="SQLite file or database URL: draw the trends of its runs.")
    ] = "",
) -> None:
    """Write the reviewer's page; exit code 0 iff the verdict is green."""
    from rocassay.harness.cli.showing import write_html

    raise typer.Exit(write_html(results, output, base, history))


@report.command("ops")
def ops(
    results: Results = OUT,
    md: Markdown = False,
    html: Annotated[bool, typer.Option("--html", help="Print an HTML table.")] = False,
    json_: Json = False,
) -> None:
    """Show per op, arch, flavour and engine what ran and how near the limits it came; exit code 0 iff green."""
    from rocassay.harness.cli.showing import show_ops

    chosen = [name for name, wanted in (("md", md), ("html", html), ("json", json_)) if wanted]
    raise typer.Exit(show_ops(results, chosen))


@report.command("gates")
def gates(
    results: Results = OUT,
    md: Markdown = False,
    json_: Json = False,
) -> None:
    """Show which injected defects the rules of other projects' tests would have missed, and what they fail wrongly."""
    from rocassay.harness.cli.showing import show_gates

    raise typer.Exit(show_gates(results, [name for name, wanted in (("md", md), ("json", json_)) if wanted]))


@report.command("accuracy")
def accuracy(
    results: Results = OUT,
    md: Markdown = False,
    json_: Json = False,
) -> None:
    """Show every evaluation, and which kernel broke the answers of each injected fault; exit code 0 iff green."""
    from rocassay.harness.cli.showing import show_accuracy

    raise typer.Exit(show_accuracy(results, [name for name, wanted in (("md", md), ("json", json_)) if wanted]))


@report.command("diff")
def diff(
    base: Annotated[Path, typer.Argument(help="results.jsonl of the base run, or the folder that holds it.")],
    head: Annotated[Path, typer.Argument(help="The same of the run to judge.")] = OUT,
    md: Markdown = False,
    json_: Json = False,
    limit: Annotated[
        int | None, typer.Option("--limit", help="Rows per table, 0: all. [default: 10; --json all]")
    ] = None,
    max_ratio: Annotated[
        float | None, typer.Option("--max-ratio", help="Red where an error grew by more than this factor.")
    ] = None,
) -> None:
    """Show what changed between two runs; exit code 0 iff nothing got worse."""
    from rocassay.harness.cli.comparing import show_diff

    chosen = [name for name, wanted in (("md", md), ("json", json_)) if wanted]
    raise typer.Exit(show_diff(base, head, chosen, (0 if json_ else 10) if limit is None else limit, max_ratio))


@report.command("md")
def md(
    results: Results = OUT,
    base: Annotated[Path | None, typer.Option("--base", help="Results of an earlier run: tell what changed.")] = None,
    comment: Annotated[bool, typer.Option("--comment", help="No longer than a comment on GitHub may be.")] = False,
    max_bytes: Annotated[
        int | None, typer.Option("--max-bytes", help="No longer than this. [default: 1 MiB, a step summary]")
    ] = None,
) -> None:
    """Print the verdict as Markdown; exit code 0 iff it is green and, with --base, nothing got worse."""
    from rocassay.harness.cli.comparing import print_markdown

    raise typer.Exit(print_markdown(results, base, comment=comment, max_bytes=max_bytes))


@report.command("schema")
def schema(
    md: Annotated[bool, typer.Option("--md", help="Print tables of fields instead of JSON schema.")] = False,
) -> None:
    """Print what a line of results.jsonl holds."""
    from rocassay.harness.cli.comparing import print_schema

    raise typer.Exit(print_schema(md=md))


@report.command("merge")
def merge(
    results: Annotated[list[Path], typer.Argument(metavar="OUT...", help="Folders that the shards wrote.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for the results.jsonl of the whole.")],
) -> None:
    """Join the shards of a run into one results.jsonl; exit code 0 iff all are there and the verdict is green."""
    from rocassay.harness.cli.running import merge_shards

    raise typer.Exit(merge_shards(results, out))
