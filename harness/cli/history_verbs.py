"""The verbs `history` and `baseline`, as typer sees them; what they do lies in `histories`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rocassay.harness.options import HISTORY

DEFAULT = f"rocassay-out/{HISTORY}"

history = typer.Typer(
    help="Runs and evaluations over time: add a results file, list, show trends, judge a night as a whole, prune.",
    no_args_is_help=True,
)
baseline = typer.Typer(
    help="Accepted baselines: the runs that new ones are compared with. They move only by `accept`.",
    no_args_is_help=True,
)

Where = Annotated[str, typer.Option("--history", help="SQLite file, or a database URL (postgresql://user@host/name).")]
Configuration = Annotated[
    str, typer.Option("--configuration", help="Only this configuration, in the words of `history list`.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


@history.command("list")
def list_(configuration: Configuration = "", where: Where = DEFAULT, json_: Json = False) -> None:
    """List evaluations, oldest first: id, time, configuration, task, faults, right answers, status."""
    from rocassay.harness.cli import histories

    histories.list_evaluations(where, configuration, as_json=json_)


@history.command()
def show(
    run: Annotated[str, typer.Argument(help="Id of the run, as `history list` prints it.")],
    where: Where = DEFAULT,
    json_: Json = False,
) -> None:
    """Show one evaluation: its verdict with every check, and the questions that were not solved."""
    from rocassay.harness.cli import histories

    histories.show_evaluation(where, run, as_json=json_)


@history.command()
def add(
    results: Annotated[Path, typer.Argument(help="results.jsonl, or the folder that holds it.")],
    where: Where = DEFAULT,
    json_: Json = False,
) -> None:
    """Store the run and the finished evaluations of a results file; those of a known id are replaced, not doubled.

    Of a run of kernel cases the verdict, a few numbers of each op, and the duration of each case are kept.
    """
    from rocassay.harness.cli import kernelruns

    kernelruns.add_results(where, results, as_json=json_)


@history.command()
def runs(where: Where = DEFAULT, json_: Json = False) -> None:
    """List the runs of kernel cases, oldest first: id, time, commit, what was judged, cases, status."""
    from rocassay.harness.cli import kernelruns

    kernelruns.list_runs(where, as_json=json_)


@history.command()
def trend(
    op: Annotated[str, typer.Argument(help="This op in detail. [default: every op and evaluation]")] = "",
    evaluations: Annotated[bool, typer.Option("--eval", help="Only the evaluations.")] = False,
    alpha: Annotated[
        float | None, typer.Option("--alpha", help="False alarms of a series that did not step. [default: 0.001]")
    ] = None,
    where: Where = DEFAULT,
    json_: Json = False,
) -> None:
    """Show what runs measured over time: a sparkline, the last value, and the last step where there is one.

    Only runs of the same cases on the same device are compared. A step is a change of level that no chance order of
    the values explains; of 30 runs 5 must be on the new level, of 60 runs 4 (of 30 runs 3 where nothing else varies).
    """
    from rocassay.harness.cli import trending

    trending.show_trends(where, op, evaluations=evaluations, alpha=alpha, as_json=json_)


@history.command()
def prune(
    keep_days: Annotated[float | None, typer.Option("--keep-days", help="Keep what began in the last N days.")] = None,
    keep_runs: Annotated[int | None, typer.Option("--keep-runs", help="Keep the newest N of each kind.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be removed.")] = False,
    where: Where = DEFAULT,
    json_: Json = False,
) -> None:
    """Remove old runs and evaluations, never those that a baseline refers to; with both limits either one keeps.

    A kind is what was judged: tier, provider, engine and device of a run; configuration, task and faults of an
    evaluation.
    """
    from rocassay.harness.cli import kernelruns

    kernelruns.prune(where, keep_days, keep_runs, dry_run=dry_run, as_json=json_)


@history.command()
def night(
    since: Annotated[
        str, typer.Option("--since", help="Evaluations begun since then: 24h, 90m, 7d, or ISO 8601 (UTC).")
    ] = "24h",
    alpha: Annotated[
        float | None,
        typer.Option("--alpha", help="Chance of any false alarm in the night. [default: the policy's 0.01]"),
    ] = None,
    where: Where = DEFAULT,
    json_: Json = False,
) -> None:
    """Judge all healthy configurations of a night together (Holm); exit code 1 iff one is red after that.

    Each configuration and task is judged by its last evaluation, a repeated one by both runs. Holm's adjustment
    covers the accuracy checks; what the floor, an early stop or missing answers turned red stays red.
    """
    from rocassay.harness.cli import histories

    raise typer.Exit(histories.judge_night(where, since, alpha, as_json=json_))


@baseline.command("list")
def list_baselines(configuration: Configuration = "", where: Where = DEFAULT, json_: Json = False) -> None:
    """List accepted baselines, oldest first; the last of a configuration and task is in force."""
    from rocassay.harness.cli import histories

    histories.list_baselines(where, configuration, as_json=json_)


@baseline.command("show")
def show_baseline(
    number: Annotated[int | None, typer.Argument(help="Its number. [default: all that are in force]")] = None,
    where: Where = DEFAULT,
    json_: Json = False,
) -> None:
    """Show a baseline: who accepted it and why, its runs, and what they said against the one before."""
    from rocassay.harness.cli import histories

    histories.show_baselines(where, number, as_json=json_)


@baseline.command()
def accept(
    runs: Annotated[list[str], typer.Argument(metavar="RUN...", help="Ids of good runs of one configuration.")],
    why: Annotated[str, typer.Option("--why", help="What makes these runs good.")],
    who: Annotated[str, typer.Option("--who", help="Who accepts them. [default: the user of this process]")] = "",
    where: Where = DEFAULT,
    json_: Json = False,
) -> None:
    """Declare runs good: later runs are compared with them. Eight runs of 1319 questions see a loss of 2 points.

    Refused for runs with faults, unfinished ones, and runs of different configurations, questions or rules.
    """
    from rocassay.harness.cli import histories

    histories.accept_runs(where, runs, why, who, as_json=json_)
