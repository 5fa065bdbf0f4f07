"""The waiver ledger: failures that are known, each with the issue that tells of it, until they pass.

Rules of an entry, refused otherwise:

1. `issue` is `owner/repo#123` or a URL: a waiver nobody can look up is a hidden failure.
2. `reason` says in words what is wrong, and `case` is one case that shows it, which the entry itself covers.
3. `checks` names what may fail; `peer` and `inputs-digest` may not, for then it is the harness that is wrong.

Rules of a run:

4. A failing record becomes `known`, its reason led by the issue, only if one entry covers it and every failed check is
   among that entry's. A crash counts as the check `crash`, a time-out as `timeout`. Drills are never waived.
5. An entry covers a record by provider, engine, device, arch, op, versions of distributions and globs over case ids;
   what it leaves out does not limit. A version that the record lacks, or that is none, is outside of every range.
6. An entry is alive while any case that it covers fails: globs may be wider than the defect.
7. An entry expires when its `case` was judged, or the whole tier, and of all cases that it covers none fails: the
   passing one turns red, and says that the entry is to be removed.
8. An entry for this provider, engine and version that covers no case of a whole run is named, without being red.
"""

from __future__ import annotations

import fnmatch
import functools
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import InvalidVersion, Version
from pydantic import Field, TypeAdapter, ValidationError, field_validator, model_validator

from rocassay.harness.cases import Case
from rocassay.harness.errors import RocassayError
from rocassay.harness.ops import suite_packages
from rocassay.harness.results import CaseRecord, Check, Model, Status

WAIVERS = "waivers.json"
"""Name of the ledger beside the declarations of a package."""

DIVERGENCES = "divergences.json"
"""Name of the ledger beside the adapters of a provider of another project's kernels."""

EXPIRED = "waiver"
"""Check that fails in the record by which an entry expires."""

UNTRUSTED = frozenset({"peer", "inputs-digest"})
"""Checks of the harness itself."""

_ISSUE = re.compile(r"[\w.-]+/[\w.-]+#\d+|https?://\S+")
_OTHER_FAILURES: Mapping[Status, str] = {Status.CRASHED: "crash", Status.TIMED_OUT: "timeout"}


class BadWaiver(RocassayError, ValueError):
    """A ledger that cannot be read, or an entry that breaks a rule."""


class Waiver(Model):
    """One known failure; the module's rules say what is refused."""

    issue: str
    """`owner/repo#123` or a URL."""
    reason: str = Field(min_length=1)
    """What is wrong, in words."""
    case: str
    """Id of a case that shows it."""
    provider: str
    """Whose implementation fails."""
    checks: tuple[str, ...] = Field(min_length=1)
    """Gates and probes that may fail; `crash` and `timeout` for cases that did not end."""
    cases: tuple[str, ...] = ()
    """Globs over case ids; without any, the case alone."""
    op: str = ""
    """Only this op."""
    engine: str = ""
    """Only this engine."""
    device: str = ""
    """Only on devices of a name that this glob matches, such as "NVIDIA*"; without it on every machine."""
    arch: str = ""
    """Only this gfx architecture."""
    versions: dict[str, str] = Field(default_factory=dict)
    """Distribution -> versions, such as {"amd-aiter": ">=0.1.10,<0.2"}; names are those of a record's `versions`."""

    @field_validator("issue")
    @classmethod
    def _is_reference(cls, issue: str) -> str:
        if not _ISSUE.fullmatch(issue):
            raise ValueError(f"issue {issue!r} is no reference; write owner/repo#123 or a URL")
        return issue

    @field_validator("checks")
    @classmethod
    def _are_waivable(cls, checks: tuple[str, ...]) -> tuple[str, ...]:
        if refused := UNTRUSTED.intersection(checks):
            raise ValueError(f"check {min(refused)} judges the harness and cannot be waived; mend the declaration")
        return checks

    @field_validator("versions")
    @classmethod
    def _are_ranges(cls, versions: dict[str, str]) -> dict[str, str]:
        for name, text in versions.items():
            try:
                SpecifierSet(text)
            except InvalidSpecifier as error:
                raise ValueError(f"versions {text!r} of {name} are no range; write >=1.0,<2.0") from error
        return versions

    @model_validator(mode="after")
    def _covers_its_case(self) -> Waiver:
        try:
            case = Case.parse(self.case)
        except RocassayError as error:
            raise ValueError(str(error)) from error
        if not self._takes(str(case), case.op, case.arch):
            raise ValueError(f"the entry does not cover its own case {self.case}; widen cases, op or arch")
        return self

    def _takes(self, name: str, op: str, arch: str) -> bool:
        limits = ((self.op, op), (self.arch, arch))
        named = any(fnmatch.fnmatchcase(name, pattern) for pattern in self.cases or (self.case,))
        return named and all(not limit or limit == value for limit, value in limits)

    def concerns(self, record: CaseRecord) -> bool:
        """Whether the entry speaks of the record's implementation and machine at all."""
        return (
            record.provider == self.provider
            and self.engine in ("", record.engine)
            and fnmatch.fnmatchcase(record.device, self.device or "*")
            and all(_within(record.versions.get(name, ""), text) for name, text in self.versions.items())
        )

    def covers(self, record: CaseRecord) -> bool:
        """Whether the entry speaks of this record, whatever its status."""
        return record.fault is None and self.concerns(record) and self._takes(record.case, record.op, record.arch)

    def excuses(self, record: CaseRecord) -> bool:
        """Whether everything that failed may."""
        return self.covers(record) and _failures(record) <= set(self.checks)


