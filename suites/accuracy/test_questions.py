"""Questions, answers and what makes two runs comparable."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from dataclasses import FrozenInstanceError, replace
from pathlib import Path

import pytest

from rocassay.harness.accuracy.questions import Question, fingerprint
from rocassay.suites.accuracy.additions import additions, environment

HEAVY = ("torch", "httpx", "lm_eval", "vllm", "datasets")
LIGHT = ("asking", "completions", "questions", "resuming", "retrieval", "runner", "served", "served_suites", "tasks")
SETTINGS = {"shots": 5, "until": ("\n",), "max_tokens": 10, "extraction": "1"}


def test_a_prompt_hash_is_the_beginning_of_the_sha256_of_the_prompt_in_utf8():
    prompt = "Question: how many café tables?\nAnswer:"
    assert Question("a", prompt, "1").prompt_hash == hashlib.sha256(prompt.encode("utf-8")).hexdigest()[:16]


def test_a_question_cannot_be_changed_after_its_hash_was_taken():
    question = Question("a", "b", "c")
    assert question.prompt_hash
    with pytest.raises(FrozenInstanceError):
        question.prompt = "other"  # pyright: ignore[reportAttributeAccessIssue]


def test_equal_questions_asked_alike_have_equal_fingerprints():
    here = fingerprint("t", additions(3).questions, **SETTINGS)
    assert here.differences(fingerprint("t", additions(3).questions, **SETTINGS)) == ()
    assert (here.questions, here.temperature, here.chat_template) == (3, 0.0, "")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"shots": 4}, "shots"),
        ({"until": ("\n", "Q")}, "until"),
        ({"max_tokens": 11}, "max_tokens"),
        ({"extraction": "2"}, "extraction"),
        ({"temperature": 0.6}, "temperature"),
        ({"chat_template": "chatml"}, "chat_template"),
    ],
)
def test_another_setting_is_the_only_difference(change, field):
    questions = additions(3).questions
    (found,) = fingerprint("t", questions, **SETTINGS).differences(
        fingerprint("t", questions, **{**SETTINGS, **change})
    )
    assert found.startswith(f"{field}: ")


@pytest.mark.parametrize("place", [0, 2])
def test_one_changed_character_of_any_prompt_changes_the_fingerprint(place: int):
    questions = list(additions(3).questions)
    before = fingerprint("t", questions, **SETTINGS)
    questions[place] = replace(questions[place], prompt=questions[place].prompt + " ")
    (found,) = before.differences(fingerprint("t", questions, **SETTINGS))
    assert found.startswith("prompts: ")


def test_another_order_of_the_questions_of_a_task_changes_the_fingerprint():
    questions = additions(3).questions
    assert fingerprint("t", questions, **SETTINGS) != fingerprint("t", questions[::-1], **SETTINGS)


@pytest.mark.parametrize("module", [*LIGHT, "vllm_inprocess"])
def test_importing_brings_in_nothing_heavy_from(tmp_path: Path, module: str):
    script = f"import sys, rocassay.harness.accuracy.{module}; print(*(m for m in {HEAVY} if m in sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False
    )
    assert (done.stdout.strip(), done.stderr) == ("", "")
