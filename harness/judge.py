"""One case, judged: inputs -> (provider on engine) -> outputs -> gates and probes against the golden -> record."""

from __future__ import annotations

import functools
import gc
import shlex
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from rocassay.harness.calibration.judging import TightenedLimits
from rocassay.harness.cases import Case
from rocassay.harness.codegen.digests import combined
from rocassay.harness.engines.base import CapturesGraphs, Engine, Trace
from rocassay.harness.environment import commit, versions
from rocassay.harness.errors import RocassayError
from rocassay.harness.execution import Execution
from rocassay.harness.faults.fault import Fault
from rocassay.harness.gates import customary
from rocassay.harness.gates.verdict import Verdict
from rocassay.harness.implementation import Implementation
from rocassay.harness.inputs import Operands, digest_of
from rocassay.harness.isolation.clocks import CaseTimedOut
from rocassay.harness.isolation.guard import Guard
from rocassay.harness.ops import Op, Tier, op_named
from rocassay.harness.picture import picture_of
from rocassay.harness.prepared import Prepared, pinned_digests, prepare, second, shared
from rocassay.harness.probes import EVERY_OP, OF_FINDINGS, RELAUNCHING, Observation
from rocassay.harness.probes.probe import Probe
from rocassay.harness.providers import Provider
from rocassay.harness.results import CaseRecord, Check, Coordinate, Status


class Declined(RocassayError):
    """A probe asks for a case that the provider does not offer."""


