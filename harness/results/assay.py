"""One results file, read: what was asked for, what ran, and every reason for which the verdict is red."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from rocassay.harness.results.accuracy import AccuracyRecord, EvalHeader, Evaluation, QuestionRecord, latest
from rocassay.harness.results.lines import parse
from rocassay.harness.results.schema import (
    GREEN,
    RAN,
    CaseRecord,
    Cell,
    FalseAlarms,
    ResultsError,
    RunEnd,
    RunHeader,
    Status,
)


@dataclass(slots=True)
class Assay:
    """What one results file holds."""

    path: Path
    headers: list[RunHeader] = field(default_factory=list[RunHeader])
    records: list[CaseRecord] = field(default_factory=list[CaseRecord])
    ends: list[RunEnd] = field(default_factory=list[RunEnd])
    evaluations: dict[str, Evaluation] = field(default_factory=dict[str, Evaluation])
    """End-to-end evaluations by run id, in the order of their first lines."""
    problems: list[str] = field(default_factory=list[str])
    """Lines that could not be read, each in one sentence; any of them makes the verdict red."""

    @property
    def ended(self) -> bool:
        """Whether the last run in the file came to its own end."""
        if not self.headers or not self.ends:
            return not self.headers
        last = self.ends[-1]
        return not last.interrupted and last.finished >= self.headers[-1].started

    @property
    def cases(self) -> list[CaseRecord]:
        """Records without an injected fault."""
        return [record for record in self.records if record.fault is None]

    @property
    def drills(self) -> list[CaseRecord]:
        """Records with an injected fault."""
        return [record for record in self.records if record.fault is not None]

    @property
    def false_alarms(self) -> FalseAlarms | None:
        """What the last run expected of healthy kernels; None where it was given no calibration."""
        return self.headers[-1].false_alarms if self.headers else None

    def missing_cells(self) -> list[Cell]:
        """Expected cells in which no case ran to its end."""
        ran = {(r.op, r.arch, r.fp8, r.block_size, r.engine) for r in self.cases if r.status in RAN}
        expected = dict.fromkeys(cell for header in self.headers for cell in header.expected)
        return [c for c in expected if (c.op, c.arch, c.fp8, c.block_size, c.engine) not in ran]

    def unrecorded(self) -> int:
        """Planned cases that left no record (0 unless the run was cut short)."""
        planned = max((header.planned for header in self.headers), default=0)
        return max(0, planned - len(self.cases))

    def missing_shards(self) -> list[int]:
        """Numbers of the shards whose files were not joined into this one."""
        merged = [shard for header in self.headers for shard in header.merged]
        there, count = {shard.number for shard in merged}, max((shard.count for shard in merged), default=0)
        return [number for number in range(1, count + 1) if number not in there]

    @property
    def _is_part_of_power(self) -> bool:
        """Whether power was measured in a shard: the case that sees a fault may lie in another one."""
        return any(header.power and header.shard is not None for header in self.headers)

    def undrilled(self) -> list[str]:
        """Faults whose drill was asked for and that no record shows red."""
        if self._is_part_of_power:
            return []
        asked = dict.fromkeys(name for header in self.headers for name in header.drills)
        red = {record.fault for record in self.drills if record.status is Status.FAILED}
        return [name for name in asked if name not in red]

    def blind_drills(self) -> list[str]:
        """Drills that did not show what they owe, in words.

        Where power was measured a fault owes one case per op and block size, else every case.
        """
        if self._is_part_of_power:
            return []
        if not any(header.power for header in self.headers):
            blind = sum(record.status is not Status.FAILED for record in self.drills)
            return [f"{blind} drill cases did not go red"] if blind else []
        seen = {_spot(record) for record in self.drills if record.status is Status.FAILED}
        blind_spots = dict.fromkeys(spot for record in self.drills if (spot := _spot(record)) not in seen)
        return [f"fault {fault} is seen by no case of {op} at block size {size}" for fault, op, size in blind_spots]

    def _may_be_absent(self, record: CaseRecord) -> bool:
        """Whether the record was not run, and its provider does not offer it or the matrix does not ask for it."""
        cell = Cell(op=record.op, arch=record.arch, fp8=record.fp8, block_size=record.block_size, engine=record.engine)
        wanted = record.offered and any(cell in header.expected for header in self.headers)
        return record.status is Status.NOT_RUN and not wanted

    def red_cases(self) -> list[CaseRecord]:
        """Cases without a fault that turn the verdict red."""
        return [record for record in self.cases if record.status not in GREEN and not self._may_be_absent(record)]

    def red_reasons(self) -> list[str]:
        """Every reason, in words, for which the verdict is red; empty means green."""
        reasons = list(self.problems)
        red = self.red_cases()
        missing, cut, undrilled = self.missing_cells(), self.unrecorded(), self.undrilled()
        if all(record.status is Status.NOT_RUN for record in self.records) and not self.evaluations:
            reasons.append("no case ran")
        if red:
            reasons.append(f"{len(red)} of {len(self.cases)} cases are not green")
        if absent := self.missing_shards():
            shards = f"shard {absent[0]} is" if len(absent) == 1 else f"shards {', '.join(map(str, absent))} are"
            reasons.append(f"{shards} missing: what was cut into parts is judged as a whole")
        if missing:
            reasons.append(f"{len(missing)} cells of the expected-to-run matrix did not run")
        if cut:
            reasons.append(f"{cut} planned cases left no record: the run was cut short")
        if not self.ended:
            reasons.append("the run did not come to its end; `rocassay run --resume` completes it")
        reasons += self.blind_drills()
        if undrilled:
            reasons.append(f"faults without a red drill: {', '.join(undrilled)}")
        repeated = {found.header.repeats for found in self.evaluations.values()}
        last = latest(found for found in self.evaluations.values() if found.header.run_id not in repeated)
        return reasons + [reason for found in last if (reason := _why_red(found))]


def _spot(record: CaseRecord) -> tuple[str | None, str, int]:
    return (record.fault, record.op, record.block_size)


def _why_red(found: Evaluation) -> str:
    """Why an evaluation turns the run red, in words; empty for a green one and for one of an injected fault."""
    header, verdict = found.header, found.verdict
    if verdict is None:
        done = f"{len(found.questions)} of {header.planned} questions are answered"
        return f"evaluation of {header.configuration} was cut short: {done}; `rocassay gsm8k --resume` completes it"
    if header.faults or verdict.status == "green":
        return ""
    return f"accuracy of {header.configuration} is {verdict.status}: {verdict.reason}"


def read(path: Path) -> Assay:
    """Read a results file; unreadable lines become `problems`, whole lines are never dropped.

    Raises ResultsError when the file does not exist or holds no readable line at all.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ResultsError(f"cannot read {path}: {error.strerror}; run `rocassay run` first") from error
    assay = Assay(path)
    for number, raw in enumerate(data.splitlines(keepends=True), start=1):
        _take_line(assay, number, raw)
    if not (assay.headers or assay.records or assay.evaluations):
        first = assay.problems[0] if assay.problems else "it is empty"
        raise ResultsError(f"{path} holds no record: {first}; run `rocassay run` again")
    assay.records = list({record.key: record for record in assay.records}.values())
    return assay


