"""Runs benches: verify every implementation on poisoned outputs, time it, record it."""

# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false
from __future__ import annotations

import datetime
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from rocassay.harness.bench.bench import SHIPPED, Arguments, Bench, BenchError, Call, Judge, Place
from rocassay.harness.bench.machine import copy_bandwidth, matrix_rates
from rocassay.harness.bench.records import BenchRecord, MachineRecord, RivalTime, Time, append, read
from rocassay.harness.bench.timing import Timing, device_time, host_time, sets_needed
from rocassay.harness.environment import commit, versions

if TYPE_CHECKING:
    from rocassay.harness.gates.verdict import Verdict

POISON = 0xFF
"""Byte that fills outputs before a verification: NaN in every float format, and no likely code."""

Clock = Callable[[Sequence[Callable[[], object]]], Timing]
"""Times the calls in turn: `device_time`, or a stand-in of a test."""


def measure_machine(where: Place) -> MachineRecord:
    """Ceilings of the device, measured now."""
    return MachineRecord(
        run_id=uuid.uuid4().hex[:12],
        started=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        device=torch.cuda.get_device_properties().name,
        copy_bandwidth=copy_bandwidth(where.device),
        matrix_rates=matrix_rates(where),
        last_level_bytes=where.last_level_bytes,
        versions=versions(),
        commit=commit(),
    )


def done_before(path: Path, device: str) -> frozenset[str]:
    """Ids that `path` holds a time for, measured on this device at this commit."""
    records = [r for r in read(path) if isinstance(r, BenchRecord) and r.status == "measured"]
    return frozenset(r.id for r in records if (r.device, r.commit) == (device, commit()))


@dataclass(frozen=True, slots=True)
class Runner:
    """Measures benches on one machine and appends every record to a file."""

    where: Place
    """The device."""
    machine: MachineRecord
    """Its ceilings."""
    out: Path
    """File of records."""
    clock: Clock = device_time
    """How device time is taken."""
    host_clock: Callable[[Callable[[], object]], Timing] = host_time
    """How host time is taken."""

    def run(self, benches: Sequence[Bench]) -> Iterator[BenchRecord]:
        """Each bench's record, after it has been written."""
        for bench in benches:
            record = self._record(bench)
            append(self.out, record)
            yield record

    def _record(self, bench: Bench) -> BenchRecord:
        try:
            return self._measured(bench)
        except Exception as error:
            return self._base(bench, status="failed", reason=f"{type(error).__name__}: {error}")

    def _measured(self, bench: Bench) -> BenchRecord:
        count = sets_needed(bench.traffic.moved, self.where.last_level_bytes)
        sets = bench.make(self.where, count)
        calls = bench.implementations(self.where)
        if next(iter(calls), None) != SHIPPED:
            raise BenchError(f"bench {bench.id!r} names its implementations {list(calls)}; put {SHIPPED!r} first")
        judges = {name: bench.rival_checks.get(name, bench.check) for name in calls}
        verdicts = {name: self._verify(bench, call, sets[0], judges[name]) for name, call in calls.items()}
        checks = tuple(verdict.check("gate") for verdict in verdicts[SHIPPED])
        for name, judged in verdicts.items():
            if wrong := next((v for v in judged if not v.passed), None):
                reason = f"{name} is wrong ({wrong.name}): {wrong.detail}"
                return self._base(bench, status="wrong", reason=reason, checks=checks)
        times = {name: self.clock([_bound(call, s) for s in sets]) for name, call in calls.items()}
        host = self.host_clock(_bound(calls[SHIPPED], sets[0]))
        return self._base(bench, status="measured", checks=checks, host=Time.of(host), **self._figures(bench, times))

    def _verify(self, bench: Bench, call: Call, operands: Arguments, judge: Judge) -> Sequence[Verdict]:
        for name in bench.outputs:
            poison(operands[name])
        call(operands)
        if self.where.device.type == "cuda":
            torch.cuda.synchronize()
        return judge(self.where, operands)

    def _figures(self, bench: Bench, times: Mapping[str, Timing]) -> dict[str, object]:
        shipped, work = times[SHIPPED].median, bench.traffic
        rate = self.machine.matrix_rates.get(work.dot)
        known = bench.reference is not None and bench.reference.device in self.machine.device
        return {
            "time": Time.of(times[SHIPPED]),
            "copy_share": work.moved / (shipped * 1e-6) / self.machine.copy_bandwidth,
            "matrix_share": work.flops / (shipped * 1e-6) / rate if rate and work.flops else None,
            "reference_ratio": bench.reference.microseconds / shipped if known and bench.reference else None,
            "rivals": tuple(
                RivalTime(name=name, time=Time.of(timing), ratio=timing.median / shipped)
                for name, timing in times.items()
                if name != SHIPPED
            ),
        }

    def _base(self, bench: Bench, **fields: object) -> BenchRecord:
        reference = bench.reference
        common: dict[str, object] = {
            "run_id": self.machine.run_id,
            "op": bench.op,
            "name": bench.name,
            "shape": dict(bench.shape),
            "bytes_read": bench.traffic.read,
            "bytes_written": bench.traffic.written,
            "flops": bench.traffic.flops,
            "reference": reference.microseconds if reference else None,
            "reference_of": f"{reference.what}, {reference.device}" if reference else "",
            "device": self.machine.device,
            "commit": self.machine.commit,
        }
        return BenchRecord.model_validate({**common, **fields})


def poison(tensor: torch.Tensor) -> None:
    """Fill a dense tensor with `POISON` bytes."""
    tensor.view(torch.uint8).fill_(POISON)


def _bound(call: Call, operands: Arguments) -> Callable[[], object]:
    return lambda: call(operands)
