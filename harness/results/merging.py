"""Joins the results files of shards into the one that a whole run would have written."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rocassay.harness.results.assay import Assay, read
from rocassay.harness.results.schema import FalseAlarms, ResultsError, RunEnd, RunHeader, Shard

LIKE = ("tier", "provider", "engine", "commit")
"""What shards of one run have in common."""


@dataclass(frozen=True, slots=True)
class _Part:
    """One shard's file."""

    assay: Assay
    header: RunHeader
    shard: Shard


def merge(paths: Sequence[Path], target: Path) -> Assay:
    """Write the shards' records as one run to `target`, and return it read back; a missing shard makes it red.

    Raises ResultsError for a file that holds no shard, for shards of different runs, for a shard that is there twice,
    and where `target` holds something else than an earlier merging.
    """
    parts = sorted((_part(read(path)) for path in paths), key=lambda part: part.shard.number)
    if not parts:
        raise ResultsError("there is nothing to join; name the folders that the shards wrote")
    for part in parts[1:]:
        _require_like(parts[0], part)
    for before, after in itertools.pairwise(parts):
        if before.shard.number == after.shard.number:
            raise ResultsError(f"{after.shard} is there twice, {before.assay.path} and {after.assay.path}; name one")
    _require_free(target, [part.assay.path for part in parts])
    _write(target, parts)
    return read(target)


def _part(assay: Assay) -> _Part:
    header = assay.headers[0] if assay.headers else None
    if header is None or header.shard is None:
        raise ResultsError(f"{assay.path} holds no shard of a run; `rocassay run --shard I/N` writes one")
    return _Part(assay, header, header.shard)


def _require_like(first: _Part, other: _Part) -> None:
    pairs = [(name, getattr(first.header, name), getattr(other.header, name)) for name in LIKE]
    pairs += [(name, getattr(first.shard, name), getattr(other.shard, name)) for name in ("count", "selected", "plan")]
    for name, mine, theirs in pairs:
        if mine != theirs:
            more = "; give every shard the same selection and the same --durations file" if name == "plan" else ""
            raise ResultsError(
                f"{first.assay.path} and {other.assay.path} are not of one run: {name} {mine} and {theirs}{more}"
            )


def _require_free(target: Path, sources: Sequence[Path]) -> None:
    if not target.exists():
        return
    own = target.resolve() in {source.resolve() for source in sources}
    if own or not any(header.merged for header in read(target).headers):
        raise ResultsError(f"{target} holds records that are not of a merging; choose another --out")


def _write(target: Path, parts: Sequence[_Part]) -> None:
    """All or nothing: a reader never sees half of it."""
    draft = target.with_name(target.name + ".new")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with draft.open("wb") as stream:
            stream.write(_line(_header(parts)))
            for part in parts:
                stream.writelines(_records(part.assay.path))
            stream.write(_line(_end(parts)))
        draft.replace(target)
    except OSError as error:
        raise ResultsError(f"cannot write {target}: {error.strerror}; choose another --out") from error


def _line(line: RunHeader | RunEnd) -> bytes:
    return (line.model_dump_json() + "\n").encode()


def _records(path: Path) -> Iterator[bytes]:
    """Every line but headers and ends, as it is: what cannot be read stays a problem, and red."""
    for raw in path.read_bytes().splitlines(keepends=True):
        if _kind(raw) not in ("run", "end"):
            yield raw if raw.endswith(b"\n") else raw + b"\n"


def _kind(raw: bytes) -> object:
    try:
        line: object = json.loads(raw)
    except ValueError:
        return None
    return line.get("kind") if isinstance(line, dict) else None  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]


def _header(parts: Sequence[_Part]) -> RunHeader:
    headers = [header for part in parts for header in part.assay.headers]
    first = parts[0]
    return first.header.model_copy(
        update={
            "run_id": _run_id(parts),
            "started": min(header.started for header in headers),
            "expected": tuple(dict.fromkeys(cell for header in headers for cell in header.expected)),
            "planned": first.shard.selected,
            "drills": tuple(dict.fromkeys(name for header in headers for name in header.drills)),
            "shard": None,
            "merged": tuple(part.shard for part in parts),
            "false_alarms": _false_alarms([part.header.false_alarms for part in parts]),
            "versions": _versions(headers),
            "device": _joined(header.device for header in headers),
        }
    )


def _false_alarms(shards: Sequence[FalseAlarms | None]) -> FalseAlarms | None:
    """Of all shards together; None unless every one was given a calibration."""
    told = [one for one in shards if one is not None]
    if len(told) < len(shards):
        return None
    checks = dict.fromkeys(check for one in told for check in one.a_run)
    return told[0].model_copy(
        update={
            "source": _joined(one.source for one in told),
            "cases": sum(one.cases for one in told),
            "a_run": {check: sum(one.a_run.get(check, 0.0) for one in told) for check in checks},
        }
    )


def _run_id(parts: Sequence[_Part]) -> str:
    """The same for the same shards: a run that is joined again replaces itself in a history."""
    return hashlib.sha256(" ".join(part.header.run_id for part in parts).encode()).hexdigest()[:12]


def _versions(headers: Sequence[RunHeader]) -> dict[str, str]:
    names = dict.fromkeys(name for header in headers for name in header.versions)
    return {name: _joined(header.versions.get(name, "none") for header in headers) for name in names}


def _joined(words: Iterable[str]) -> str:
    return " / ".join(dict.fromkeys(words))


def _end(parts: Sequence[_Part]) -> RunEnd:
    """Shards run side by side: the longest counts. One that did not end leaves the whole unended."""
    ends = [end for part in parts for end in part.assay.ends]
    seconds = [sum(end.seconds for end in part.assay.ends) for part in parts]
    return RunEnd(
        run_id=_run_id(parts),
        finished=max([*(end.finished for end in ends), *(part.assay.headers[-1].started for part in parts)]),
        seconds=max(seconds),
        interrupted=not all(part.assay.ended for part in parts),
        peak_bytes=max((end.peak_bytes for end in ends), default=0),
        processes=sum(part.assay.ends[-1].processes for part in parts if part.assay.ends),
    )
