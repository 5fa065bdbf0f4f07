"""What a line of `results.jsonl` says of an end-to-end evaluation: what was asked, every answer, and the verdict."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeAlias

from pydantic import Field

from rocassay.harness.results.schema import SCHEMA_VERSION, Check, Model

Finish: TypeAlias = Literal["stop", "length", "error"]
"""Why an answer ended: a stop string or end token, the token limit, or no answer came."""

AccuracyStatus: TypeAlias = Literal["green", "red", "needs-confirmation", "blind", "refused", "undecided"]
"""What is known of an evaluation; `undecided` when it was cut short before a gate could speak."""


class Fingerprint(Model):
    """Everything that makes answers of two runs comparable; runs that differ in any of it are never compared."""

    task: str
    """Name of the task and of its questions."""
    shots: int
    """Worked examples before each question."""
    until: tuple[str, ...]
    """Strings that end an answer."""
    max_tokens: int
    """Most tokens of an answer."""
    temperature: float
    """0 is greedy."""
    chat_template: str
    """Name or digest of the chat template; empty for plain completion."""
    extraction: str
    """Version of the rules that take the number out of an answer."""
    questions: int
    """How many questions the task has."""
    prompts: str
    """Digest of every question's prompt hash, in the task's order."""

    def differences(self, other: Fingerprint) -> tuple[str, ...]:
        """Each field in which the two differ, with both values; empty means comparable."""
        mine, theirs = self.model_dump(), other.model_dump()
        return tuple(
            f"{name}: {mine[name]!r} here, {theirs[name]!r} there" for name in mine if mine[name] != theirs[name]
        )


class Judged(Protocol):
    """Whatever says which model, chip, cache and kernels are judged."""

    @property
    def model(self) -> str: ...  # noqa: D102
    @property
    def arch(self) -> str: ...  # noqa: D102
    @property
    def fp8(self) -> str: ...  # noqa: D102
    @property
    def block_size(self) -> int: ...  # noqa: D102
    @property
    def kv_dtype(self) -> str: ...  # noqa: D102
    @property
    def provider(self) -> str: ...  # noqa: D102
    @property
    def engine(self) -> str: ...  # noqa: D102


def configuration_of(judged: Judged) -> str:
    """What is judged, in words; what is empty or 0 is left out."""
    size = f"bs{judged.block_size}" if judged.block_size else ""
    parts = (judged.model, judged.arch, judged.fp8, size, judged.kv_dtype, judged.provider, judged.engine)
    return " ".join(part for part in parts if part)


class EvalHeader(Model):
    """First line of an evaluation: what is asked of what."""

    kind: Literal["eval"] = "eval"
    """Discriminator of the line."""
    schema_version: int = SCHEMA_VERSION
    """Version of this schema."""
    run_id: str
    """The run of the evaluation; a resumed one keeps it."""
    started: str
    """UTC, ISO 8601."""
    command: str
    """Command line."""
    model: str
    """Which model answers."""
    arch: str = ""
    """gfx architecture whose decisions are taken; empty where the server does not say."""
    fp8: str = ""
    """FP8 flavour of its caches."""
    block_size: int = 0
    """Tokens per cache page; 0 where the server does not say."""
    kv_dtype: str = ""
    """Type of the attention cache."""
    provider: str = ""
    """Whose kernels answer."""
    engine: str = ""
    """What executes them: an engine, or `served`."""
    faults: tuple[str, ...] = ()
    """Injected defects."""
    fingerprint: Fingerprint
    """What the answers are comparable with."""
    order_seed: int = 0
    """Seed of the permutation in which questions are asked and judged."""
    planned: int
    """Questions to ask."""
    topk: int | None = None
    """Keys a query token selects."""
    shortest_prompt: int | None = None
    """Tokens of the shortest prompt; selection decides nothing where it does not exceed `topk`."""
    repeats: str = ""
    """Run whose verdict asked for this repetition, which judges both; empty for a run that stands for itself."""
    resumed: bool = False
    """Whether answers of an earlier, interrupted part precede this line."""
    versions: dict[str, str] = Field(default_factory=dict)
    """Versions of everything that computes."""
    device: str = ""
    """Device that executes."""
    commit: str = ""
    """Commit of the checkout."""

    @property
    def configuration(self) -> str:
        """What is judged, in words that history and reports group by; faults are no part of it."""
        return configuration_of(self)


class QuestionRecord(Model):
    """One answered question."""

    kind: Literal["question"] = "question"
    """Discriminator of the line."""
    schema_version: int = SCHEMA_VERSION
    """Version of this schema."""
    run_id: str
    """The evaluation."""
    id: str
    """Name of the question in its task."""
    place: int
    """Its place in the permutation, from 0."""
    prompt_hash: str
    """SHA-256 of the prompt, the first 16 hexadecimal digits."""
    gold: str
    """The right number, normalised."""
    text: str
    """The answer as it came."""
    strict: str | None
    """Number after `####`; None: there is none."""
    flexible: str | None
    """Last number anywhere; None: there is none."""
    correct: bool
    """Whether `strict` is right."""
    correct_flexible: bool
    """Whether `flexible` is right."""
    finish_reason: Finish
    """Why the answer ended."""
    error: str = ""
    """What went wrong when no answer came: the HTTP status and the server's words, or the exception."""
    tokens: int | None = None
    """Tokens of the answer, where known."""
    prompt_tokens: int | None = None
    """Tokens of the prompt, where known."""
    attempts: int = 1
    """Requests that were made for it."""
    seconds: float = 0.0
    """From the first request to the answer."""

    @property
    def invalid(self) -> bool:
        """Whether an answer came but holds no number in the asked form."""
        return self.finish_reason != "error" and self.strict is None


