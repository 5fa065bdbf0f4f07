"""lm-eval's own command, with the model `rocassay` and the tasks of this package made known.

    python -m rocassay.suites.gsm8k.lm_eval_cli run --model rocassay \\
        --model_args arch=gfx942,block_size=1,fault=idx-shuffle-at-bs1 --tasks rocassay_problems --limit 8
    python -m rocassay.suites.gsm8k.lm_eval_cli run --model local-completions --model_args model=M,base_url=URL \\
        --tasks rocassay_gsm8k_20shot --metadata '{"data": "FOLDER"}'

Every option is lm-eval's. `--include_path` names the tasks of this package unless it is given.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

TASKS = Path(__file__).parent / "tasks"
"""The task files."""

INCLUDE = "--include_path"


def with_tasks(words: Sequence[str]) -> list[str]:
    """lm-eval's arguments with this package's tasks; alone, a command and `--help` stay as they are."""
    given = any(word.startswith("--i") and INCLUDE.startswith(word.partition("=")[0]) for word in words)
    return [*words] if given or len(words) < 2 else [*words, INCLUDE, str(TASKS)]


def main() -> None:
    """Register the model and hand over to lm-eval."""
    # Processes that answer import this module anew: they have no use for lm-eval.
    try:
        importlib.import_module("rocassay.suites.gsm8k.lm_eval_model")
        command = importlib.import_module("lm_eval.__main__")
    except ImportError as error:
        sys.exit(f"lm-eval cannot be imported ({error}); install the extra `gsm8k` of rocassay")
    sys.argv[1:] = with_tasks(sys.argv[1:])
    command.cli_evaluate()


if __name__ == "__main__":
    main()
