"""The process that owns `results.jsonl`: header, records as they come, end; and what pytest needs to say."""

from __future__ import annotations

import re
import shlex
import sys
import time
import uuid
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rocassay.harness.cases import Case
from rocassay.harness.choice import cells_of, chosen_engine, ledger_for, place_of, provider_of, tightened_limits
from rocassay.harness.drills import drill_names, verdict_of
from rocassay.harness.environment import commit, versions
from rocassay.harness.errors import RocassayError
from rocassay.harness.faults import fault_named
from rocassay.harness.isolation.deaths import death_of, sweep
from rocassay.harness.isolation.guard import unkept
from rocassay.harness.judge import blank_record
from rocassay.harness.ops import select_cases
from rocassay.harness.options import RESULTS, Options
from rocassay.harness.results import (
    Assay,
    CaseRecord,
    Cell,
    ResultsError,
    ResultsWriter,
    RunEnd,
    RunHeader,
    Status,
    finished_keys,
    move_aside,
    read,
    set_aside_cut_tail,
    summary,
)
from rocassay.harness.wording import cost

if TYPE_CHECKING:
    from rocassay.harness.sharding import Plan


def header_of(options: Options, **asked: Any) -> RunHeader:
    """The first line of a run: what was `asked` of it, by which command and when, and everything that computes it."""
    chosen, whose = chosen_engine(options.engine), provider_of(options)
    described = chosen.describe()
    asked.setdefault("device", described.get("device", ""))
    return RunHeader(
        started=now(),
        command=shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        tier=options.tier,
        provider=options.provider,
        tree=options.source,
        engine=chosen.name,
        versions={**versions(), **{k: v for k, v in described.items() if k != "device"}, **whose.versions()},
        commit=commit(),
        **asked,
    )


