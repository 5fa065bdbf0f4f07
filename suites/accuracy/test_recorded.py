"""The command on recorded answers: what it counts, and that it measures what it predicts."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from rocassay.harness.accuracy.errors import AccuracyError
from rocassay.suites.gsm8k.recorded import compare_all, load, main
from rocassay.suites.gsm8k.resampling import DROPS, measure, rates_of

QUESTIONS = 240
ABILITY = {"small": 0.3, "middle": 0.5, "large": 0.8}


def entry(text: str, *, is_correct: bool) -> dict[str, object]:
    return {"is_correct": is_correct, "solution": text}


def write(path: Path, lines: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    """A file of the published form: three models of different ability on the same questions."""
    rng = np.random.default_rng(81)
    hardness = rng.random(QUESTIONS)
    lines: list[dict[str, object]] = []
    for i in range(QUESTIONS):
        gold = f"{1000 + i:,}"
        line: dict[str, object] = {"question": f"How many? {i}", "ground_truth": f"At job A: 7 he counts.\nA: {gold}"}
        for name, ability in ABILITY.items():
            right = bool(hardness[i] * rng.random() < ability**2)
            line[name] = entry(f"x = 1\nA: {1000 + i if right else 7}", is_correct=right)
        lines.append(line)
    lines[0]["small"] = entry("I never say what it is: 1000", is_correct=False)
    return write(tmp_path / "recorded.jsonl", lines)


def test_the_texts_are_scored_as_the_file_has_them(recorded: Path):
    models = load(recorded)
    assert [model.name for model in models] == list(ABILITY)
    assert [model.disagreements for model in models] == [0, 0, 0]
    assert [model.unanswered for model in models] == [1, 0, 0]
    assert [sum(m.right) for m in models] == sorted(sum(m.right) for m in models)


def test_a_verdict_that_the_text_does_not_bear_out_is_counted_and_turns_the_exit_code(recorded: Path, capsys):
    lines = [json.loads(line) for line in recorded.read_text().splitlines()]
    lines[5]["large"]["is_correct"] = not lines[5]["large"]["is_correct"]
    write(recorded, lines)
    assert main([str(recorded), "--json", "--resamples", "0"]) == 1
    assert [model["disagreements"] for model in json.loads(capsys.readouterr().out)["models"]] == [0, 0, 1]


def test_pairs_count_what_only_one_model_solved(recorded: Path):
    small, _, large = models = load(recorded)
    found = {(entry.first, entry.second): entry for entry in compare_all(models)}
    assert list(found) == [("small", "middle"), ("small", "large"), ("middle", "large")]
    pairs = found["small", "large"].pairs
    assert pairs.lost == sum(a and not b for a, b in zip(small.right, large.right, strict=True))
    assert pairs.gained - pairs.lost == sum(large.right) - sum(small.right) > 0
    assert found["small", "large"].interval.low > 0


def test_the_command_prints_the_same_tables_every_time(recorded: Path, capsys):
    assert main([str(recorded), "--resamples", "20"]) == 0
    first = capsys.readouterr().out
    assert main([str(recorded), "--resamples", "20"]) == 0
    assert capsys.readouterr().out == first
    for words in ("Recorded models", "unlike the file", "McNemar p", "false alarm", "5 points", "Rules in use"):
        assert words in first


def test_the_json_holds_every_number(recorded: Path, capsys):
    assert main([str(recorded), "--json", "--resamples", "5"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {len(found["models"]), len(found["pairs"])} == {3}
    assert {row["drop"] for row in found["resampling"]} == set(DROPS)
    assert all(0 <= row["measured"] <= 1 and 0 <= row["predicted"] <= 1 for row in found["resampling"])


@pytest.mark.parametrize(
    "text", ["", "no json", "[]", '{"question": "?"}', '{"question": "?", "ground_truth": "A: 1", "m": 3}']
)
def test_a_file_of_another_kind_is_refused_in_one_sentence(tmp_path: Path, text: str, capsys):
    path = tmp_path / "other.jsonl"
    path.write_text(text)
    with pytest.raises(AccuracyError, match=r"other\.jsonl"):
        load(path)
    assert main([str(path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_file_that_is_not_there_is_named(tmp_path: Path):
    with pytest.raises(AccuracyError, match=r"cannot read .*absent\.jsonl"):
        load(tmp_path / "absent.jsonl")


def test_the_rates_have_the_discordance_asked_for_and_keep_agreed_questions_fixed(recorded: Path):
    models = [model.right for model in load(recorded)]
    rates = rates_of(models[2], models, 0.04)
    assert (2 * rates * (1 - rates)).mean() == pytest.approx(0.04)
    agreed = np.array(models).all(axis=0) | ~np.array(models).any(axis=0)
    assert set(rates[agreed]) <= {0.0, 1.0}
    with pytest.raises(AccuracyError, match=r"psi = 0\.9"):
        rates_of(models[2], models, 0.9)


def test_what_is_measured_is_what_was_predicted():
    """On 1319 questions; a measurement that plants no loss, or looks at the wrong run, fails here."""
    rng = np.random.default_rng(82)
    hardness = rng.random(1319)
    models = [(hardness + 0.2 * rng.random(1319) < ability).tolist() for ability in (0.4, 0.7, 1.0)]
    resamples = 250
    found = measure(rates_of(models[2], models, 0.04), resamples)
    assert len(found) == 7 * len(DROPS)
    for row in found:
        error = max(row.predicted * (1 - row.predicted), 0.004) / resamples
        assert row.measured == pytest.approx(row.predicted, abs=3.5 * error**0.5 + 0.03), row
    at_two = {row.rule: row.measured for row in found if row.drop == 0.02}
    single, item, confirmed, *field = at_two.values()
    assert confirmed > 0.9
    assert item > 0.9 > single > max(field)
