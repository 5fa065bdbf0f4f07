"""A line of `results.jsonl`: one JSON object, told apart by its `kind`."""

from __future__ import annotations

import json
from typing import Annotated, Union

from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from rocassay.harness.results.accuracy import AccuracyRecord, EvalHeader, QuestionRecord
from rocassay.harness.results.schema import SCHEMA_VERSION, CaseRecord, RunEnd, RunHeader

Record = RunHeader | CaseRecord | RunEnd | EvalHeader | QuestionRecord | AccuracyRecord
"""Everything that a line can be."""

Line = Annotated[
    Union[RunHeader, CaseRecord, RunEnd, EvalHeader, QuestionRecord, AccuracyRecord],  # noqa: UP007
    Field(discriminator="kind"),
]
_LINE: TypeAdapter[Record] = TypeAdapter(Line)


class _Versioned(BaseModel):
    """The one field that a line of any version has."""

    schema_version: int


def parse(raw: bytes) -> Record | str:
    """The record that a line holds, or in words why it holds none that this version can read."""
    try:
        line = _LINE.validate_json(raw)
    except ValidationError as error:
        return _why_unreadable(raw, error)
    return line if line.schema_version == SCHEMA_VERSION else _foreign(line.schema_version)


def _why_unreadable(raw: bytes, error: ValidationError) -> str:
    """The schema version if it is another one, since then every further complaint only follows from it."""
    try:
        version = _Versioned.model_validate_json(raw).schema_version
    except ValidationError:
        version = SCHEMA_VERSION
    return f"is not a record: {_first_error(error)}" if version == SCHEMA_VERSION else _foreign(version)


def _foreign(version: int) -> str:
    return f"has schema version {version}, this rocassay reads {SCHEMA_VERSION}"


def _first_error(error: ValidationError) -> str:
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"])
    return f"{place}: {first['msg']}" if place else str(first["msg"])


def json_schema() -> str:
    """JSON schema of a line, for programs that read the file without this package."""
    return json.dumps(_LINE.json_schema(), indent=2)