@dataclass(slots=True)
class Judge:
    """Judges cases of one run: a provider on an engine."""

    provider: Provider
    engine: Engine
    tier: Tier
    run_id: str
    guard: Guard = field(default_factory=Guard)
    """What every case is held to."""
    limits: TightenedLimits | None = None
    """Limits of a calibration, judged beside the gates."""
    thorough: bool = True
    """Whether probes follow a gate that has failed, and one another's failures."""

    def __call__(self, case: Case, fault: Fault | None = None) -> CaseRecord:
        """The record of one case, with a fault injected if one is given."""
        op = op_named(case.op)
        if declined := self.provider.declines(op, case):
            return self._record(case, fault, Status.NOT_RUN, declined, offered=False)
        if blocked := self._blocked(op, case):
            return self._record(case, fault, Status.NOT_RUN, blocked)
        try:
            record = self._guarded(op, case, fault)
        except CaseTimedOut as late:
            record = self._record(case, fault, Status.TIMED_OUT, str(late))
        with self.guard.settling():
            if record.status in (Status.CRASHED, Status.TIMED_OUT):
                gc.collect()  # frames that were left in a hurry hold on to each other and to the case's memory
            self.engine.release()
        return record

    def _blocked(self, op: Op, case: Case) -> str | None:
        """Why a case that the provider offers cannot run here, in words, or None."""
        if why := self.engine.unavailable(case.arch, case.fp8) or unfit(self.provider, op, self.engine, case):
            return why
        return self.provider.unavailable(op, case)

    def lost(self) -> str | None:
        """Why nothing can be judged in this process any more, in words; None while all is well."""
        with self.guard.settling():
            return self.engine.lost()

    def _guarded(self, op: Op, case: Case, fault: Fault | None) -> CaseRecord:
        """The record of a case that keeps within its time; one that crashes has one, too."""
        with self.guard.preparing():
            prepared = prepare(op.name, shared(case))
        try:
            with self.guard.judging(self.engine.device):
                return self._judge(op, case, fault, prepared)
        except Exception as error:
            reason = self.guard.explain(error, self.engine.device)
            return self._record(case, fault, Status.CRASHED, reason, digest=prepared.digest)

    def _judge(self, op: Op, case: Case, fault: Fault | None, prepared: Prepared) -> CaseRecord:
        start = time.perf_counter()
        implementation = Implementation(self.provider, self.engine, (fault,) if fault else ())
        run = Execution(op, implementation)
        outputs = run(case, prepared.operands)
        ran = time.perf_counter()
        gates = [v for name, e in prepared.expectations.items() for v in e.judge(name, outputs[name])]
        tightened = [self.limits.verdict(case, [v.check("gate") for v in gates])] if self.limits else []
        seen = Observation(
            case=case,
            provider=self.provider.name,
            target=self.engine.target(case.arch),
            variant=run.variant,
            operands=prepared.operands,
            outputs=outputs,
            expectations=prepared.expectations,
            placed=run.placed,
            trace=run.trace,
            rerun=lambda other, operands: self._rerun(op, other, operands, implementation),
            second=lambda: second(op.name, shared(case)),
            relaunch=run.again,
            replayed=run.replayed if isinstance(self.engine, CapturesGraphs) else None,
            allowance=op.allocations,
        )
        probes = self._probed(seen, self._probes(op, case, fault, run.trace), red=any(not v.passed for v in gates))
        checks = [
            *(self._check(op, case, prepared.operands, v, "gate") for v in gates),
            *(self._check(op, case, prepared.operands, v, "probe") for v in probes),
            *(v.check("gate") for v in (*tightened, *prepared.peer, *self._input_digest(case, prepared))),
        ]
        status, reason = _status(checks)
        timings = {**prepared.seconds, "run": ran - start, "judge": time.perf_counter() - ran}
        return self._record(
            case,
            fault,
            status,
            reason,
            checks=tuple(checks),
            first_wrong=next((c.coordinate for c in checks if c.coordinate), None),
            timings=timings,
            counts=_counts(run.trace, outputs),
            launches=tuple(launch.name for launch in run.trace.launches),
            codes={kernel: combined(digests) for kernel, digests in run.trace.codes.items()},
            customary=customary.uses(prepared.expectations, outputs, prepared.peer_errors),
            picture=picture_of(op, case, prepared.operands, prepared.expectations, outputs, gates),
            digest=prepared.digest,
            produced=digest_of(outputs),
        )

    def _rerun(self, op: Op, case: Case, operands: Operands, implementation: Implementation) -> dict[str, torch.Tensor]:
        """Outputs on other operands, possibly of another case; Declined where the provider does not offer that one."""
        if declined := self.provider.declines(op, case):
            raise Declined(declined)
        return Execution(op, implementation)(case, operands)

    def _probes(self, op: Op, case: Case, fault: Fault | None, trace: Trace) -> Iterator[Probe]:
        """Probes that the case is worth; with a fault, of those that run again only what is declared to catch it."""
        worth = self.tier == "nightly" or op.probed(case)
        own = (probe for probe in op.probes if probe not in EVERY_OP)
        found = (probe for probe in OF_FINDINGS if probe.kinds & trace.watched)
        for probe in (*EVERY_OP, *found, *own, *RELAUNCHING):
            if not probe.reruns or (worth if fault is None else probe.name in fault.caught_by):
                yield probe

    def _probed(self, seen: Observation, probes: Iterable[Probe], *, red: bool) -> list[Verdict]:
        """What the probes say; unless the judge is thorough, up to the first red verdict."""
        found: list[Verdict] = []
        for probe in probes:
            if red and not self.thorough:
                break
            try:
                found.append(probe.check(seen))
            except Declined as why:
                found.append(Verdict.not_applicable(probe.name, f"it takes a case that is not offered: {why}"))
            red = red or not found[-1].passed
        return found

    def _check(self, op: Op, case: Case, operands: Operands, verdict: Verdict, kind: str) -> Check:
        check = verdict.check(kind)
        if verdict.output is None or verdict.index is None:
            return check
        coordinate: Coordinate = op.locate(case, operands, verdict.output, verdict.index)
        return check.model_copy(update={"coordinate": coordinate})

    def _input_digest(self, case: Case, prepared: Prepared) -> Iterator[Verdict]:
        pinned = pinned_digests().get(str(shared(case)))
        if pinned is not None:
            same = pinned == prepared.digest
            detail = f"inputs have digest {prepared.digest}" + ("" if same else f", pinned is {pinned}")
            yield Verdict("inputs-digest", same, detail, reason="inputs are bit-identical on every machine")

    def _record(self, case: Case, fault: Fault | None, status: Status, reason: str, **more: Any) -> CaseRecord:
        who = self.provider
        record = blank_record(case, fault, self.run_id, who, self.engine, self.tier, status, reason, **more)
        if self.limits is None:
            return record
        return record.model_copy(update={"repro": f"{record.repro} --calibration {shlex.quote(self.limits.source)}"})


