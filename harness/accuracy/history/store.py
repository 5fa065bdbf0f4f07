"""The store: evaluations and baselines; beside them the runs of kernel cases."""

from __future__ import annotations

import datetime as dt
import getpass
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from rocassay.harness.accuracy.errors import UnlikeRuns
from rocassay.harness.accuracy.history.accepting import Baseline, evidence, require_acceptable
from rocassay.harness.accuracy.history.database import Database, HistoryError
from rocassay.harness.accuracy.history.retention import Limits, Pruned, prune
from rocassay.harness.accuracy.history.runs import KernelRuns
from rocassay.harness.accuracy.history.tables import ANSWERS, BASELINES, EVALUATIONS
from rocassay.harness.accuracy.outcomes import Outcome, Run
from rocassay.harness.results import AccuracyRecord, EvalHeader, Evaluation, Fingerprint, QuestionRecord


class History:
    """Evaluations with every answer, and the baselines that were accepted."""

    def __init__(self, where: str | Path, *, make: bool = True) -> None:
        """`where`: a file for SQLite or a database URL; with `make` a missing file is made, else it is an error.

        A file that is no database is set aside as `<name>.corrupt` and HistoryError says so: nothing is overwritten,
        and the next call starts a fresh one.
        """
        self._database = Database(where, make=make)
        self.place = self._database.place
        """Where it lies, without a password."""
        self.kernel_runs = KernelRuns(self._database)
        """Runs of kernel cases, and how long each case took."""

    def prune(self, limits: Limits, *, dry: bool = False) -> Pruned:
        """Remove runs and evaluations beyond the limits, never those of a baseline; `dry`: only say which."""
        return prune(self._database, limits, dry=dry)

    def append(self, evaluation: Evaluation) -> None:
        """Store an evaluation with all its answers, in one transaction; one of the same run id is replaced."""
        run, verdict = evaluation.header.run_id, evaluation.verdict
        if verdict is None:
            raise HistoryError(f"evaluation {run} has no verdict yet; finish it with `rocassay gsm8k --resume` first")
        answers = [_answer_row(record) for record in evaluation.in_order]
        with self._database.writing() as connection:
            connection.execute(ANSWERS.delete().where(ANSWERS.c.run_id == run))
            connection.execute(EVALUATIONS.delete().where(EVALUATIONS.c.run_id == run))
            connection.execute(EVALUATIONS.insert(), [_row(evaluation.header, verdict)])
            if answers:
                connection.execute(ANSWERS.insert(), answers)

    def summaries(
        self,
        configuration: str | None = None,
        *,
        runs: Iterable[str] | None = None,
        since: dt.datetime | None = None,
    ) -> list[Evaluation]:
        """Evaluations without their answers, oldest first; `since` is compared with their beginning."""
        query = sa.select(EVALUATIONS.c.header, EVALUATIONS.c.verdict).order_by(EVALUATIONS.c.started)
        if configuration is not None:
            query = query.where(EVALUATIONS.c.configuration == configuration)
        if runs is not None:
            query = query.where(EVALUATIONS.c.run_id.in_(list(runs)))
        if since is not None:
            query = query.where(EVALUATIONS.c.started >= since.astimezone(dt.timezone.utc).isoformat())
        with self._database.reading() as connection:
            return [_evaluation(row) for row in connection.execute(query).mappings()]

    def evaluation(self, run: str) -> Evaluation:
        """One evaluation with its answers. Raises HistoryError when there is none of this run id."""
        query = sa.select(ANSWERS.c.answer).where(ANSWERS.c.run_id == run)
        found = self._found([run])[0]
        with self._database.reading() as connection:
            records = [QuestionRecord.model_validate(answer) for answer in connection.execute(query).scalars()]
        found.questions.update((record.id, record) for record in sorted(records, key=lambda record: record.place))
        return found

    def outcomes(self, runs: Sequence[str]) -> dict[str, Run]:
        """What each of these runs did, question by question, in the order asked for; no text is read."""
        table = ANSWERS.c
        query = sa.select(table.run_id, table.question, table.correct, table.answered, table.finish, table.tokens)
        found: dict[str, dict[str, Outcome]] = {run: {} for run in runs}
        with self._database.reading() as connection:
            for row in connection.execute(query.where(table.run_id.in_(list(runs)))):
                found[row.run_id][row.question] = _outcome(row)
        return dict(found)

    def latest_green(self, configuration: str, fingerprint: Fingerprint, count: int) -> list[Run]:
        """The latest `count` green, healthy runs that are comparable, newest first."""
        table = EVALUATIONS.c
        query = (
            sa.select(table.run_id, table.header)
            .where(table.configuration == configuration, table.task == fingerprint.task)
            .where(table.healthy == sa.true(), table.status == "green")
            .order_by(table.started.desc())
        )
        names: list[str] = []
        with self._database.reading() as connection:
            for run, header in connection.execute(query):
                if len(names) < count and EvalHeader.model_validate(header).fingerprint == fingerprint:
                    names.append(run)
        return list(self.outcomes(names).values())

    def accept(self, runs: Sequence[str], why: str, who: str = "") -> Baseline:
        """Declare runs good from now on, with what they say against the baseline in force until now.

        Raises HistoryError for runs that are unlike, faulted, unfinished, mixed, or not there, and without a reason.
        """
        if not why.strip():
            raise HistoryError("a baseline needs a reason; say with --why what makes these runs good")
        names = list(dict.fromkeys(runs))
        found = self._found(names)
        require_acceptable(found, self._unanswered(names))
        header = found[0].header
        configuration, task = header.configuration, header.fingerprint.task
        before = self.baselines(configuration, task)[-1:]
        row: dict[str, Any] = {
            "configuration": configuration,
            "task": task,
            "runs": names,
            "who": who.strip() or _user(),
            "why": why.strip(),
            "accepted": dt.datetime.now(dt.timezone.utc).isoformat(),
            "evidence": self._evidence(names, header.fingerprint, before[0] if before else None),
        }
        with self._database.writing() as connection:
            # Meanwhile somebody may have pruned them.
            there = connection.execute(sa.select(EVALUATIONS.c.run_id).where(EVALUATIONS.c.run_id.in_(names))).all()
            if len(there) < len(names):
                raise HistoryError(f"of runs {', '.join(names)} some were removed just now; nothing was accepted")
            key = connection.execute(BASELINES.insert().values(row)).inserted_primary_key
        return _baseline({**row, "number": key[0] if key else 0})

    def baselines(self, configuration: str | None = None, task: str | None = None) -> list[Baseline]:
        """Accepted baselines in the order of acceptance: of each configuration and task, the last is in force."""
        query = sa.select(BASELINES).order_by(BASELINES.c.number)
        if configuration is not None:
            query = query.where(BASELINES.c.configuration == configuration)
        if task is not None:
            query = query.where(BASELINES.c.task == task)
        with self._database.reading() as connection:
            return [_baseline(row) for row in connection.execute(query).mappings()]

    def runs_of_baseline(self, configuration: str, fingerprint: Fingerprint) -> list[Run]:
        """Runs of the baseline in force; empty when there is none. UnlikeRuns names every difference of the rules."""
        accepted = self.baselines(configuration, fingerprint.task)
        if not accepted:
            return []
        if unlike := self._unlike(fingerprint, accepted[-1]):
            raise UnlikeRuns(
                f"this run cannot be compared with baseline {accepted[-1].number} of {configuration}: {unlike}; "
                "run it as the baseline was run, or accept a new one"
            )
        return list(self.outcomes(accepted[-1].runs).values())

    def _unlike(self, fingerprint: Fingerprint, baseline: Baseline) -> str:
        """Every difference from the runs of a baseline, in words; empty when there is none."""
        theirs = [evaluation.header.fingerprint for evaluation in self._found(baseline.runs)]
        return "; ".join(dict.fromkeys(words for one in theirs for words in fingerprint.differences(one)))

    def _evidence(self, runs: Sequence[str], fingerprint: Fingerprint, before: Baseline | None) -> dict[str, Any]:
        if before is None:
            return {"previous": None, **evidence(self.outcomes(runs), {})}
        found = evidence(self.outcomes(runs), self.outcomes(before.runs), self._unlike(fingerprint, before))
        return {"previous": before.number, **found}

    def _found(self, runs: Sequence[str]) -> list[Evaluation]:
        """Summaries in the order asked for. Raises HistoryError for a run that is not there, and for no run at all."""
        found = {evaluation.header.run_id: evaluation for evaluation in self.summaries(runs=runs)}
        missing = [run for run in runs if run not in found]
        if missing or not found:
            words = f"no run {', '.join(missing)}" if missing else "nothing of no run at all"
            raise HistoryError(f"the history at {self.place} has {words}; `rocassay history list` shows what it has")
        return [found[run] for run in runs]

    def _unanswered(self, runs: Sequence[str]) -> dict[str, int]:
        """By run: questions that got no answer, where there are any."""
        failed = sa.and_(ANSWERS.c.run_id.in_(list(runs)), ANSWERS.c.finish == "error")
        query = sa.select(ANSWERS.c.run_id, sa.func.count()).where(failed).group_by(ANSWERS.c.run_id)
        with self._database.reading() as connection:
            return {row[0]: row[1] for row in connection.execute(query)}