def _within(version: str, text: str) -> bool:
    try:
        return SpecifierSet(text).contains(Version(version), prereleases=True)
    except InvalidVersion:
        return False


def _failures(record: CaseRecord) -> set[str]:
    other = _OTHER_FAILURES.get(record.status)
    return {check.name for check in record.checks if not check.passed} | ({other} if other else set[str]())


@dataclass(frozen=True, slots=True)
class Ledger:
    """Entries, and what they make of the records of a run."""

    entries: tuple[Waiver, ...] = ()

    def applied(self, record: CaseRecord) -> CaseRecord:
        """The record, known if an entry excuses its failure."""
        if record.status is not Status.FAILED and record.status not in _OTHER_FAILURES:
            return record
        for waiver in self.entries:
            if waiver.excuses(record):
                reason = f"{waiver.issue}: {waiver.reason} ({record.reason})"
                return record.model_copy(update={"status": Status.KNOWN, "reason": reason})
        return record

    def expired(self, records: Sequence[CaseRecord], *, whole: bool) -> Iterator[CaseRecord]:
        """Red records in place of passing ones, each by which an entry expires; `whole`: nothing was filtered out."""
        for waiver in self.entries:
            covered = [record for record in records if waiver.covers(record) and record.status is not Status.NOT_RUN]
            passed = all(record.status is Status.PASSED for record in covered)
            shown = [record for record in covered if record.case == waiver.case] or (covered if whole else [])
            if shown and passed:
                yield _expired(waiver, shown[0])

    def remarks(self, records: Sequence[CaseRecord], *, whole: bool) -> Iterator[str]:
        """What a run has to say of entries: how many cases they made known, and which cover nothing."""
        known = [record for record in records if record.status is Status.KNOWN]
        for waiver in self.entries:
            if count := sum(waiver.covers(record) for record in known):
                yield f"{waiver.issue}: {count} known, {waiver.reason}"
            elif whole and self._idle(waiver, records):
                yield f"{waiver.issue}: the waiver covers no case of this run; correct or remove it"

    def _idle(self, waiver: Waiver, records: Sequence[CaseRecord]) -> bool:
        concerned = any(waiver.concerns(record) for record in records)
        return concerned and not any(waiver.covers(record) for record in records)


def _expired(waiver: Waiver, record: CaseRecord) -> CaseRecord:
    text = f"waiver {waiver.issue} expired: {record.case} passes; remove the entry"
    why = "an entry whose cases all pass would hide the next failure"
    check = Check(name=EXPIRED, kind="gate", passed=False, detail=text, reason=why)
    return record.model_copy(update={"status": Status.FAILED, "reason": text, "checks": (*record.checks, check)})


_ENTRIES: TypeAdapter[tuple[Waiver, ...]] = TypeAdapter(tuple[Waiver, ...])


@functools.lru_cache(maxsize=4)
def ledger_of(files: tuple[str, ...] = (), adapters: str = "") -> Ledger:
    """Entries of all packages that declare ops, of a provider's package of adapters, and of the files.

    Raises BadWaiver, which names file, entry and rule.
    """
    entries: list[Waiver] = []
    packages = [*((package, WAIVERS) for package in suite_packages()), *([(adapters, DIVERGENCES)] if adapters else [])]
    for package, name in packages:
        shipped = resources.files(package) / name
        if shipped.is_file():
            entries += _parsed(f"{package}/{name}", shipped.read_text(encoding="utf-8"))
    for file in files:
        try:
            entries += _parsed(file, Path(file).read_text(encoding="utf-8"))
        except OSError as error:
            raise BadWaiver(f"cannot read waivers {file}: {error.strerror}; name a JSON list of entries") from error
    return Ledger(tuple(entries))


def _parsed(where: str, text: str) -> Iterable[Waiver]:
    try:
        return _ENTRIES.validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        place, rule = first["loc"], first["msg"].removeprefix("Value error, ")
        entry = f"entry {int(place[0]) + 1}" if place and isinstance(place[0], int) else "not a list of entries"
        fields = "".join(f", {part}" for part in place[1:])
        raise BadWaiver(f"{where}: {entry}{fields}{_issue_of(text, place)}: {rule}") from error


def _issue_of(text: str, place: tuple[int | str, ...]) -> str:
    """The reference of the entry that is refused, to find it by."""
    try:
        entry = json.loads(text)[place[0]]
        return f" ({entry['issue']})"
    except (ValueError, LookupError, TypeError):
        return ""
