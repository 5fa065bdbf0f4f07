"""What the verbs `history` and `baseline` do: thin fronts over the store and the night's judgement."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.text import Text

from rocassay.harness.accuracy import night as nights
from rocassay.harness.accuracy.errors import AccuracyError
from rocassay.harness.accuracy.history import Baseline, History, HistoryError
from rocassay.harness.accuracy.night import Night, NightLine, since_of
from rocassay.harness.accuracy.verdict import Policy
from rocassay.harness.cli.answering import COLOURS, print_evaluation
from rocassay.harness.cli.plain import minute, plain_table, print_json, print_table, say
from rocassay.harness.results import Evaluation, QuestionRecord

UNSOLVED_SHOWN = 20
"""Questions that `history show` names; --json has all."""

NIGHTS_A_YEAR = 365


def list_evaluations(where: str, configuration: str, *, as_json: bool) -> None:
    """Print a row an evaluation, oldest first."""
    found = History(where, make=False).summaries(configuration or None)
    if as_json:
        print_json([summary(evaluation) for evaluation in found])
        return
    table = plain_table("run", "begun (UTC)", "configuration", "task", "faults", "right", "status")
    for evaluation in found:
        row = summary(evaluation)
        status = Text(row["status"], COLOURS.get(row["status"], "yellow"))
        status.append(f" (repeats {row['repeats']})" if row["repeats"] else "", "dim")
        faults = " + ".join(row["faults"]) or "none"
        right = f"{row['correct']} of {row['asked']}"
        cells = (row["run"], minute(row["started"]), row["configuration"], row["task"], faults, right)
        table.add_row(*map(Text, cells), status)
    print_table(table, "no evaluations" + (f" of {configuration}" if configuration else ""))


def summary(evaluation: Evaluation) -> dict[str, Any]:
    """The row of an evaluation, for programs."""
    header, verdict = evaluation.header, evaluation.verdict
    assert verdict is not None  # the store holds none without
    return {
        "run": header.run_id,
        "started": header.started,
        "configuration": header.configuration,
        "task": header.fingerprint.task,
        "faults": list(header.faults),
        "repeats": header.repeats,
        "correct": verdict.correct,
        "asked": verdict.asked,
        "planned": header.planned,
        "status": verdict.status,
        "reason": verdict.reason,
    }


def show_evaluation(where: str, run: str, *, as_json: bool) -> None:
    """Print one evaluation with its checks and unsolved questions."""
    found = History(where, make=False).evaluation(run)
    header, console = found.header, Console()
    if as_json:
        answers = [record.model_dump(mode="json") for record in found.in_order]
        verdict = found.verdict.model_dump(mode="json") if found.verdict else None
        print_json({"header": header.model_dump(mode="json"), "verdict": verdict, "answers": answers})
        return
    print_evaluation(console, found)
    about = [f"run {header.run_id}, begun {header.started}", f"task {header.fingerprint.task}"]
    about += [f"repeats {header.repeats}"] if header.repeats else []
    about += [f"commit {header.commit}"] if header.commit else []
    say(console, f"  {'; '.join(about)}")
    say(console, f"  command: {header.command}")
    unsolved = [record for record in found.in_order if not record.correct]
    for record in unsolved[:UNSOLVED_SHOWN]:
        say(console, f"  {record.id}: {_unsolved(record)}")
    if len(unsolved) > UNSOLVED_SHOWN:
        say(console, f"  and {len(unsolved) - UNSOLVED_SHOWN} more; --json prints all")


def _unsolved(record: QuestionRecord) -> str:
    if record.finish_reason == "error":
        return f"no answer: {record.error}"
    given = "no number in the asked form" if record.strict is None else record.strict
    return f"{given}, right is {record.gold}" + (", cut at the token limit" if record.finish_reason == "length" else "")


def judge_night(where: str, since: str, alpha: float | None, *, as_json: bool) -> int:
    """Print a line a configuration and what it costs to look at so many; exit code 1 iff one is red after Holm.

    Raises AccuracyError when nothing healthy was evaluated: silence is not green.
    """
    policy = Policy()
    begin = since_of(since, dt.datetime.now(dt.timezone.utc))
    history = History(where, make=False)
    found = nights.judge_night(history.summaries(since=begin), policy.alpha if alpha is None else alpha, policy)
    if not found.lines:
        raise AccuracyError(
            f"the history at {history.place} has no healthy evaluation begun since "
            f"{begin.isoformat(timespec='minutes')}; did the night's job run? --since looks further back"
        )
    if as_json:
        print_json({"since": begin.isoformat(), **_night_row(found)})
    else:
        _print_night(found)
    return int(found.red)


def _night_row(night: Night) -> dict[str, Any]:
    lines = [{**asdict(line), "verdict": _word(line)} for line in night.lines]
    expected = {"night": night.alarms(), "year": night.alarms(NIGHTS_A_YEAR)}
    return {"alpha": night.alpha, "red": night.red, "configurations": lines, "expected_false_alarms": expected}


def _word(line: NightLine) -> str:
    """The verdict after Holm in a word."""
    if line.red:
        return "red"
    return "red alone, not in this night" if line.status == "red" else line.status


def _print_night(night: Night) -> None:
    table = plain_table("configuration", "task", "run", "evaluations", "p", "p by Holm", "verdict")
    for line in night.lines:
        colour = "bold red" if line.red else COLOURS.get(line.status, "yellow") if line.status != "red" else "yellow"
        both = line.run + (f" with {line.repeats}" if line.repeats else "")
        numbers = (str(line.evaluations), _p(line.p), _p(line.adjusted))
        table.add_row(*map(Text, (line.configuration, line.task, both, *numbers)), Text(_word(line), colour))
    print_table(table, "")
    console = Console()
    for line in night.lines:
        if line.status != "green":
            say(console, f"{line.configuration} {line.task}: {line.reason}")
    for text in _alarm_words(night):
        say(console, text)


def _alarm_words(night: Night) -> list[str]:
    one, year = night.alarms(), night.alarms(NIGHTS_A_YEAR)
    return [
        f"false alarms expected of {night.tested} compared configurations, all good, at most: {one['alone']:.3g} a "
        f"night and {year['alone']:.3g} a year, each judged alone; after Holm at {night.alpha:g} a night has one with "
        f"probability {one['holm']:.3g}, {year['holm']:.3g} nights a year",
        f"checks of answers, endings and lengths, at most: {one['side']:.3g} a night, {year['side']:.3g} a year",
    ]


def list_baselines(where: str, configuration: str, *, as_json: bool) -> None:
    """Print a row a baseline, oldest first."""
    found = History(where, make=False).baselines(configuration or None)
    rows = _baseline_rows(found)
    if as_json:
        print_json(rows)
        return
    table = plain_table(
        "number", "in force", "configuration", "task", "runs", "accuracy", "accepted (UTC)", "by", "why"
    )
    for row in rows:
        cells = (row["configuration"], row["task"], str(len(row["runs"])), f"{row['accuracy']:.4f}")
        force = "yes" if row["in_force"] else ""
        told = (minute(row["accepted"]), row["who"], row["why"])
        table.add_row(*map(Text, (str(row["number"]), force, *cells, *told)))
    print_table(table, "no baselines; `rocassay baseline accept RUN... --why TEXT` makes one")


def _baseline_rows(found: Sequence[Baseline]) -> list[dict[str, Any]]:
    last = {(baseline.configuration, baseline.task): baseline.number for baseline in found}
    in_force = set(last.values())
    return [{**_baseline_row(baseline), "in_force": baseline.number in in_force} for baseline in found]


def _baseline_row(baseline: Baseline) -> dict[str, Any]:
    counts = list(baseline.evidence["correct_of_asked"].values())
    accuracy = sum(right for right, _ in counts) / sum(asked for _, asked in counts)
    return {**asdict(baseline), "accuracy": accuracy}


def show_baselines(where: str, number: int | None, *, as_json: bool) -> None:
    """Print one baseline, or all that are in force. Raises HistoryError for a number that there is not."""
    history = History(where, make=False)
    rows = _baseline_rows(history.baselines())
    chosen = [row for row in rows if (row["in_force"] if number is None else row["number"] == number)]
    if number is not None and not chosen:
        raise HistoryError(f"there is no baseline {number}; `rocassay baseline list` shows those there are")
    if as_json:
        print_json(chosen)
        return
    console = Console()
    if not chosen:
        say(console, "no baselines; `rocassay baseline accept RUN... --why TEXT` makes one")
    for row in chosen:
        _print_baseline(console, row)


def accept_runs(where: str, runs: Sequence[str], why: str, who: str, *, as_json: bool) -> None:
    """Accept a baseline and print it."""
    accepted = History(where, make=False).accept(runs, why, who)
    row = {**_baseline_row(accepted), "in_force": True}
    if as_json:
        print_json(row)
        return
    _print_baseline(Console(), row)


def _print_baseline(console: Console, row: dict[str, Any]) -> None:
    force = "in force" if row["in_force"] else "no longer in force"
    say(console, f"baseline {row['number']} of {row['configuration']}, {row['task']}: {force}")
    say(console, f"  accepted by {row['who']}, {minute(row['accepted'])} UTC: {row['why']}")
    found = row["evidence"]
    worse = found.get("p_worse", {})
    for run, (right, asked) in found["correct_of_asked"].items():
        against = f", p = {worse[run]:.2g} of being worse than baseline {found['previous']}" if run in worse else ""
        say(console, f"  {run}: {right} of {asked} right{against}")
    psi = "unknown from one run" if found["psi"] is None else f"{found['psi']:.4f}"
    say(console, f"  discordance of two runs {psi}; of one build with p = {found['dispersion_p']:.2g} (Cochran's Q)")
    say(console, f"  {_previous_words(found)}")


def _previous_words(found: dict[str, Any]) -> str:
    if found["previous"] is None:
        return "there was no baseline before"
    if "not_compared" in found:
        return f"not comparable with baseline {found['previous']}: {found['not_compared']}"
    return (
        f"all together against baseline {found['previous']}: {100 * found['difference']:+.2f} points, "
        f"p = {found['p_worse_together']:.2g} of being worse"
    )


def _p(value: float | None) -> str:
    return "–" if value is None else f"{value:.2g}"
