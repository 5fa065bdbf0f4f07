"""Evaluations over time: every answer of every run, and the baselines that people accepted.

SQLite in a file by default; any database that SQLAlchemy reaches by its URL, PostgreSQL for a team.
"""

from __future__ import annotations

import datetime as dt
import getpass
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DatabaseError, OperationalError, SQLAlchemyError

from rocassay.harness.accuracy.errors import AccuracyError
from rocassay.harness.results import AccuracyRecord, EvalHeader, Evaluation, Fingerprint, QuestionRecord

BUSY_SECONDS = 60
"""How long a writer waits for another one."""


class HistoryError(AccuracyError):
    """The history cannot be read or written, or an entry cannot be what was asked for."""


_META = sa.MetaData()

_EVALUATIONS = sa.Table(
    "evaluations",
    _META,
    sa.Column("run_id", sa.String(64), primary_key=True),
    sa.Column("configuration", sa.String(400), index=True),
    sa.Column("faults", sa.JSON),
    sa.Column("started", sa.String(40), index=True),
    sa.Column("header", sa.JSON),
    sa.Column("verdict", sa.JSON),
)

_ANSWERS = sa.Table(
    "answers",
    _META,
    sa.Column("run_id", sa.String(64), sa.ForeignKey("evaluations.run_id"), primary_key=True),
    sa.Column("question", sa.String(200), primary_key=True),
    sa.Column("answer", sa.JSON),
)

_BASELINES = sa.Table(
    "baselines",
    _META,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("configuration", sa.String(400), index=True),
    sa.Column("runs", sa.JSON),
    sa.Column("who", sa.String(200)),
    sa.Column("why", sa.Text),
    sa.Column("accepted", sa.String(40)),
    sa.Column("evidence", sa.JSON),
)


@dataclass(frozen=True, slots=True)
class Baseline:
    """Runs that somebody declared good."""

    number: int
    """Counts up; the highest of a configuration is in force."""
    configuration: str
    """What was judged."""
    runs: tuple[str, ...]
    """Ids of the runs."""
    who: str
    """Who accepted it."""
    why: str
    """The reason given."""
    accepted: str
    """UTC, ISO 8601."""
    evidence: dict[str, Any]
    """Accuracies of its runs, and how the runs compared with the baseline before."""


