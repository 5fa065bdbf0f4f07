"""Two runs compared: everything that changed, and what of it is worse."""

from __future__ import annotations

from dataclasses import dataclass

from rocassay.harness.results import Assay, EvalHeader, RunHeader
from rocassay.reports.diff.accuracy import EvaluationChange, evaluation_changes
from rocassay.reports.diff.cases import CasePair, Moved, moved, pairs_of
from rocassay.reports.diff.codes import CodeChange, code_changes
from rocassay.reports.diff.versions import VersionChange, version_changes


@dataclass(frozen=True, slots=True)
class Changes:
    """What is otherwise in the head than in the base; cases in the order of the head.

    A case that is red in the head and was not in the base is a new failure whether or not the two can be compared.
    """

    new_failures: tuple[CasePair, ...]
    """Cases without a fault: red in the head and not in the base, those that the base does not have among them."""
    fixed: tuple[CasePair, ...]
    """Red in the base, green in the head."""
    still_red: tuple[CasePair, ...]
    """Red in both."""
    newly_skipped: tuple[CasePair, ...]
    """Ran in the base, not run or missing in the head; drills among them."""
    newly_run: tuple[CasePair, ...]
    """Not run or missing in the base, ran in the head; drills among them."""
    unseen: tuple[CasePair, ...]
    """Drills whose fault the head injected and did not see; the base saw it, or did not inject it."""
    newly_seen: tuple[CasePair, ...]
    """Drills whose fault the head saw; the base injected it and did not."""
    incomparable: tuple[CasePair, ...]
    """Cases whose numbers say nothing about each other, with the reason."""
    compared: int
    """Cases, drills among them, that neither run left out and that can be compared."""
    moved: tuple[Moved, ...]
    """Cases whose worst error moved, the most moved first."""
    codes: tuple[CodeChange, ...]
    """Kernels whose machine code is another one."""
    code_known: int
    """Comparable cases with the digests of both runs; of all others it is unknown whether their code changed."""
    evaluations: tuple[EvaluationChange, ...]
    """Every evaluation of either run."""
    versions: tuple[VersionChange, ...]
    """What computed and is another one."""
    wall: tuple[float | None, float | None]
    """Seconds of all ended runs in base and head; None where none came to an end."""
    commits: tuple[str, str]
    """Commits of base and head; empty where none was recorded."""

    def worse(self, max_ratio: float | None = None) -> tuple[str, ...]:
        """Every way in which the head is worse, a sentence each; empty: nothing is.

        max_ratio: an error that grew by more than this factor is worse, too.
        """
        did_not_run = "that ran in the base did not run"
        said = [
            _told(len(self.new_failures), "new failure"),
            _told(len(self.newly_skipped), f"case {did_not_run}", f"cases {did_not_run}"),
            _told(len(self.unseen), "drill did not see its fault", "drills did not see their fault"),
            *(_worse(change) for change in self.evaluations),
        ]
        if not self.compared and not any(change.shared for change in self.evaluations):
            said.append("nothing of the base could be compared")
        if max_ratio is not None and (grown := self.grown(max_ratio)):
            said.append(f"{_told(len(grown), 'error')} grew by more than {max_ratio:g}")
        return tuple(filter(None, said))

    def grown(self, factor: float) -> tuple[Moved, ...]:
        """Cases whose worst error grew by more than a factor."""
        return tuple(move for move in self.moved if 2**move.log2 > factor)


def _told(count: int, one: str, many: str = "") -> str:
    return f"{count:,} {one if count == 1 else many or one + 's'}" if count else ""


def _worse(change: EvaluationChange) -> str:
    """How an evaluation is worse, in words; empty where it is not."""
    name, (before, after) = _name(change), change.statuses
    if change.skipped:
        return f"accuracy of {name} was not measured: {after}"
    if change.unseen:
        return f"accuracy of {name} no longer shows the fault: {after}"
    return f"accuracy of {name} is {after}, was {before}" if change.lost_accuracy else ""


def _name(change: EvaluationChange) -> str:
    configuration, task, shots, faults = change.subject
    return " + ".join((f"{configuration}, {task} with {shots} shots", *faults))


def compare(base: Assay, head: Assay) -> Changes:
    """Everything that changed from `base` to `head`; a pure function of the records, exactly repeatable."""
    pairs = pairs_of(base, head)
    healthy = [pair for pair in pairs if pair.record.fault is None]
    drills = [pair for pair in pairs if pair.record.fault is not None]
    both = [(p.base, p.head) for p in pairs if p.base and p.head and p.comparable]
    return Changes(
        new_failures=tuple(pair for pair in healthy if pair.failed),
        fixed=tuple(pair for pair in healthy if pair.fixed),
        still_red=tuple(pair for pair in healthy if pair.still_red),
        newly_skipped=tuple(pair for pair in pairs if pair.skipped and not pair.incomparable),
        newly_run=tuple(pair for pair in pairs if pair.newly_run and not pair.incomparable),
        unseen=tuple(pair for pair in drills if pair.unseen),
        newly_seen=tuple(pair for pair in drills if pair.newly_seen),
        incomparable=tuple(pair for pair in pairs if pair.incomparable),
        compared=len(both),
        moved=moved(pairs),
        codes=code_changes(both),
        code_known=sum(bool(one.codes and other.codes) for one, other in both),
        evaluations=evaluation_changes(base, head),
        versions=version_changes(base, head),
        wall=(_wall(base), _wall(head)),
        commits=(_commit(base), _commit(head)),
    )


def _wall(assay: Assay) -> float | None:
    return sum(end.seconds for end in assay.ends) if assay.ends else None


def _commit(assay: Assay) -> str:
    lines: list[RunHeader | EvalHeader] = [*assay.headers, *(found.header for found in assay.evaluations.values())]
    return " and ".join(dict.fromkeys(line.commit for line in lines if line.commit))
