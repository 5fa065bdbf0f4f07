"""Tasks: GSM8K with the prompts of lm-eval 0.4.13, from a folder of JSON lines or from the hub.

The worked examples are the first N of the train split ("first_n"), the same for every question: servers then cache
the common prefix, and one prompt hash says exactly what was asked.
"""

from __future__ import annotations

import importlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from rocassay.harness.accuracy.completions import as_object
from rocassay.harness.accuracy.errors import TaskError
from rocassay.harness.accuracy.questions import Question, fingerprint
from rocassay.harness.results import Fingerprint

GSM8K_UNTIL = ("Question:", "</s>", "<|im_end|>")
"""What ends an answer (lm-eval 0.4.13, tasks/gsm8k/gsm8k.yaml)."""
GSM8K_MAX_TOKENS = 256
"""Most tokens of an answer (lm-eval 0.4.13, `max_gen_toks` of its API models)."""
SHORTEST_SAMPLE = 8
"""Of how many prompts, the shortest by characters, tokens are counted to find the shortest."""


@dataclass(frozen=True, slots=True)
class Doc:
    """One line of a split: a question in words and its worked answer, which ends in `#### number`."""

    question: str
    answer: str


@dataclass(frozen=True)
class Task:
    """Questions in a fixed order and the rules under which they are answered."""

    name: str
    """Names the task and its questions in records."""
    questions: tuple[Question, ...]
    """In the order of the data; who asks may permute them."""
    shots: int
    """Worked examples before each question."""
    until: tuple[str, ...]
    """Strings that end an answer."""
    max_tokens: int
    """Most tokens of an answer."""
    by_id: Mapping[str, Question] = field(init=False, repr=False, compare=False)
    """Questions by their names."""

    def __post_init__(self) -> None:
        counts = Counter(question.id for question in self.questions)
        doubled = [name for name, count in counts.items() if count > 1]
        if doubled:
            raise TaskError(f"task {self.name} has {len(doubled)} doubled question names, such as {doubled[0]!r}")
        object.__setattr__(self, "by_id", {question.id: question for question in self.questions})

    def fingerprint(self, extraction: str, chat_template: str = "") -> Fingerprint:
        """What greedy answers to this task are comparable with; `extraction` is the version of its rules."""
        return fingerprint(
            self.name,
            self.questions,
            shots=self.shots,
            until=self.until,
            max_tokens=self.max_tokens,
            extraction=extraction,
            chat_template=chat_template,
        )

    @cached_property
    def shortest(self) -> tuple[Question, ...]:
        """The few questions whose prompts have the fewest characters."""
        return tuple(sorted(self.questions, key=lambda question: len(question.prompt))[:SHORTEST_SAMPLE])

    def shortest_prompt(self, count_tokens: Callable[[str], int | None]) -> int | None:
        """Tokens of the shortest prompt, found among the shortest by characters; None where tokens are unknown."""
        counts = [count_tokens(question.prompt) for question in self.shortest]
        known = [count for count in counts if count is not None]
        return min(known) if known and len(known) == len(counts) else None


def gsm8k(train: Sequence[Doc], test: Sequence[Doc], *, shots: int = 5, max_tokens: int = GSM8K_MAX_TOKENS) -> Task:
    """GSM8K over these splits, with the first `shots` of the train split as worked examples.

    Raises TaskError for a negative number of shots, one that exceeds the train split, and for no question at all.
    """
    if not 0 <= shots <= len(train):
        raise TaskError(f"{shots} shots cannot be taken from a train split of {len(train)}; choose 0 to {len(train)}")
    if not test:
        raise TaskError("the test split holds no question; check the file that --data names")
    prefix = "".join(f"{_ask(doc)} {doc.answer}\n\n" for doc in train[:shots])
    questions = tuple(
        Question(f"gsm8k-{number:04d}", prefix + _ask(doc), gold_of(doc.answer)) for number, doc in enumerate(test)
    )
    return Task("gsm8k", questions, shots, GSM8K_UNTIL, max_tokens)


