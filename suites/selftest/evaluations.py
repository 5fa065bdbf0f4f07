"""Evaluations made by hand: a word of letters says how each question ended."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rocassay.harness.accuracy.intervals import wilson
from rocassay.harness.results import (
    AccuracyRecord,
    Assay,
    CaseRecord,
    Check,
    Coordinate,
    EvalHeader,
    Evaluation,
    Fingerprint,
    QuestionRecord,
    Record,
    ResultsWriter,
    RunHeader,
    Status,
)

FLOOR = Check(
    name="floor", kind="gate", passed=True, statistic=0.96, limit=0.75, reason="declared", detail="0.96 at least"
)

_WRONG: dict[str, Any] = {"strict": None, "flexible": None, "correct": False, "correct_flexible": False}

ENDINGS: dict[str, dict[str, Any]] = {
    "+": {"strict": "7", "flexible": "7", "correct": True, "correct_flexible": True, "text": "RIGHTANSWER #### 7"},
    "-": {"strict": "8", "flexible": "7", "correct": False, "correct_flexible": True, "text": "#### 8 or 7"},
    "?": {**_WRONG, "text": "no idea"},
    "~": {**_WRONG, "text": "and", "finish_reason": "length"},
    "!": {**_WRONG, "text": "", "finish_reason": "error", "error": "HTTP 500"},
}
"""Right; wrong by the rules but right by the last number; without a number; cut at the limit; without an answer."""


def question(run_id: str, place: int, ending: str = "+", **changes: Any) -> QuestionRecord:
    fields: dict[str, Any] = {
        "run_id": run_id,
        "id": f"q{place:04d}",
        "place": place,
        "prompt_hash": "00",
        "gold": "7",
        "finish_reason": "stop",
    }
    return QuestionRecord(**{**fields, **ENDINGS[ending], **changes})


def evaluation(endings: str, *faults: str, status: str = "", **changes: Any) -> Evaluation:
    """An evaluation whose questions ended as told; status: that of the verdict, `none` for no verdict."""
    run_id = changes.pop("run_id", f"{'-'.join(faults) or 'healthy'}{len(endings)}")
    task, verdict = changes.pop("task", "toys"), changes.pop("verdict", {})
    fingerprint = Fingerprint(
        task=task, shots=5, until=(), max_tokens=9, temperature=0.0, chat_template="", extraction="1",
        questions=1319, prompts=changes.pop("prompts", "p"),
    )  # fmt: skip
    fields: dict[str, Any] = {
        "run_id": run_id, "started": "2025-01-01T00:00:00Z", "command": "rocassay gsm8k", "model": "toy",
        "arch": "gfx942", "fp8": "e4m3fnuz", "block_size": 1, "provider": "rocassay", "engine": "device",
        "device": "a GPU", "faults": faults, "fingerprint": fingerprint, "planned": len(endings),
    }  # fmt: skip
    header = EvalHeader(**{**fields, **changes})
    questions = {r.id: r for r in (question(run_id, place, ending) for place, ending in enumerate(endings))}
    found = Evaluation(header, questions)
    if status != "none":
        found.verdict = judged(found, status=status or ("red" if faults else "green"), **verdict)
    return found


def judged(found: Evaluation, **changes: Any) -> AccuracyRecord:
    answers = found.in_order
    right = sum(answer.correct for answer in answers)
    bounds = wilson(right, len(answers)) if answers else None
    fields: dict[str, Any] = {
        "run_id": found.header.run_id,
        "finished": "2025-01-01T00:01:00Z",
        "reason": "every check holds",
        "checks": (FLOOR,),
        "asked": len(answers),
        "correct": right,
        "correct_flexible": sum(answer.correct_flexible for answer in answers),
        "interval": (bounds.low, bounds.high) if bounds else (0.0, 1.0),
        "power": "a drop of 2.0 points is seen with probability 0.96",
        "seconds": 12.5,
        "repro": f"rocassay gsm8k --run {found.header.run_id}",
    }
    return AccuracyRecord(**{**fields, **changes})


def assay_of(*evaluations: Evaluation, records: tuple[CaseRecord, ...] = (), **header: Any) -> Assay:
    """An assay of these; with cases also the header of their run."""
    fields: dict[str, Any] = {
        "run_id": "r1", "started": "2025-01-01T00:00:00Z", "command": "rocassay run", "tier": "quick",
        "provider": "rocassay", "engine": "device",
    }  # fmt: skip
    headers = [RunHeader(**{**fields, **header})] if records or header else []
    return Assay(Path("results.jsonl"), headers, list(records), [], {e.header.run_id: e for e in evaluations})


def drill_case(fault: str | None, op: str = "gather", red: bool = True, **changes: Any) -> CaseRecord:
    """A case of an op with the fault; wrong at block 3, token 1, byte 16."""
    place = Coordinate(output="kv_cache", index=(3, 1, 16), block=3, token=1, byte=16, offset=144)
    check = Check(
        name="bytes", kind="gate", passed=not red, statistic=float(red), limit=0.0, coordinate=place if red else None
    )
    fields: dict[str, Any] = {
        "run_id": "r1", "case": f"{op}:gfx942:e4m3fnuz:bs1:n=1:tagged:s0", "op": op, "arch": "gfx942",
        "fp8": "e4m3fnuz", "block_size": 1, "params": {"n": 1}, "recipe": "tagged", "seed": 0,
        "provider": "rocassay", "engine": "device", "tier": "quick", "fault": fault,
        "status": Status.FAILED if red else Status.PASSED, "checks": (check,), "launches": (f"_{op}_kernel",),
        "first_wrong": place if red else None, "repro": f"rocassay repro {op}",
    }  # fmt: skip
    return CaseRecord(**{**fields, **changes})


def written(assay: Assay, path: Path) -> Path:
    """The assay as a results file."""
    writer = ResultsWriter(path)
    lines: list[Record] = [*assay.headers, *assay.records, *assay.ends]
    for found in assay.evaluations.values():
        lines += [found.header, *found.in_order, *([found.verdict] if found.verdict else [])]
    for line in lines:
        writer.append(line)
    writer.close()
    return path