def _take_line(assay: Assay, number: int, raw: bytes) -> None:
    if not raw.endswith(b"\n"):
        assay.problems.append(
            f"{assay.path}: line {number} is cut off after {len(raw)} bytes (the run was killed while writing?); "
            f"{len(assay.records)} records before it are intact, `rocassay run --resume` completes the run"
        )
        return
    line = parse(raw)
    if isinstance(line, str):
        assay.problems.append(f"{assay.path}: line {number} {line}")
    elif isinstance(line, RunHeader):
        assay.headers.append(line)
    elif isinstance(line, RunEnd):
        assay.ends.append(line)
    elif isinstance(line, CaseRecord):
        assay.records.append(line)
    else:
        _take_accuracy(assay, number, line)


def _take_accuracy(assay: Assay, number: int, line: EvalHeader | QuestionRecord | AccuracyRecord) -> None:
    if isinstance(line, EvalHeader):
        known = assay.evaluations.get(line.run_id)
        if known is None or not line.resumed:
            assay.evaluations[line.run_id] = Evaluation(line)
        else:
            known.header = line
    elif line.run_id not in assay.evaluations:
        assay.problems.append(f"{assay.path}: line {number} belongs to evaluation {line.run_id}, which has no header")
    elif isinstance(line, QuestionRecord):
        assay.evaluations[line.run_id].questions[line.id] = line
    else:
        assay.evaluations[line.run_id].verdict = line


def finished_keys(assay: Assay) -> Iterator[tuple[str, str, str, str | None]]:
    """Keys of the work a resumed run need not repeat: everything that ran to its end."""
    return (record.key for record in assay.records if record.status in RAN)


def summary(records: Iterable[CaseRecord]) -> dict[Status, int]:
    """Records per status, in the order of `Status`, without zeros."""
    counts = dict.fromkeys(Status, 0)
    for record in records:
        counts[record.status] += 1
    return {status: count for status, count in counts.items() if count}
