"""Evaluates the additions in a process of its own, to be killed: `... URL FILE COUNT [--resume]`."""

from __future__ import annotations

import sys
from pathlib import Path

from rocassay.harness.accuracy.runner import evaluate
from rocassay.harness.accuracy.served import ServedModel
from rocassay.suites.accuracy.additions import HASTY, additions, extract, header, names

if __name__ == "__main__":
    url, path, count, *words = sys.argv[1:]
    task = additions(int(count))
    model = ServedModel(url, "adder", concurrency=4, patience=HASTY)
    evaluate(model, task, header(task), order=names(task), path=Path(path), extract=extract, resume="--resume" in words)