class History:
    """The store of evaluations and baselines."""

    def __init__(self, where: str | Path) -> None:
        """`where`: a file for SQLite, made when it is missing, or a database URL.

        A file that is no database is set aside as `<name>.corrupt` and HistoryError says so: nothing is overwritten,
        and the next call starts a fresh one.
        """
        self.url = str(where) if "://" in str(where) else f"sqlite:///{where}"
        if self.url.startswith("sqlite:///"):
            Path(self.url.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
        try:
            self._engine = sa.create_engine(self.url, connect_args=self._waits())
            _META.create_all(self._engine)
        except (SQLAlchemyError, ModuleNotFoundError) as error:
            raise self._unusable(error) from error

    def _waits(self) -> dict[str, int]:
        return {"timeout": BUSY_SECONDS} if self.url.startswith("sqlite") else {}

    def _unusable(self, error: Exception) -> HistoryError:
        place = sa.engine.make_url(self.url).render_as_string(hide_password=True) if "://" in self.url else self.url
        file = Path(self.url.removeprefix("sqlite:///"))
        if isinstance(error, DatabaseError) and not isinstance(error, OperationalError) and file.is_file():
            aside = file.with_name(f"{file.name}.corrupt")
            file.replace(aside)
            return HistoryError(
                f"{file} is no history ({error.orig}); it was set aside as {aside}, run again to start anew"
            )
        return HistoryError(f"cannot open the history at {place}: {error}; give --history a file or a database URL")

    def append(self, evaluation: Evaluation) -> None:
        """Store an evaluation with all its answers, in one transaction; one of the same run id is replaced."""
        if evaluation.verdict is None:
            raise HistoryError(
                f"evaluation {evaluation.header.run_id} has no verdict yet; finish it with --resume first"
            )
        header, run = evaluation.header, evaluation.header.run_id
        row = {
            "run_id": run,
            "configuration": header.configuration,
            "faults": list(header.faults),
            "started": header.started,
            "header": header.model_dump(mode="json"),
            "verdict": evaluation.verdict.model_dump(mode="json"),
        }
        answers = [
            {"run_id": run, "question": record.id, "answer": record.model_dump(mode="json")}
            for record in evaluation.in_order
        ]
        with self._engine.begin() as connection:
            connection.execute(_ANSWERS.delete().where(_ANSWERS.c.run_id == run))
            connection.execute(_EVALUATIONS.delete().where(_EVALUATIONS.c.run_id == run))
            connection.execute(_EVALUATIONS.insert(), [row])
            if answers:
                connection.execute(_ANSWERS.insert(), answers)

    def evaluations(self, configuration: str | None = None, runs: Iterable[str] | None = None) -> list[Evaluation]:
        """Evaluations with their answers, oldest first."""
        query = sa.select(_EVALUATIONS).order_by(_EVALUATIONS.c.started)
        if configuration is not None:
            query = query.where(_EVALUATIONS.c.configuration == configuration)
        if runs is not None:
            query = query.where(_EVALUATIONS.c.run_id.in_(list(runs)))
        with self._engine.connect() as connection:
            rows = connection.execute(query).mappings().all()
            return [self._whole(connection, row) for row in rows]

    def _whole(self, connection: sa.Connection, row: Any) -> Evaluation:
        answers = connection.execute(sa.select(_ANSWERS.c.answer).where(_ANSWERS.c.run_id == row["run_id"])).scalars()
        questions = [QuestionRecord.model_validate(answer) for answer in answers]
        return Evaluation(
            EvalHeader.model_validate(row["header"]),
            {record.id: record for record in questions},
            AccuracyRecord.model_validate(row["verdict"]),
        )

    def accept(self, runs: Sequence[str], why: str, who: str = "", evidence: dict[str, Any] | None = None) -> Baseline:
        """Declare runs good from now on. Raises HistoryError for runs that are unlike, faulted, or not there."""
        if not why.strip():
            raise HistoryError("a baseline needs a reason; say with --why what makes these runs good")
        found = self.evaluations(runs=runs)
        if missing := set(runs) - {evaluation.header.run_id for evaluation in found}:
            raise HistoryError(f"the history has no run {', '.join(sorted(missing))}; `rocassay history` lists them")
        first = found[0].header
        for evaluation in found:
            _acceptable(evaluation, first)
        accuracies = {e.header.run_id: [e.verdict.correct, e.verdict.asked] for e in found if e.verdict}
        row = {
            "configuration": first.configuration,
            "runs": list(runs),
            "who": who or getpass.getuser(),
            "why": why,
            "accepted": dt.datetime.now(dt.timezone.utc).isoformat(),
            "evidence": {"correct of asked": accuracies, **(evidence or {})},
        }
        with self._engine.begin() as connection:
            key = connection.execute(_BASELINES.insert().values(row)).inserted_primary_key
        return _baseline({**row, "number": key[0] if key else 0})

    def baselines(self, configuration: str | None = None) -> list[Baseline]:
        """Accepted baselines, the one in force last."""
        query = sa.select(_BASELINES).order_by(_BASELINES.c.number)
        if configuration is not None:
            query = query.where(_BASELINES.c.configuration == configuration)
        with self._engine.connect() as connection:
            return [_baseline(row) for row in connection.execute(query).mappings()]

    def runs_of_baseline(self, configuration: str, fingerprint: Fingerprint) -> list[Evaluation]:
        """Runs of the baseline in force; empty when there is none. HistoryError when its runs are unlike."""
        accepted = self.baselines(configuration)
        if not accepted:
            return []
        found = self.evaluations(runs=accepted[-1].runs)
        for evaluation in found:
            if unlike := fingerprint.differences(evaluation.header.fingerprint):
                raise HistoryError(
                    f"this run cannot be compared with baseline {accepted[-1].number} of {configuration}: "
                    f"{'; '.join(unlike)}; run it as the baseline was run, or accept a new one"
                )
        return found


def _acceptable(evaluation: Evaluation, first: EvalHeader) -> None:
    header, verdict = evaluation.header, evaluation.verdict
    if header.faults:
        raise HistoryError(f"run {header.run_id} has injected faults ({', '.join(header.faults)}); it is no baseline")
    if verdict is None or verdict.asked < header.planned:
        asked = verdict.asked if verdict else 0
        raise HistoryError(f"run {header.run_id} asked {asked} of {header.planned} questions; a baseline asks all")
    unlike = header.fingerprint.differences(first.fingerprint)
    if header.configuration != first.configuration or unlike:
        why = "; ".join(unlike) or f"{header.configuration!r} against {first.configuration!r}"
        raise HistoryError(f"runs {first.run_id} and {header.run_id} are unlike ({why}); accept runs of one kind")


def _baseline(row: Any) -> Baseline:
    fields = {name: row[name] for name in ("number", "configuration", "who", "why", "accepted", "evidence")}
    return Baseline(**fields, runs=tuple(row["runs"]))