def _row(header: EvalHeader, verdict: AccuracyRecord) -> dict[str, Any]:
    return {
        "run_id": header.run_id,
        "configuration": header.configuration,
        "task": header.fingerprint.task,
        "healthy": not header.faults,
        "started": header.started,
        "status": verdict.status,
        "header": header.model_dump(mode="json"),
        "verdict": verdict.model_dump(mode="json"),
    }


def _answer_row(record: QuestionRecord) -> dict[str, Any]:
    return {
        "run_id": record.run_id,
        "question": record.id,
        "correct": record.correct,
        "answered": record.strict is not None,
        "finish": record.finish_reason,
        "tokens": record.tokens,
        "answer": record.model_dump(mode="json"),
    }


def _outcome(row: Any) -> Outcome:
    return Outcome(bool(row.correct), bool(row.answered), row.finish == "stop", row.tokens)


def _evaluation(row: Any) -> Evaluation:
    verdict = AccuracyRecord.model_validate(row["verdict"])
    return Evaluation(EvalHeader.model_validate(row["header"]), {}, verdict)


def _baseline(row: Any) -> Baseline:
    names = ("number", "configuration", "task", "who", "why", "accepted", "evidence")
    return Baseline(**{name: row[name] for name in names}, runs=tuple(row["runs"]))


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, ImportError, OSError) as error:
        raise HistoryError("this system does not know who you are; say with --who who accepts the baseline") from error