def _ask(doc: Doc) -> str:
    return f"Question: {doc.question}\nAnswer:"


def gold_of(answer: str) -> str:
    """The number after the last `#### `, without `,`, `$` and a closing period (lm-eval's `regexes_to_ignore`).

    Raises TaskError when there is none.
    """
    _, mark, number = answer.rpartition("#### ")
    gold = number.strip().replace(",", "").replace("$", "").removesuffix(".")
    if not mark or not gold:
        raise TaskError(f"the worked answer {answer[-40:]!r} has no number after '#### '")
    return gold


def gsm8k_from_path(path: Path, *, shots: int = 5, max_tokens: int = GSM8K_MAX_TOKENS) -> Task:
    """GSM8K from a folder or file as `local_splits` reads them; without shots no train split is needed."""
    train, test = local_splits(path, train=shots != 0)
    return gsm8k(train, test, shots=shots, max_tokens=max_tokens)


def local_splits(path: Path, *, train: bool = True) -> tuple[tuple[Doc, ...], tuple[Doc, ...]]:
    """(train, test) of a folder with `train.jsonl` and `test.jsonl`, or of a test file with the train split beside it.

    Each line is a JSON object with `question` and `answer`. Raises TaskError, naming file and line, for a missing
    file, a torn line and a missing field. The train split is empty where it is not wanted.
    """
    test = path / "test.jsonl" if path.is_dir() else path
    asked = _read(test)
    return (_read(test.with_name("train.jsonl")) if train else ()), asked


def _read(path: Path) -> tuple[Doc, ...]:
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise TaskError(
            f"cannot read {path}: {error.strerror}; --data names a folder with train.jsonl and test.jsonl"
        ) from error
    docs = tuple(_doc(f"{path}: line {number}", line) for number, line in enumerate(lines, start=1))
    if not docs:
        raise TaskError(f"{path} is empty; every line is a JSON object with a question and an answer")
    return docs


def _doc(place: str, line: bytes) -> Doc:
    try:
        found: Any = json.loads(line)
    except ValueError as error:
        raise TaskError(f"{place} is not JSON ({error}); was the file cut off while it was copied?") from error
    fields = as_object(found)
    for name in ("question", "answer"):
        if not isinstance(fields.get(name), str) or not fields[name].strip():
            raise TaskError(f"{place} has no text called {name!r}; every line needs a question and an answer")
    doc = Doc(fields["question"], fields["answer"])
    try:
        gold_of(doc.answer)
    except TaskError as error:
        raise TaskError(f"{place}: {error}") from error
    return doc


def gsm8k_from_hub(*, shots: int = 5, max_tokens: int = GSM8K_MAX_TOKENS) -> Task:
    """GSM8K as lm-eval loads it, through its task manager and `datasets`.

    Raises TaskError when lm-eval is not installed or the hub cannot be reached; both name `--data PATH`.
    """
    try:
        tasks = importlib.import_module("lm_eval.tasks")
    except ImportError as error:
        raise TaskError(
            f"lm-eval cannot be imported ({error}); install the extra `gsm8k` or name local files by --data PATH"
        ) from error
    try:
        folder = Path(str(tasks.__file__)).parent / "gsm8k"
        manager = tasks.TaskManager(include_path=str(folder), include_defaults=False)
        loaded: Any = manager.load(["gsm8k"])["tasks"]["gsm8k"]
        train, test = _docs(loaded.training_docs()), _docs(loaded.test_docs())
    except Exception as error:  # the hub's clients raise errors of many libraries
        reason = str(error).strip().partition("\n")[0]
        raise TaskError(
            f"the hub did not give openai/gsm8k ({type(error).__name__}: {reason}); name local files by --data PATH"
        ) from error
    return gsm8k(train, test, shots=shots, max_tokens=max_tokens)


def _docs(lines: Iterable[Mapping[str, str]]) -> tuple[Doc, ...]:
    return tuple(Doc(line["question"], line["answer"]) for line in lines)
