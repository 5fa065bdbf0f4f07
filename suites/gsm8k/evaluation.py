"""What `rocassay gsm8k` asks of this package: the embedded model, its task, its baseline, the defects to measure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rocassay.harness.accuracy.evaluating import Rules, Subject
from rocassay.harness.accuracy.outcomes import Outcome, Run
from rocassay.harness.accuracy.sequential import Sprt
from rocassay.harness.accuracy.verdict import Policy
from rocassay.harness.results import Fingerprint
from rocassay.suites.gsm8k.embedded import EmbeddedModel, Setting
from rocassay.suites.gsm8k.synthetic import synthetic

BASELINE = Path(__file__).parent / "weights" / "baseline.json"
"""Good runs of the shipped weights, question by question; `python -m rocassay.suites.gsm8k.baseline` made it."""

ARCHES, SIZES = ("gfx942", "gfx950"), (1, 16, 64)
"""Chips, each with its own FP8 flavour, and page sizes of the caches."""

FEW = 32
"""Questions of a run on the interpreter."""


@dataclass(frozen=True, slots=True)
class Drill:
    """Defects that are injected together, on the chip and cache where they can show."""

    faults: tuple[str, ...]
    arch: str = "gfx950"
    fp8: str = "e4m3fn"
    block_size: int = 16


DRILLS = (
    Drill(("idx-shuffle-at-bs1",), block_size=1),
    Drill(("rope-not-inplace-fast-path",), block_size=1),
    Drill(("idx-shuffle-at-bs1", "rope-not-inplace-fast-path"), block_size=1),
    Drill(("idx-preshuffle-flag-mismatch",)),
    Drill(("indexer-rope-neox-vs-gptj",)),
    Drill(("convert-invalid-to-zero",)),
    Drill(("dsv4-hardcoded-float8e4nv",), "gfx942", "e4m3fnuz"),
)
"""The defects whose end-to-end cost is measured."""


def task(shots: int) -> object:
    """The synthetic task."""
    return synthetic(shots)


def embedded(setting: Setting, workers: int = 0) -> tuple[EmbeddedModel, Subject]:
    """The model, and how records name it."""
    model = EmbeddedModel(setting, workers)
    subject = Subject(
        model=model.name,
        arch=setting.arch,
        fp8=setting.fp8,
        block_size=setting.block_size,
        kv_dtype=model.kv_dtype,
        provider=setting.provider,
        engine=setting.engine,
        faults=setting.faults,
        topk=model.topk,
        device=model.device,
        facts=model.describe(),
    )
    return model, subject


def rules(limit: int, *, stop: bool = True, order_seed: int = 0) -> Rules:
    """How the embedded model is judged: few questions see a collapse, all of them two points."""
    few = 0 < limit < 1000
    return Rules(
        # What 32 right answers of 32 prove is 0.85; all questions prove what the model is declared to reach.
        floor=0.75 if few else 0.95,
        stop=Sprt() if stop else None,
        policy=Policy(drop=0.25 if few else 0.02),
        order_seed=order_seed,
        limit=limit,
    )


def baseline(fingerprint: Fingerprint, path: Path = BASELINE) -> Sequence[Run]:
    """Good runs that the project keeps for these very prompts; none where the prompts are others."""
    if not path.is_file():
        return ()
    kept = json.loads(path.read_text())
    if Fingerprint.model_validate(kept["fingerprint"]) != fingerprint:
        return ()
    return [_run(kept["questions"], run["wrong"], run["tokens"]) for run in kept["runs"]]


def _run(questions: Sequence[str], wrong: Sequence[str], tokens: Sequence[int | None]) -> Run:
    failed = frozenset(wrong)
    counted = zip(questions, tokens, strict=True)
    return {name: Outcome(name not in failed, tokens=count) for name, count in counted}
