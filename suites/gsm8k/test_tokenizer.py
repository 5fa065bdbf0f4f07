"""The tokenizer: any text comes back whole, and word problems need no bytes."""

from __future__ import annotations

from itertools import chain

from hypothesis import given
from hypothesis import strategies as st

from rocassay.suites.gsm8k.problems import QUESTIONS_SEED, problems
from rocassay.suites.gsm8k.synthetic import MAX_TOKENS, QUESTIONS, synthetic
from rocassay.suites.gsm8k.tokenizer import _PIECES, Tokenizer

TOKENIZER = Tokenizer()
ASKED = list(problems(QUESTIONS_SEED, QUESTIONS))


@given(st.text())
def test_any_text_comes_back_whole(text: str):
    assert TOKENIZER.decode(TOKENIZER.encode(text)) == text


@given(st.lists(st.one_of(st.sampled_from(_PIECES), st.text(max_size=2))).map("".join))
def test_any_text_of_pieces_and_what_is_none_comes_back_whole(text: str):
    assert TOKENIZER.decode(TOKENIZER.encode(text)) == text


@given(st.lists(st.integers(0, TOKENIZER.size - 1)))
def test_what_a_broken_model_writes_is_a_text_too(ids: list[int]):
    text = TOKENIZER.decode(ids)
    kept = [_PIECES[token] for token in ids if token < len(_PIECES)]
    assert all(piece in text for piece in kept)


def test_every_piece_is_one_token_of_its_own():
    assert [TOKENIZER.encode(piece) for piece in _PIECES] == [[number] for number in range(len(_PIECES))]


def test_word_problems_need_no_bytes():
    prompts = synthetic(shots=5).questions
    assert all(token < len(_PIECES) for question in prompts for token in TOKENIZER.encode(question.prompt))


def test_an_answer_has_the_same_tokens_behind_its_question_as_alone():
    for asked in ASKED:
        question, answer = f"Question: {asked.question}\nAnswer:", f" {asked.answer}"
        following = "\n\nQuestion:"
        parts = [TOKENIZER.encode(part) for part in (question, answer, following)]
        assert TOKENIZER.encode(question + answer + following) == [*chain(*parts)]


def test_the_longest_worked_answer_and_what_ends_it_fit():
    longest = max(len(TOKENIZER.encode(f" {asked.answer}")) for asked in ASKED)
    assert longest == 27
    assert longest + 1 <= MAX_TOKENS


def test_marks_are_known_by_their_tokens():
    ids = (TOKENIZER.first_question, TOKENIZER.next_question, TOKENIZER.answer)
    assert [TOKENIZER.decode([token]) for token in ids] == ["Question:", "\n\nQuestion:", "\nAnswer:"]
