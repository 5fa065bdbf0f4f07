"""Keep good runs of the shipped weights: `python -m rocassay.suites.gsm8k.baseline results.jsonl ...`.

Healthy evaluations that asked every question of the synthetic task become the baseline that a run is compared with
where nobody has accepted another one.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from rocassay.harness.accuracy.errors import AccuracyError
from rocassay.harness.results import Evaluation, read
from rocassay.suites.gsm8k.evaluation import BASELINE
from rocassay.suites.gsm8k.synthetic import NAME


def kept(evaluations: Sequence[Evaluation]) -> dict[str, object]:
    """The file's content: questions once, of every run what was wrong and how long the answers were.

    Raises AccuracyError when there is no whole healthy run, or when two are not comparable.
    """
    whole = [e for e in evaluations if e.header.fingerprint.task == NAME and not e.header.faults]
    whole = [e for e in whole if len(e.questions) == e.header.fingerprint.questions]
    if not whole:
        raise AccuracyError(f"no healthy evaluation asked all questions of {NAME}; run `rocassay gsm8k --limit 0`")
    first = whole[0].header.fingerprint
    for evaluation in whole:
        if unlike := first.differences(evaluation.header.fingerprint):
            raise AccuracyError(f"run {evaluation.header.run_id} is unlike the first: {'; '.join(unlike)}")
    questions = sorted(whole[0].questions)
    return {
        "fingerprint": first.model_dump(mode="json"),
        "questions": questions,
        "runs": [
            {
                "configuration": e.header.configuration,
                "device": e.header.device,
                "weights": e.header.versions.get("weights", ""),
                "wrong": [name for name in questions if not e.questions[name].correct],
                "tokens": [e.questions[name].tokens for name in questions],
            }
            for e in whole
        ],
    }


def main() -> None:
    """Read results files, write the baseline, say what is in it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, default=BASELINE)
    given = parser.parse_args()
    content = kept([e for path in given.results for e in read(path).evaluations.values()])
    given.out.write_text(json.dumps(content, separators=(",", ":")) + "\n")
    runs = content["runs"]
    assert isinstance(runs, list)
    for run in runs:
        sys.stdout.write(f"{run['configuration']}: {len(run['wrong'])} wrong\n")


if __name__ == "__main__":
    main()
