"""What is known of one compiled launch, and the file in the repository that holds it for the shipped kernels."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from pydantic import Field, ValidationError

from rocassay.harness.codegen.text import Use
from rocassay.harness.errors import RocassayError
from rocassay.harness.results import Model

SHORT = 16
"""Hexadecimal digits of a digest that are kept."""


class RecordError(RocassayError):
    """The record of code objects cannot be read or written."""


class Resources(Model):
    """What a code object takes of the chip."""

    vgprs: int = 0
    """Vector registers of a wave, accumulation registers included."""
    sgprs: int = 0
    """Scalar registers of a wave."""
    lds: int = 0
    """LDS of a workgroup, in bytes."""
    scratch: int = 0
    """Private memory of a lane, in bytes."""
    vgpr_spills: int = 0
    """Vector registers spilled, to memory or to accumulation registers."""
    sgpr_spills: int = 0
    """Scalar registers spilled to lanes of vector registers."""


class Code(Model):
    """One compiled launch, or why there is none."""

    id: str
    """`case#launch`."""
    op: str
    """The op whose case launches it."""
    kernel: str
    """Name of the kernel's function."""
    arch: str
    """gfx architecture."""
    fp8: str
    """FP8 flavour of the case."""
    error: str = ""
    """The compiler's message; empty for a code object that was built."""
    resources: Resources = Resources()
    """What it takes."""
    digest: str = ""
    """Of its normalised instructions, first `SHORT` hexadecimal digits."""
    mix: dict[str, int] = Field(default_factory=dict[str, int])
    """How often each mnemonic occurs."""
    uses: tuple[Use, ...] = ()
    """What its arithmetic shows of its formats."""
    unknown: tuple[str, ...] = ()
    """Mnemonics that the machine-code engine refuses, with its reasons."""
    unawaited: tuple[str, ...] = ()
    """Barriers that a wave may pass before its accesses of local memory are done, or why none could be judged."""


class Recorded(Model):
    """A code object as the repository remembers it."""

    kernel: str
    """Name of the kernel's function."""
    digest: str
    """Of its normalised instructions."""
    resources: Resources
    """What it takes."""


class Record(Model):
    """All code objects of the shipped kernels, as one release of Triton made them."""

    triton: str = ""
    """The release."""
    codes: dict[str, Recorded] = Field(default_factory=dict[str, Recorded])
    """By id."""
    mixes: dict[str, dict[str, int]] = Field(default_factory=dict[str, dict[str, int]])
    """Instruction mix by digest: many specialisations are one machine code."""


def read(path: Path) -> Record:
    """The record in a file; an empty one where there is no file, RecordError for a file that holds none."""
    if not path.is_file():
        return Record()
    try:
        return Record.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise RecordError(f"{path} is no record of code objects: {error}; restore it or run with --record") from error


def updated(before: Record, codes: Iterable[Code], triton: str, dropped: Iterable[str]) -> Record:
    """The record with these code objects in place of what it had under their ids, and without the dropped ids.

    RecordError when something of another Triton release would stay beside them.
    """
    built = [code for code in codes if not code.error]
    replaced = {code.id for code in built} | set(dropped)
    kept = {name: code for name, code in before.codes.items() if name not in replaced}
    if kept and before.triton != triton:
        raise RecordError(
            f"the record is of Triton {before.triton} and this is {triton}; record all ops, archs and flavours at once"
        )
    new = {code.id: Recorded(kernel=code.kernel, digest=code.digest, resources=code.resources) for code in built}
    mixes = {**before.mixes, **{code.digest: code.mix for code in built}}
    held = {**kept, **new}
    return Record(triton=triton, codes=held, mixes={code.digest: mixes[code.digest] for code in held.values()})


def write(path: Path, record: Record) -> None:
    """Write the record, sorted, one code object and one mix a line; RecordError when the file cannot be written."""
    codes = {name: code.model_dump(exclude_defaults=True) for name, code in record.codes.items()}
    members = {"triton": json.dumps(record.triton), "codes": _lines(codes), "mixes": _lines(record.mixes)}
    text = "{\n" + ",\n".join(f'"{name}": {value}' for name, value in members.items()) + "\n}\n"
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise RecordError(f"cannot write {path}: {error.strerror}; run from a checkout that is yours") from error


def _lines(members: Mapping[str, object]) -> str:
    rows = (f"{json.dumps(name)}: {_compact(members[name])}" for name in sorted(members))
    return "{\n" + ",\n".join(rows) + "\n}"


def _compact(member: object) -> str:
    return json.dumps(member, sort_keys=True, separators=(",", ":"))
