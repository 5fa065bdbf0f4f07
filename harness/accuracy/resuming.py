"""Which evaluation of a results file a new run continues, or in one sentence why none can be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rocassay.harness.accuracy.errors import AccuracyError
from rocassay.harness.accuracy.questions import Question
from rocassay.harness.results import EvalHeader, Evaluation, QuestionRecord, read

COMPARED = ("order_seed", "planned", "topk", "versions", "device")
"""Fields of the header, beside configuration, faults and fingerprint, that both parts of one evaluation share."""


@dataclass(slots=True)
class Earlier(Evaluation):
    """An evaluation of the file that is the one asked for."""

    @property
    def finished(self) -> bool:
        """Whether its verdict stands; one that was cut short before a gate could speak is continued."""
        return self.verdict is not None and self.verdict.status != "undecided"


def earlier_part(path: Path, header: EvalHeader, order: Sequence[Question]) -> Earlier | None:
    """The evaluation in `path` with this configuration, faults and fingerprint; None when there is nothing of it.

    Raises AccuracyError, with every difference, when the file holds an unfinished evaluation that is not the one asked
    for, and ResultsError when it is no results file.
    """
    if not path.exists() or path.stat().st_size == 0:
        return None
    found = [Earlier(e.header, e.questions, e.verdict) for e in read(path).evaluations.values()]
    same = [one for one in found if _name(one.header) == _name(header)]
    matching = [one for one in same if not _differences(one.header, header)]
    if matching:
        _check_answers(path, matching[-1], order)
        return matching[-1]
    # One that is undecided has been asked; others may stand beside it, as in a series of drills.
    cut_short = [one for one in found if one.verdict is None]
    if cut_short:
        _refuse(path, (cut_short + [one for one in same if one.verdict is None])[-1], header)
    return None


def _name(header: EvalHeader) -> tuple[str, tuple[str, ...], str]:
    """A repetition has its own name: it is continued as one, and never mistaken for the run that it repeats."""
    return header.configuration, header.faults, header.repeats


def _differences(there: EvalHeader, here: EvalHeader) -> list[str]:
    pairs = (
        (name, getattr(here, name), getattr(there, name)) for name in ("configuration", "faults", "repeats", *COMPARED)
    )
    found = [f"{name}: {mine!r} here, {theirs!r} there" for name, mine, theirs in pairs if mine != theirs]
    return found + list(here.fingerprint.differences(there.fingerprint))


def _refuse(path: Path, there: Earlier, here: EvalHeader) -> None:
    raise AccuracyError(
        f"{path} holds an unfinished evaluation of {there.header.configuration} that cannot be continued as "
        f"{here.configuration}: {'; '.join(_differences(there.header, here))}; use the same settings or another --out"
    )


def _check_answers(path: Path, earlier: Earlier, order: Sequence[Question]) -> None:
    """Every recorded answer must belong to the same question at the same place of the order."""
    places = {question.id: (place, question.prompt_hash) for place, question in enumerate(order)}
    wrong = [record for record in earlier.questions.values() if places.get(record.id) != _where(record)]
    if wrong:
        raise AccuracyError(
            f"{path} records {len(wrong)} answers, such as {wrong[0].id!r} at place {wrong[0].place}, that the order "
            "of this run does not hold at that place with that prompt; use the same questions or another --out"
        )


def _where(record: QuestionRecord) -> tuple[int, str]:
    return record.place, record.prompt_hash
