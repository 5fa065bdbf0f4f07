"""The guard that a pytest process needs: whether it is one of several workers decides how a case is stopped."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Generator
from typing import Any

import pytest

from rocassay.harness.isolation.deaths import trace_of
from rocassay.harness.isolation.guard import Guard, guard_of_worker
from rocassay.harness.options import Options


@contextlib.contextmanager
def guarding(config: pytest.Config, options: Options) -> Generator[Guard, None, None]:
    """The guard of this process: a worker whose records are written is replaced when it dies, any other must go on."""
    worker: dict[str, Any] | None = getattr(config, "workerinput", None)
    if worker is not None and options.out is not None:
        trace = trace_of(options.out, worker["workerid"])
        yield guard_of_worker(options.case_timeout, options.case_memory, worker["workercount"], trace)
        return
    with _uncaptured(config):
        stderr = os.dup(2)
    try:
        yield Guard(options.case_timeout, options.case_memory, trace=stderr)
    finally:
        os.close(stderr)


def _uncaptured(config: pytest.Config) -> contextlib.AbstractContextManager[None]:
    """While open, file descriptor 2 is the terminal's again, where pytest had taken it."""
    capture: Any = config.pluginmanager.get_plugin("capturemanager")
    return capture.global_and_fixture_disabled() if capture is not None else contextlib.nullcontext()
