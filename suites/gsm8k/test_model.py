"""The embedded model: greedy decoding that no batch, page size or shared prefix changes, on kernels that agree."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save

from rocassay.harness.accuracy.evaluating import extracted
from rocassay.harness.accuracy.questions import Question
from rocassay.harness.accuracy.tasks import GSM8K_UNTIL
from rocassay.suites.gsm8k.config import ModelConfig
from rocassay.suites.gsm8k.embedded import EmbeddedModel, Setting, generator
from rocassay.suites.gsm8k.generation import Generator, Row
from rocassay.suites.gsm8k.model import WEIGHTS, WeightsError, common_prefix, load
from rocassay.suites.gsm8k.synthetic import MAX_TOKENS, synthetic
from rocassay.suites.gsm8k.tokenizer import Tokenizer

PROMPTS = [question.prompt for question in synthetic(shots=2, questions=8).questions]
STRANGE = [
    "Question:",
    "Ann’s café sells 1,000 cups",
    PROMPTS[0] + " 45-8=<<45-8=37",
    synthetic(shots=5, questions=1).questions[0].prompt,
    "\n\n",
]
"""Prompts that no training held: short, in bytes, begun answers."""


@pytest.fixture
def plain() -> Generator:
    """On plain torch."""
    return generator(Setting(provider="torch"))


def texts(
    model: Generator, prompts: Sequence[str], until: Sequence[str] = GSM8K_UNTIL, max_tokens: int = MAX_TOKENS
) -> list[str]:
    """Answers in the order of the prompts."""
    rows = {row.number: row for row in model.answers(prompts, until=until, max_tokens=max_tokens)}
    return [rows[number].text for number in range(len(prompts))]


def test_a_shared_prefix_changes_no_answer(plain: Generator):
    tokenizer = Tokenizer()
    assert common_prefix([tokenizer.encode(prompt) for prompt in PROMPTS]) > 64
    # A stranger among them shares nothing: everything is then computed for every prompt.
    assert texts(plain, [*PROMPTS, STRANGE[1]])[:-1] == texts(plain, PROMPTS)


def test_a_prompt_is_answered_in_a_batch_as_alone(plain: Generator):
    prompts = [*PROMPTS[:3], *STRANGE]
    alone = [texts(generator(Setting(provider="torch")), [prompt], max_tokens=16)[0] for prompt in prompts]
    assert texts(plain, prompts, max_tokens=16) == alone
    assert texts(plain, prompts[::-1], max_tokens=16) == alone[::-1]


def test_a_prompt_longer_than_the_table_of_angles_makes_it_grow(monkeypatch: pytest.MonkeyPatch, plain: Generator):
    usual = texts(plain, PROMPTS[:2])
    config, weights = load()
    monkeypatch.setattr("rocassay.suites.gsm8k.model.load", lambda _: (replace(config, positions=16), weights))
    assert texts(generator(Setting(provider="torch")), PROMPTS[:2]) == usual


def stories(cups: int) -> list[str]:
    """Prompts whose common prefix alone knows the number; for every number it is equally long."""
    ask = "How many cups does Tom have now?\nAnswer:"
    return [f"Question: Tom has {cups} cups. Tom gives 3 to {other}. {ask}" for other in ("Ann", "Eva", "Ben")]


def test_a_kept_prefix_serves_only_prompts_that_begin_with_it(plain: Generator):
    longer = [f"{PROMPTS[0]} 1\n\n{story}" for story in stories(45)]
    batches = [PROMPTS[:2], PROMPTS[2:4], stories(45), stories(67), stories(67)[:1], longer, stories(45)]
    fresh = [texts(generator(Setting(provider="torch")), batch, max_tokens=5) for batch in batches]
    assert [texts(plain, batch, max_tokens=5) for batch in batches] == fresh
    assert (fresh[2][0], fresh[3][0]) == (" 45-3=<<45", " 67-3=<<67")


@pytest.mark.parametrize(("arch", "fp8"), [("gfx950", "e4m3fn"), ("gfx942", "e4m3fnuz")])
def test_page_sizes_change_no_answer(arch: str, fp8: str):
    prompts = [*PROMPTS[:4], *STRANGE[2:4]]
    settings = [Setting(arch, fp8, size, provider="torch") for size in (1, 16, 64)]
    one, sixteen, many = (texts(generator(setting), prompts) for setting in settings)
    assert one == sixteen == many


def test_the_other_flavour_stores_the_same_values_and_answers_as_well():
    task = synthetic(shots=5, questions=24)
    model = EmbeddedModel(Setting("gfx942", "e4m3fnuz", provider="torch"))
    answers = model.answer(task.questions, until=task.until, max_tokens=task.max_tokens)
    assert [q.id for q, answer in answers if extracted(answer.text) != (q.gold, q.gold)] == []


@pytest.mark.parametrize(
    ("setting", "few"),
    [(Setting(), 2), (Setting(block_size=1), 1), (Setting("gfx942", "e4m3fnuz"), 1)],
    ids=lambda value: f"{value.arch}-{value.block_size}" if isinstance(value, Setting) else "",
)
def test_the_kernels_choose_the_tokens_that_plain_torch_chooses(setting: Setting, few: int):
    prompts = PROMPTS[:few]
    plain = generator(Setting(setting.arch, setting.fp8, setting.block_size, "torch"))
    kernels = generator(setting)
    assert texts(kernels, prompts, max_tokens=6) == texts(plain, prompts, max_tokens=6)
    assert kernels._model.calls.counts.launches > 0
    assert kernels._model.calls.counts.findings == {}


def fed(text: str, until: Sequence[str], max_tokens: int = 1000) -> Row:
    """A row that takes the tokens of a text one by one until it has ended."""
    row, tokenizer = Row(0, [0]), Tokenizer()
    for token in tokenizer.encode(text):
        row.take(token, tokenizer, until, max_tokens)
        if row.finish:
            break
    return row


ANSWER = " 45-8=<<45-8=37>>37 cups\n#### 37\n\nQuestion: café?"


def pieces_of(text: str, longest: int) -> Iterable[str]:
    places = range(len(text))
    return {text[start : start + length] for start in places for length in range(1, longest + 1)}


@pytest.mark.parametrize("stop", sorted(pieces_of(ANSWER, 4)), ids=ascii)
def test_a_stop_string_ends_the_text_wherever_it_lies_among_tokens(stop: str):
    row = fed(ANSWER, ["never", stop])
    assert (row.text, row.finish) == (ANSWER[: ANSWER.index(stop)], "stop")


def test_the_first_of_several_stop_strings_ends_the_text():
    assert fed(ANSWER, ["####", "cups", "37>"]).text == " 45-8=<<45-8="
    # Two that come with one token.
    assert fed(ANSWER, ["ups", " cu", "ps"]).text == " 45-8=<<45-8=37>>37"


def test_a_stop_string_in_the_middle_of_a_token_ends_an_answer(plain: Generator):
    whole, ended = texts(plain, PROMPTS[:1])[0], texts(plain, PROMPTS[:1], until=["up"])[0]
    assert "cups" in whole
    assert ended == whole[: whole.index("up")]


@pytest.mark.parametrize("most", [1, 2, 7])
def test_an_answer_has_at_most_so_many_tokens(plain: Generator, most: int):
    (row,) = plain.answers(PROMPTS[:1], until=[], max_tokens=most)
    (whole,) = texts(plain, PROMPTS[:1])
    assert (row.finish, len(row.written)) == ("length", most)
    assert whole.startswith(row.text)
    assert row.text


def test_a_stop_string_in_the_last_token_allowed_counts_as_a_stop():
    tokens = len(Tokenizer().encode(" 45-8="))
    assert fed(ANSWER, ["="], max_tokens=tokens).finish == "stop"
    assert fed(ANSWER, ["37"], max_tokens=tokens).finish == "length"


def test_no_question_has_no_answer():
    for setting in (Setting(provider="torch"), Setting()):
        assert list(EmbeddedModel(setting, workers=2).answer([], until=[], max_tokens=1)) == []


def test_whoever_loads_the_model_keeps_his_gradients(plain: Generator):
    texts(plain, PROMPTS[:1], max_tokens=1)
    assert torch.is_grad_enabled()


def test_the_weights_are_those_of_the_training_log():
    log = [json.loads(line) for line in WEIGHTS.with_name("training.jsonl").read_text().splitlines()]
    data = WEIGHTS.read_bytes()
    assert (log[-1]["bytes"], log[-1]["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
    assert ModelConfig(**log[0]["config"]) == load()[0]
    assert EmbeddedModel(Setting(provider="torch")).describe()["weights"] == log[-1]["sha256"][:16]


def test_processes_answer_as_this_one_does_also_after_they_were_killed():
    questions = [Question(str(number), prompt, "") for number, prompt in enumerate(("Question: Tom", "Tom has 5"))]
    here = texts(generator(Setting()), [question.prompt for question in questions], max_tokens=2)
    before = set(multiprocessing.active_children())
    model = EmbeddedModel(Setting(), workers=2)
    try:
        for asked in (questions, questions[1:]):
            answers = dict(model.answer(asked, until=[], max_tokens=2))
            assert [answers[question].text for question in asked] == here[-len(asked) :]
            for child in set(multiprocessing.active_children()) - before:
                child.kill()
                child.join()
            wait_until(lambda: model._pool._broken)  # type: ignore[union-attr]
    finally:
        model.close()
    assert set(multiprocessing.active_children()) <= before


def wait_until(noticed: Callable[[], object]) -> None:
    """Within half a minute."""
    deadline = time.monotonic() + 30
    while not noticed():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def broken(kind: str) -> bytes:
    """Files that hold no weights of this model."""
    data = WEIGHTS.read_bytes()
    if kind == "torn":
        return data[: len(data) // 2]
    if kind in ("empty", "a few bytes", "a text"):
        return {"empty": b"", "a few bytes": data[:4], "a text": b"no weights, but a page of text " * 100}[kind]
    tensors = load_file(WEIGHTS)
    if kind == "a tensor too few":
        del tensors["1.down"]
    if kind == "another shape":
        tensors["norm"] = tensors["norm"][:-1].clone()
    config = {"no JSON": "{", "an unknown field": '{"depth": 2}', "another config": '{"layers": 3}'}.get(kind, "{}")
    return save(tensors) if kind == "no config" else save(tensors, {"config": config})


BROKEN = {
    "torn": "cannot read weights from",
    "empty": "cannot read weights from",
    "a few bytes": "cannot read weights from",
    "a text": "cannot read weights from",
    "no config": "cannot read weights from",
    "no JSON": "cannot read weights from",
    "an unknown field": "unexpected keyword argument 'depth'",
    "another config": r"weight 2.attention_norm of .* is None, the model needs \(256,\); train it again",
    "a tensor too few": r"weight 1.down of .* is None, the model needs \(1024, 256\); train it again",
    "another shape": r"weight norm of .* is \(255,\), the model needs \(256,\); train it again",
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_file_that_holds_no_weights_of_the_model_is_one_clear_error(tmp_path: Path, kind: str):
    path = tmp_path / "model.safetensors"
    path.write_bytes(broken(kind))
    with pytest.raises(WeightsError, match=BROKEN[kind]) as caught:
        EmbeddedModel(Setting(provider="torch", weights=path))
    assert str(path) in str(caught.value)
    assert "train" in str(caught.value)


def test_a_missing_file_is_one_clear_error(tmp_path: Path):
    with pytest.raises(WeightsError, match="No such file or directory"):
        load(tmp_path / "nowhere.safetensors")
