"""One run over mutants: what is left to judge, the file of records, and the verdict."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timezone

from rocassay.harness.mutants.crew import Broken, judged_by_crew, judged_here
from rocassay.harness.mutants.ledger import Ledger, applied, stale
from rocassay.harness.mutants.plan import Wanted, of_plans, planned, unjudged
from rocassay.harness.results import ResultsWriter, set_aside_cut_tail
from rocassay.harness.results.mutants import MutantRecord, Score, read_mutants, scores

FILE = "mutants.jsonl"
"""Name of the records' file in the output folder."""

RESUME = "rocassay drill --mutants --resume"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run says."""

    records: tuple[MutantRecord, ...]
    """Of every planned mutant that was judged, now or before; survivors of the ledger are equivalent."""
    problems: tuple[str, ...]
    """Why it is red, in sentences; empty means green."""

    @property
    def scores(self) -> list[Score]:
        """The score of each op."""
        return list(scores(self.records))

    @property
    def survivors(self) -> list[MutantRecord]:
        """Mutants that no case sees, and that nobody has shown to be equivalent."""
        return [record for record in self.records if record.fate == "survived"]


class Campaign:
    """The mutants of the selected ops, and the file of what became of them."""

    def __init__(self, wanted: Wanted) -> None:
        """Plans, and reads or moves aside the file that is there. Raises RocassayError for what cannot be run."""
        assert wanted.options.out is not None
        self.wanted = wanted
        self.plans = planned(wanted)
        self.path = wanted.options.out / FILE
        self._broken: list[Broken] = []
        if wanted.options.resume:
            set_aside_cut_tail(self.path)
        elif self.path.exists():
            made = datetime.fromtimestamp(self.path.stat().st_mtime, timezone.utc)
            self.path.rename(self.path.with_name(f"mutants-{made:%Y%m%dT%H%M%S%f}.jsonl"))
        self._records = of_plans(self.plans, read_mutants(self.path), wanted)
        self._jobs = unjudged(self.plans, self._records)

    @property
    def left(self) -> int:
        """Mutants that are not judged yet."""
        return sum(map(len, self._jobs.values()))

    def run(self) -> Iterator[MutantRecord]:
        """Judge what is left; each record is in the file before it is yielded."""
        judged = judged_by_crew if self.wanted.workers else judged_here
        writer = ResultsWriter(self.path, RESUME)
        try:
            for answer in judged(self.plans, self._jobs, self.wanted):
                if isinstance(answer, Broken):
                    self._broken.append(answer)
                    continue
                writer.append(answer)
                self._records.append(answer)
                yield answer
        finally:
            writer.close()

    def outcome(self, ledger: Ledger, least: float) -> Outcome:
        """The verdict: green iff everything was judged, every op's score is `least` or more, and the ledger is true."""
        records = of_plans(self.plans, self._records, self.wanted)
        known = {plan.op.name: plan.known for plan in self.plans}
        judged = tuple(applied(ledger, records))
        problems = (*self._unjudged(judged), *stale(ledger, known, records), *_low(judged, least))
        return Outcome(judged, problems)

    def _unjudged(self, records: Iterable[MutantRecord]) -> Iterator[str]:
        for broken in self._broken:
            yield f"the mutants of {broken.op} were not judged: {broken.reason}"
        for op, mutants in unjudged(self.plans, records).items():
            if op not in {broken.op for broken in self._broken}:
                yield f"{len(mutants)} mutants of {op} were not judged, such as {mutants[0].id}; `{RESUME}` goes on"


def _low(records: Iterable[MutantRecord], least: float) -> Iterator[str]:
    for score in scores(records):
        if score.share < least:
            yield f"{score.op} sees {score.share:.3f} of its mutants, {least:g} is asked: give it cases for the others"
