"""The engine of the harness: every launch becomes gfx942 or gfx950 machine code and is executed on the CPU."""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
from __future__ import annotations

import contextlib
import functools
import gc
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import torch
import triton
from triton.backends import backends

from rocassay.harness.codegen.digests import amdgcn_digest
from rocassay.harness.engines.base import EngineUnavailable, Finding, FindingKind, Trace
from rocassay.harness.engines.isa.codeobj import ARCHES, compiled
from rocassay.harness.engines.isa.counting import CLASSES
from rocassay.harness.engines.isa.findings import MachineFinding, place_of
from rocassay.harness.engines.isa.launching import Outcome, Settings, execute
from rocassay.harness.engines.launch import Grid, Launch, intercepted

if TYPE_CHECKING:
    from rocassay.harness.arch import Target


@functools.cache
def _spare_the_collector() -> None:
    """Let the garbage collector visit what lives long seldom, and what is imported never: once a process.

    Prepared instructions are many small objects without cycles. By its own measure the collector visits everything
    alive for every quarter more of them, which took a fourth of the time of a run of many kernels.
    """
    gc.freeze()
    gc.set_threshold(10_000, 10, 30)


class IsaEngine:
    """Runs launches as the machine code of the case's architecture."""

    name = "isa"

    def __init__(self, settings: Settings | None = None) -> None:
        _spare_the_collector()
        self.device = torch.device("cpu")
        self._settings = settings or Settings()
        self._arch = ARCHES[0]

    def target(self, arch: str) -> Target:
        """The chip itself: its decisions, and its native FP8 formats."""
        from rocassay.harness.arch import Target, profile

        self._arch = arch
        return Target(arch, "hip", profile(arch).native_fp8)

    def unavailable(self, arch: str, fp8: str) -> str | None:  # noqa: ARG002
        """None for the architectures whose instructions it knows."""
        return None if arch in ARCHES else f"the machine-code engine knows {' and '.join(ARCHES)}, not {arch}"

    @contextlib.contextmanager
    def session(self) -> Generator[Trace, None, None]:
        """While open, launches are compiled and executed; what they do beyond their values is a finding.

        Raises EngineUnavailable where Triton cannot compile for AMD.
        """
        if "amd" not in backends:
            raise EngineUnavailable("this Triton has no AMD backend; install one that does: pip install triton==3.9.0")
        trace = Trace(reads={}, watched=frozenset(get_args(FindingKind)))

        def handle(launch: Launch, _proceed: Callable[..., Any]) -> None:
            trace.launches.append(launch)
            if all(launch.grid):
                code = compiled(launch, self._arch)
                trace.codes.setdefault(launch.name, set()).add(amdgcn_digest(code.text))
                _note(trace, launch, execute(code, launch, self._settings))

        with intercepted(handle):
            yield trace

    def stands_for(self, arch: str) -> bool:
        """The chips whose code it runs."""
        return arch in ARCHES

    def release(self) -> None:
        """Host memory gives itself back."""

    def lost(self) -> str | None:
        """A fault inside a kernel is a finding here."""
        return None

    def describe(self) -> dict[str, str]:
        """Versions of what compiles and computes."""
        return {
            "engine": self.name,
            "device": "cpu",
            "triton": triton.__version__,
            "numpy": np.__version__,
            "torch": str(torch.__version__),
        }


def _note(trace: Trace, launch: Launch, outcome: Outcome) -> None:
    """Take a launch's findings, loads and counts into the trace."""
    trace.findings.extend(_finding(launch, outcome, found) for found in outcome.findings)
    assert trace.reads is not None
    for name, count in outcome.counts.read.items():
        value = launch.args.get(name)
        if isinstance(value, torch.Tensor):
            trace.reads[value.data_ptr()] = trace.reads.get(value.data_ptr(), 0) + count
    for name, address in outcome.addresses.items():
        trace.addresses[launch.args[name].data_ptr()] = address
    for name, count in totals(outcome).items():
        trace.counts[name] = trace.counts.get(name, 0) + count


def totals(outcome: Outcome) -> dict[str, int]:
    """The counts of a launch by the names that records give them; only those that are not zero."""
    counts = outcome.counts
    named = {
        "wave_instructions": counts.total,
        **{f"{name}_instructions": counts.wave_instructions[name] for name in CLASSES},
        "mfma_operations": counts.mfma_operations,
        "waits": counts.waits,
        "barriers": counts.barriers,
        "bytes_read": counts.bytes_read,
        "bytes_written": counts.bytes_written,
        "lds_bytes_read": counts.lds_read,
        "lds_bytes_written": counts.lds_written,
        "lds_conflicts": counts.lds_conflicts,
        "scratch_bytes": counts.scratch,
        "atomics": counts.atomics,
    }
    return {name.replace("-", "_"): count for name, count in named.items() if count}


def _finding(launch: Launch, outcome: Outcome, found: MachineFinding) -> Finding:
    group = found.wave // outcome.code.num_warps if found.wave >= 0 else max(found.group, 0)
    places = ((i.text, place_of(i), i.line) for i in outcome.code.program.instructions)
    line = next((line for text, place, line in places if (text, place) == (found.text, found.place)), None)
    program = program_of(group, launch.grid)
    return Finding(
        found.kind, launch.name, found.subject, found.offset, program, line, found.lanes, sentence=str(found)
    )


def program_of(group: int, grid: Grid) -> Grid:
    """(x, y, z) of a workgroup; those of a second world have the same."""
    x, y, z = grid
    group %= x * y * z
    return group % x, group // x % y, group // (x * y)
