"""The accuracy statistics on answers that were published: OpenAI's example_model_solutions.jsonl of grade-school-math.

Four models of 2021 answered GSM8K's 1319 test questions; the file holds every text and whether it was judged right.
`python -m rocassay.suites.gsm8k.recorded PATH` scores the texts anew, compares the models pairwise, and measures by
resampling how often the rules of this package and of the field are wrong and what they see.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Column, Table

from rocassay.harness.accuracy.classical import FIELD_RULES
from rocassay.harness.accuracy.errors import AccuracyError
from rocassay.harness.accuracy.extraction import recorded_answer
from rocassay.harness.accuracy.intervals import Interval, wilson
from rocassay.harness.accuracy.paired import Pairs
from rocassay.harness.cli.console import table_console
from rocassay.suites.gsm8k.resampling import DROPS, Measured, measure, rates_of

RESAMPLES = 5000
"""For each drop: a false alarm rate of .01 to .0014, in about fifteen seconds."""
PSI = 0.04
TABLE_WIDTH = 140
RULE_QUESTIONS = (1319, 200, 50)
RULE_DROPS = (0.02, 0.03, 0.05, 0.08)


@dataclass(frozen=True, slots=True)
class Model:
    """What one model did with all questions."""

    name: str
    right: tuple[bool, ...]
    """By our extraction."""
    judged: tuple[bool, ...]
    """By the file."""
    unanswered: int
    """Texts without an answer."""

    @property
    def disagreements(self) -> int:
        """Questions on which the two differ."""
        return sum(ours != theirs for ours, theirs in zip(self.right, self.judged, strict=True))


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two models over the same questions."""

    first: str
    second: str
    pairs: Pairs
    interval: Interval


def load(path: Path) -> list[Model]:
    """The models of a file; AccuracyError when it cannot be read or is no file of recorded answers."""
    try:
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        raise AccuracyError(f"cannot read {path}: {error}; give example_model_solutions.jsonl") from error
    try:
        names = [key for key in lines[0] if key not in ("question", "ground_truth")]
        golds = [recorded_answer(line["ground_truth"]) for line in lines]
        return [_model(name, [line[name] for line in lines], golds) for name in names]
    except (IndexError, KeyError, TypeError) as error:
        what = f"{path} holds no recorded answers ({type(error).__name__}: {error})"
        raise AccuracyError(f"{what}; every line needs question, ground_truth and one entry a model") from error


def _model(name: str, entries: Sequence[dict[str, Any]], golds: Sequence[str | None]) -> Model:
    answers = [recorded_answer(entry["solution"]) for entry in entries]
    right = tuple(answer is not None and answer == gold for answer, gold in zip(answers, golds, strict=True))
    return Model(name, right, tuple(bool(entry["is_correct"]) for entry in entries), answers.count(None))


def compare_all(models: Sequence[Model]) -> list[Comparison]:
    """Every pair of models, in the order of the file."""
    found: list[Comparison] = []
    answers = {model.name: {str(i): right for i, right in enumerate(model.right)} for model in models}
    for first, second in combinations(models, 2):
        pairs = Pairs.of(answers[first.name], answers[second.name])
        found.append(Comparison(first.name, second.name, pairs, pairs.interval()))
    return found


def _points(value: float) -> str:
    return f"{100 * value:+.2f}"


def _table(title: str, *columns: str) -> Table:
    left, *rest = columns
    heads = [Column(left, no_wrap=True), *(Column(name, justify="right", no_wrap=True) for name in rest)]
    return Table(*heads, title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))


def models_table(models: Sequence[Model]) -> Table:
    """Accuracy with its Wilson interval, and agreement with the file's own verdicts."""
    table = _table("Recorded models", "model", "right", "accuracy", "95 % interval", "unanswered", "unlike the file")
    for model in models:
        right, n = sum(model.right), len(model.right)
        range_ = wilson(right, n)
        interval = f"{range_.low:.4f} .. {range_.high:.4f}"
        cells = (f"{right}/{n}", f"{right / n:.4f}", interval, str(model.unanswered), str(model.disagreements))
        table.add_row(model.name, *cells)
    return table


