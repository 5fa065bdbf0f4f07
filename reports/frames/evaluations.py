"""End-to-end evaluations and their answers as tables."""

# pyright: reportMissingTypeStubs=false
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from rocassay.harness.results import Assay, Evaluation, QuestionRecord
from rocassay.reports.frames.columns import Column, Dtype, table

if TYPE_CHECKING:
    import pandas as pd

_SUBJECT: dict[str, Column[Evaluation]] = {
    "run_id": ("string", attrgetter("header.run_id")),
    "configuration": ("string", attrgetter("header.configuration")),
    "task": ("string", attrgetter("header.fingerprint.task")),
    "shots": ("int64", attrgetter("header.fingerprint.shots")),
    "faults": ("string", lambda found: " + ".join(found.header.faults) or None),
}

_HEADER: dict[str, Dtype] = {
    "started": "datetime64[us, UTC]", "model": "string", "arch": "string", "fp8": "string", "block_size": "int64",
    "kv_dtype": "string", "provider": "string", "engine": "string", "repeats": "string", "device": "string",
    "commit": "string", "planned": "int64",
}  # fmt: skip

_VERDICT: dict[str, Dtype] = {
    "status": "string", "reason": "string", "asked": "Int64", "correct": "Int64", "correct_flexible": "Int64",
    "stopped_after": "Int64", "seconds": "float64", "repro": "string",
}  # fmt: skip

_ANSWER: dict[str, Dtype] = {
    "id": "string", "place": "int64", "prompt_hash": "string", "gold": "string", "text": "string", "strict": "string",
    "flexible": "string", "correct": "bool", "correct_flexible": "bool", "invalid": "bool", "finish_reason": "string",
    "error": "string", "tokens": "Int64", "prompt_tokens": "Int64", "attempts": "int64", "seconds": "float64",
}  # fmt: skip


def evaluation_frame(assay: Assay) -> pd.DataFrame:
    """One row per evaluation; what the verdict says is missing where there is none."""
    columns: dict[str, Column[Evaluation]] = {
        **_SUBJECT,
        **{name: (dtype, attrgetter(f"header.{name}")) for name, dtype in _HEADER.items()},
        **{name: (dtype, _of_verdict(name)) for name, dtype in _VERDICT.items()},
        "accuracy": ("float64", lambda found: v.correct / v.asked if (v := found.verdict) and v.asked else None),
        "low": ("float64", lambda found: v.interval[0] if (v := found.verdict) and v.asked else None),
        "high": ("float64", lambda found: v.interval[1] if (v := found.verdict) and v.asked else None),
    }
    return table(list(assay.evaluations.values()), columns, {"version": attrgetter("header.versions")})


def _of_verdict(name: str) -> Callable[[Evaluation], Any]:
    return lambda found: getattr(found.verdict, name) if found.verdict else None


@dataclass(frozen=True, slots=True)
class _Answered:
    evaluation: Evaluation
    answer: QuestionRecord
    judged: bool


def answer_frame(assay: Assay) -> pd.DataFrame:
    """One row per answered question, in the order of asking; `judged` ones are those that the verdict is about."""
    columns: dict[str, Column[_Answered]] = {
        **{name: (dtype, _of_evaluation(value)) for name, (dtype, value) in _SUBJECT.items()},
        **{name: (dtype, attrgetter(f"answer.{name}")) for name, dtype in _ANSWER.items()},
        "judged": ("bool", attrgetter("judged")),
    }
    rows: list[_Answered] = []
    for found in assay.evaluations.values():
        judged = len(found.judged)
        rows += [_Answered(found, answer, place < judged) for place, answer in enumerate(found.in_order)]
    return table(rows, columns)


def _of_evaluation(value: Callable[[Evaluation], Any]) -> Callable[[_Answered], Any]:
    return lambda row: value(row.evaluation)