class Controller:
    """Owns the results file of one run."""

    def __init__(self, options: Options, plan: Plan | None = None, device: str = "") -> None:
        """`plan`: which part of the selection this run judges; None: all of it. `device`: what executes elsewhere."""
        if options.out is None:
            raise RocassayError("a run that writes records needs an output folder")
        self.options = options
        self._plan, self._elsewhere = plan, device
        self.path = options.out / RESULTS
        self.broken = ""
        self._peaks: dict[int | str, int] = {}
        self._start = time.perf_counter()
        self._engine = chosen_engine(options.engine)
        self._provider = provider_of(options)
        self._ledger = ledger_for(options)
        every = select_cases(options.tier_name, options.selection(), options.seed_range) if options.judges else []
        self._cases = [case for case in every if plan is None or (str(case), "") in plan.mine]
        self._expected = self._expected_of(every)
        if options.judges and not every:
            raise RocassayError(
                f"no case of tier {options.tier} matches the filters; `rocassay list` shows what there is"
            )
        self._limits = tightened_limits(options)
        earlier = self._earlier()
        self.run_id = earlier.headers[0].run_id if earlier and earlier.headers else uuid.uuid4().hex[:12]
        self.done = self._done(earlier)
        self._writer = ResultsWriter(self.path)
        sweep(self.path.parent, all_of_them=True)
        self._write_header(resumed=earlier is not None)

    def _expected_of(self, every: Sequence[Case]) -> tuple[Cell, ...]:
        """Cells that this run has to fill; of a shard those of its own cases.

        The first shard answers for cells that no case fills, so that lost cases show.
        """
        wanted = cells_of(self.options)
        if self._plan is None:
            return wanted
        mine, filled = set(map(place_of, self._cases)), set(map(place_of, every))
        first = self._plan.shard.number == 1
        return tuple(cell for cell in wanted if place_of(cell) in mine or (first and place_of(cell) not in filled))

    def _drills(self) -> tuple[str, ...]:
        """Faults whose drill this run owes."""
        if not self.options.drills:
            return ()
        names = drill_names(self.options)
        mine = None if self._plan is None else {fault for _, fault in self._plan.mine}
        return tuple(name for name in names if mine is None or name in mine)

    @property
    def _measures_power(self) -> bool:
        """Whether blind drill cases are measured instead of forbidden."""
        return self.options.drills and not self.options.thin

    def _earlier(self) -> Assay | None:
        """The interrupted run to continue; without --resume an older file is moved aside, never overwritten."""
        try:
            if self.options.resume:
                set_aside_cut_tail(self.path)
            if not self.path.exists() or not self.path.stat().st_size:
                return None
            if self.options.resume:
                return self._same_run(read(self.path))
            move_aside(self.path)
        except OSError as error:
            raise ResultsError(f"cannot move {self.path} aside: {error.strerror}; choose another --out") from error
        return None

    def _same_run(self, earlier: Assay) -> Assay:
        """The earlier part, if this command asks for the same run; ResultsError names the first difference."""
        asked = {
            "provider": self.options.provider,
            "tree": self.options.source,
            "engine": self._engine.name,
            "tier": self.options.tier,
            "planned": len(self._cases),
            "shard": self._plan.shard if self._plan else None,
            "power": self._measures_power,
        }
        for header in earlier.headers[:1]:
            for name, value in asked.items():
                if (before := getattr(header, name)) != value:
                    raise ResultsError(
                        f"cannot resume {self.path}: its {name} is {before}, this command's is {value}; "
                        "repeat the first command with --resume, or choose another --out"
                    )
        return earlier

    def _done(self, earlier: Assay | None) -> frozenset[tuple[str, str]]:
        if earlier is None:
            return frozenset()
        keys = finished_keys(earlier)
        mine = (self.options.provider, self._engine.name)
        return frozenset((case, fault or "") for case, who, what, fault in keys if (who, what) == mine)

    def _write_header(self, *, resumed: bool) -> None:
        self.header = header_of(
            self.options,
            run_id=self.run_id,
            expected=self._expected,
            planned=len(self._cases),
            drills=self._drills(),
            power=self._measures_power,
            resumed=resumed,
            shard=self._plan.shard if self._plan else None,
            false_alarms=self._limits.alarms(self._cases) if self._limits else None,
            **({"device": self._elsewhere} if self._elsewhere else {}),
        )
        self._writer.append(self.header)

    def take(self, record: str) -> CaseRecord:
        """Append a record that a worker sent as JSON, and return what was appended: known where a waiver says so."""
        parsed = self._ledger.applied(CaseRecord.model_validate_json(record))
        taken = parsed.model_copy(update={"run_id": self.run_id})
        self._append(taken)
        return taken

    def needs(self, process: int | str, resident: int) -> None:
        """Note how many bytes a process that judges cases has had resident; a name tells it from those elsewhere."""
        self._peaks[process] = max(resident, self._peaks.get(process, 0))

    def crashed(self, nodeid: str, text: str) -> None:
        """Record an item whose harness failed; items of other suites are ignored."""
        reason = text.strip().splitlines()[-1] if text.strip() else "the worker died without a word"
        if record := self._unjudged(nodeid, Status.CRASHED, reason):
            self._append(record)

    def of_dead(self, nodeid: str, worker: Any) -> CaseRecord | None:
        """The record of the item with which an xdist worker died; None for items of other suites."""
        death = death_of(worker, self.path.parent)
        return self._unjudged(nodeid, death.status, death.reason)

    def _unjudged(self, nodeid: str, status: Status, reason: str) -> CaseRecord | None:
        found = re.search(r"\[(?:([\w-]+)@)?(\w+:.*)\]$", nodeid)
        if found is None:
            return None
        try:
            case = Case.parse(found.group(2))
        except RocassayError:
            return None
        return self.unjudged(case, found.group(1) or "", status, reason)

    def unjudged(self, case: Case, injected: str, status: Status, reason: str, **seen: Any) -> CaseRecord:
        """The record of work that no judge came to the end of; `injected` names its fault, `seen` fills fields in."""
        fault = fault_named(injected) if injected else None
        who, tier = self._provider, self.options.tier
        blank = blank_record(case, fault, self.run_id, who, self._engine, tier, status, reason)
        record = blank.model_copy(update=seen)
        return verdict_of(fault, record) if fault else record

    def _append(self, record: CaseRecord) -> None:
        if self.broken:
            return
        try:
            self._writer.append(record)
        except ResultsError as error:
            self.broken = str(error)

    def _expire(self) -> None:
        """Turn red what passes although a waiver says that it fails; a crash that the waiver knows is none."""
        if not self._ledger.entries:
            return
        for before in (cases := read(self.path).cases):
            if (after := self._ledger.applied(before)) is not before:
                self._append(after)
        for record in self._ledger.expired(cases, whole=self.options.whole):
            self._append(record)

    def unkept_limits(self, *, alone: bool) -> list[str]:
        """Limits of a case that this machine cannot keep, in words; `alone`: this process judges itself."""
        options = self.options
        return list(unkept(options.case_timeout, options.case_memory, self._engine.device, alone=alone))

    def finish(self, *, interrupted: bool) -> list[str]:
        """Write the end line and return the reasons for which the verdict is red."""
        self._expire()
        if not self.broken:
            seconds = time.perf_counter() - self._start
            end = RunEnd(
                run_id=self.run_id,
                finished=now(),
                seconds=seconds,
                interrupted=interrupted,
                peak_bytes=sum(self._peaks.values()),
                processes=len(self._peaks),
            )
            try:
                self._writer.append(end)
            except ResultsError as error:
                self.broken = str(error)
        self._writer.close()
        sweep(self.path.parent, all_of_them=False)
        return [self.broken] if self.broken else read(self.path).red_reasons()

    def summary(self) -> list[str]:
        """The verdict in a few lines of text."""
        assay = read(self.path)
        counts = ", ".join(f"{count} {status.value}" for status, count in summary(assay.cases).items())
        red = sum(record.status is Status.FAILED for record in assay.drills)
        lines = [f"cases: {counts or 'none'}"]
        if assay.drills:
            lines.append(f"drills: {red} of {len(assay.drills)} red, as they must be")
        reasons = [self.broken] if self.broken else assay.red_reasons()
        lines += [f"RED: {reason}" for reason in reasons] or ["GREEN: everything expected ran and agrees"]
        lines += self._ledger.remarks(assay.cases, whole=self.options.whole)
        lines += [str(self.header.false_alarms)] if self.header.false_alarms else []
        lines += [cost(assay.ends[-1])] if assay.ends else []
        return [*lines, f"records: {self.path}"]


def now() -> str:
    """UTC, ISO 8601."""
    return datetime.now(timezone.utc).isoformat(timespec="microseconds")
