"""The verb `contract`, as typer sees it; what it does lies in `contracting`."""

from __future__ import annotations

from typing import Annotated

import typer

from rocassay.harness.cli.arguments import Json


def contract(
    sources: Annotated[
        list[str], typer.Argument(metavar="SOURCE [NEW]", help="Wheel, folder or installed distribution; two: compare.")
    ],
    of: Annotated[str, typer.Option("--of", help="Which contract.")] = "aiter",
    caller: Annotated[
        list[str] | None, typer.Option("--caller", help="Only calls of this caller (repeatable).")
    ] = None,
    version: Annotated[
        list[str] | None, typer.Option("--version", help="Version of a source that does not say its own, in order.")
    ] = None,
    every: Annotated[bool, typer.Option("--every", help="Every call must bind, whatever the version.")] = False,
    whole: Annotated[bool, typer.Option("--all", help="Compare every function, not only those called.")] = False,
    limit: Annotated[int, typer.Option("--limit", help="Most functions of a comparison, 0 for all.")] = 40,
    json_: Json = False,
) -> None:
    """Bind our calls to a package's signatures without importing it; exit code 0 iff all that must bind do."""
    from rocassay.harness.cli.contracting import show

    raise typer.Exit(
        show(sources, of, caller or (), version or (), every=every, whole=whole, limit=limit, as_json=json_)
    )