def blank_record(
    case: Case,
    fault: Fault | None,
    run_id: str,
    provider: Provider,
    engine: Engine,
    tier: str,
    status: Status,
    reason: str,
    **more: Any,
) -> CaseRecord:
    """A record that identifies the work and what computed it; `more` fills in what was seen."""
    offered = bool(more.get("offered", True))
    return CaseRecord(
        run_id=run_id,
        case=str(case),
        op=case.op,
        arch=case.arch,
        fp8=case.fp8,
        block_size=case.block_size,
        params=dict(case.params),
        recipe=case.recipe,
        seed=case.seed,
        provider=provider.name,
        engine=engine.name,
        source=provider.source(op_named(case.op), case) if offered else "",
        tier=tier,
        fault=fault.name if fault else None,
        status=status,
        reason=reason,
        versions={**versions(), **provider.versions()},
        device=_device(engine),
        commit=commit(),
        repro=repro_command(case, provider, engine.name, fault),
        **more,
    )


@functools.lru_cache(maxsize=4)
def _device(engine: Engine) -> str:
    return engine.describe().get("device", "")


def unfit(provider: Provider, op: Op, engine: Engine, case: Case) -> str | None:
    """Why the engine is of another kind than the provider's implementation needs, in words, or None."""
    target = engine.target(case.arch)
    if provider.native(op, case) and not (engine.device.type == "cuda" and target.backend == "hip"):
        return f"{op.name} of {provider.name} is a binary of the chip: only a ROCm device runs it"
    if target.backend == "cuda" and (lacking := provider.formats(op, case) - target.native_fp8):
        return f"{op.name} of {provider.name} is compiled for {min(lacking)}, which this device cannot convert"
    return None


def repro_command(case: Case, provider: Provider, engine: str, fault: Fault | None = None) -> str:
    """Command that judges the case again."""
    options = "" if provider.name == "rocassay" else f" --provider {provider.name}"
    options += f" --source {shlex.quote(provider.origin)}" if provider.origin else ""
    options += f" --fault {fault.name}" if fault else ""
    return f"rocassay repro '{case}' --engine {engine}{options}"


def _counts(trace: Trace, outputs: Mapping[str, torch.Tensor]) -> dict[str, int]:
    programs = sum(x * y * z for x, y, z in (launch.grid for launch in trace.launches))
    elements = sum(tensor.numel() for tensor in outputs.values())
    return {"launches": len(trace.launches), "programs": programs, "elements": elements, **trace.counts}


_UNTRUSTED = ("peer", "inputs-digest")
"""Checks of the harness itself: when one fails, the case says nothing about the implementation."""


def _status(checks: list[Check]) -> tuple[Status, str]:
    broken = [check for check in checks if not check.passed and check.name in _UNTRUSTED]
    if broken:
        return Status.INVALID, f"{broken[0].name}: {broken[0].detail}"
    failed = [check for check in checks if not check.passed]
    if not failed:
        return Status.PASSED, ""
    first = next((check for check in failed if check.coordinate), failed[0])
    place = f" at {first.coordinate}" if first.coordinate else ""
    return Status.FAILED, f"{first.name}: {first.detail}{place}"
