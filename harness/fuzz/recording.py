"""The results file of a search: every green case as it comes, and of every red symptom the smallest case."""

from __future__ import annotations

import time
import uuid
from pathlib import Path

from rocassay.harness.choice import chosen_engine
from rocassay.harness.controller import header_of, now
from rocassay.harness.fuzz.search import Mistake, Searched
from rocassay.harness.options import RESULTS, Options
from rocassay.harness.results import (
    GREEN,
    RAN,
    CaseRecord,
    ResultsWriter,
    RunEnd,
    Status,
    move_aside,
    read,
    set_aside_cut_tail,
)


class Recording:
    """Owns the results file of one search."""

    def __init__(self, options: Options, out: Path, *, resume: bool) -> None:
        """Without `resume` an older file is moved aside."""
        self.path = out / RESULTS
        self._start = time.perf_counter()
        if resume:
            set_aside_cut_tail(self.path)
        else:
            move_aside(self.path)
        self.known = self._known(options)
        self._run_id = uuid.uuid4().hex[:12]
        self._writer = ResultsWriter(self.path)
        self._writer.append(header_of(options, run_id=self._run_id, resumed=bool(self.known)))

    def _known(self, options: Options) -> tuple[CaseRecord, ...]:
        """What an interrupted search judged already."""
        if not self.path.exists() or not self.path.stat().st_size:
            return ()
        asked = (options.provider, chosen_engine(options.engine).name)
        ran = RAN | {Status.CRASHED}
        return tuple(r for r in read(self.path).cases if (r.provider, r.engine) == asked and r.status in ran)

    def judged(self, seen: CaseRecord | Mistake) -> None:
        """Append a green case; what is red waits until it is as small as it gets."""
        if isinstance(seen, CaseRecord) and seen.status in GREEN:
            self._append(seen)

    def searched(self, searched: Searched) -> None:
        """Append what a search found."""
        for record in searched.findings:
            self._append(record)

    def _append(self, record: CaseRecord) -> None:
        self._writer.append(record.model_copy(update={"run_id": self._run_id}))

    def close(self, *, interrupted: bool) -> list[str]:
        """Append the last line; the reasons for which the verdict is red."""
        seconds = time.perf_counter() - self._start
        self._writer.append(RunEnd(run_id=self._run_id, finished=now(), seconds=seconds, interrupted=interrupted))
        self._writer.close()
        return read(self.path).red_reasons()