class AccuracyRecord(Model):
    """Last line of an evaluation: its verdict."""

    kind: Literal["accuracy"] = "accuracy"
    """Discriminator of the line."""
    schema_version: int = SCHEMA_VERSION
    """Version of this schema."""
    run_id: str
    """The evaluation."""
    finished: str
    """UTC, ISO 8601."""
    status: AccuracyStatus
    """The verdict."""
    reason: str
    """One sentence: why the status is that."""
    checks: tuple[Check, ...] = ()
    """Every gate."""
    decided_by: tuple[str, ...] = ()
    """Names of the checks whose own status is that of the verdict; empty when it is green or refused."""
    asked: int
    """Questions that the verdict is about: all with a record, or those before the sequential test stopped the run."""
    correct: int
    """Right answers among them, strict."""
    correct_flexible: int
    """Right answers among them, by the last number."""
    interval: tuple[float, float] = (0.0, 1.0)
    """Wilson 95 % interval of the accuracy."""
    stopped_after: int | None = None
    """Questions after which the sequential test stopped the run; None: it did not."""
    power: str = ""
    """What this gate sees with which probability, and how often it lies, in words."""
    seconds: float = 0.0
    """Wall time."""
    repro: str = ""
    """Command that runs this evaluation again."""


@dataclass(slots=True)
class Evaluation:
    """One evaluation, put together from its lines."""

    header: EvalHeader
    questions: dict[str, QuestionRecord] = field(default_factory=dict[str, QuestionRecord])
    verdict: AccuracyRecord | None = None

    @property
    def in_order(self) -> list[QuestionRecord]:
        """Answers in the order of the permutation."""
        return sorted(self.questions.values(), key=lambda record: record.place)

    @property
    def judged(self) -> list[QuestionRecord]:
        """Answers that the verdict is about, in order.

        Of a run that was stopped only the beginning of the permutation is a fair sample: short answers end first.
        """
        return self.in_order[: self.verdict.stopped_after if self.verdict else None]

    @property
    def subject(self) -> tuple[str, str, int, tuple[str, ...]]:
        """What is asked of what: configuration, task, shots, faults."""
        asked = self.header.fingerprint
        return (self.header.configuration, asked.task, asked.shots, self.header.faults)


def latest(evaluations: Iterable[Evaluation]) -> list[Evaluation]:
    """The evaluations that count, in the order given.

    A later one replaces earlier ones of the same subject, since a suspicious run is repeated and judged together with
    its repetition, but never one that asked more questions: a quick look does not excuse a red night.
    """
    kept: list[Evaluation] = []
    most: dict[tuple[str, str, int, tuple[str, ...]], int] = {}
    for found in reversed(list(evaluations)):
        if found.header.planned > most.get(found.subject, -1):
            most[found.subject] = found.header.planned
            kept.append(found)
    return kept[::-1]