def pairs_table(comparisons: Sequence[Comparison]) -> Table:
    """Every pair: lost, gained, discordance, difference with interval, exact p, z."""
    head = ("first, second", "b", "c", "psi", "points", "95 % interval", "McNemar p", "z")
    table = _table("Pairs (b: only the first is right, c: only the second)", *head)
    for entry in comparisons:
        pairs = entry.pairs
        interval = f"{_points(entry.interval.low)} .. {_points(entry.interval.high)}"
        counts = (str(pairs.lost), str(pairs.gained), f"{pairs.psi:.3f}", _points(pairs.difference))
        table.add_row(f"{entry.first}, {entry.second}", *counts, interval, f"{pairs.p_differs():.2g}", f"{pairs.z:.1f}")
    return table


def resampling_table(found: Sequence[Measured], title: str) -> Table:
    """Measured share of red verdicts beside the predicted one, by rule and drop."""
    heads = ["false alarm" if not drop else f"{100 * drop:.0f} points" for drop in DROPS]
    table = _table(title, "rule", *heads)
    for rule in dict.fromkeys(entry.rule for entry in found):
        cells = {entry.drop: f"{entry.measured:.4f} ({entry.predicted:.4f})" for entry in found if entry.rule == rule}
        table.add_row(rule, *(cells[drop] for drop in DROPS))
    return table


def rules_table() -> Table:
    """The field's rules around a known baseline: chance of red on questions drawn anew, without and with a loss."""
    heads = [f"alarm n={n}" for n in RULE_QUESTIONS]
    drops = [f"{100 * drop:.0f} points" for drop in RULE_DROPS]
    table = _table(
        f"Rules in use, baseline .95, exact binomial; losses at n = {RULE_QUESTIONS[0]}", "rule", *heads, *drops
    )
    for rule in FIELD_RULES:
        alarms = [f"{rule.alarm(n, rule.baseline):.2g}" for n in RULE_QUESTIONS]
        seen = [f"{rule.alarm(RULE_QUESTIONS[0], rule.baseline - drop):.2f}" for drop in RULE_DROPS]
        table.add_row(rule.name, *alarms, *seen)
    return table


def as_json(models: Sequence[Model], comparisons: Sequence[Comparison], found: Sequence[Measured]) -> dict[str, Any]:
    """Everything that the tables show, for programs."""
    return {
        "models": [
            {
                "name": model.name,
                "right": sum(model.right),
                "questions": len(model.right),
                "interval": asdict(wilson(sum(model.right), len(model.right))),
                "unanswered": model.unanswered,
                "disagreements": model.disagreements,
            }
            for model in models
        ],
        "pairs": [
            {
                "first": entry.first,
                "second": entry.second,
                "lost": entry.pairs.lost,
                "gained": entry.pairs.gained,
                "psi": entry.pairs.psi,
                "difference": entry.pairs.difference,
                "interval": asdict(entry.interval),
                "mcnemar_p": entry.pairs.p_differs(),
                "z": entry.pairs.z,
            }
            for entry in comparisons
        ],
        "resampling": [asdict(entry) for entry in found],
    }


def _show(tables: Sequence[Table]) -> None:
    console = table_console(TABLE_WIDTH)
    for table in tables:
        console.print(table)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the tables or the JSON; exit code 1 when our extraction and the file disagree, 2 when it cannot be read."""
    parser = argparse.ArgumentParser(prog="python -m rocassay.suites.gsm8k.recorded", description=__doc__)
    parser.add_argument("path", type=Path, help="example_model_solutions.jsonl")
    parser.add_argument("--json", action="store_true", help="print JSON for programs")
    parser.add_argument("--resamples", type=int, default=RESAMPLES, help="resamples for each drop")
    parser.add_argument("--psi", type=float, default=PSI, help="share of questions on which two runs disagree")
    wanted = parser.parse_args(arguments)
    try:
        models = load(wanted.path)
        best = max(models, key=lambda model: sum(model.right))
        rates = rates_of(best.right, [model.right for model in models], wanted.psi)
        found = measure(rates, wanted.resamples) if wanted.resamples else []
    except AccuracyError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    comparisons = compare_all(models)
    if wanted.json:
        sys.stdout.write(json.dumps(as_json(models, comparisons, found), indent=1) + "\n")
    else:
        like = f"a build like {best.name}, accuracy {float(rates.mean()):.3f}, psi {wanted.psi}"
        title = f"Red verdicts, measured (predicted): {like}, {wanted.resamples} resamples of {len(rates)} questions"
        measured = [resampling_table(found, title)] if found else []
        _show([models_table(models), pairs_table(comparisons), *measured, rules_table()])
    return int(any(model.disagreements for model in models))


if __name__ == "__main__":
    sys.exit(main())
