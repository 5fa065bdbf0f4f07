"""What the task files in `tasks/` ask for, `custom_dataset` of lm-eval; loading one makes the model known, too."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import datasets

import rocassay.suites.gsm8k.lm_eval_model  # noqa: F401 (who names a task's file has named the model, too)
from rocassay.harness.accuracy.tasks import Doc, local_splits
from rocassay.suites.gsm8k.synthetic import splits


def problem_splits(**_: Any) -> dict[str, datasets.Dataset]:
    """The synthetic word problems; arguments of the model, which lm-eval passes along, change nothing."""
    return _as_datasets(*splits())


def gsm8k_splits(data: str = "", **_: Any) -> dict[str, datasets.Dataset] | datasets.DatasetDict:
    """GSM8K from the folder or test file `data` (`--metadata '{"data": "FOLDER"}'`), without one from the hub.

    Raises TaskError, naming file and line, for local files that are no GSM8K.
    """
    if data:
        return _as_datasets(*local_splits(Path(data)))
    return datasets.load_dataset("openai/gsm8k", "main")


def _as_datasets(train: Iterable[Doc], test: Iterable[Doc]) -> dict[str, datasets.Dataset]:
    parts = {"train": train, "test": test}
    return {
        name: datasets.Dataset.from_list([{"question": d.question, "answer": d.answer} for d in docs])
        for name, docs in parts.items()
    }
