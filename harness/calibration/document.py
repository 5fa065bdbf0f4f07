"""The file of a calibration: versioned, sorted, one statistic a line, and closed against what it does not know."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from pydantic import Field, ValidationError

from rocassay.harness.calibration.draws import LEAST_SEEDS
from rocassay.harness.calibration.errors import CalibrationError
from rocassay.harness.results import Model

CALIBRATION_VERSION = 1
"""Raised whenever a reader of the old form could misread a new file."""

DIGITS = 6
"""Significant digits that the file keeps, so that two machines write the same text."""

FILE = "calibration.json"
"""Its name in the folder of the records that it was made of."""

COMPUTES = ("rocassay", "torch", "triton")
"""Packages whose versions a calibration holds for."""


class Fit(Model):
    """One statistic of the cases of a class."""

    n: int
    """Cases that have it."""
    mean: float
    sd: float
    skew: float
    kurtosis: float
    """Excess."""
    least: float
    most: float
    above: float | None = None
    """Estimated probability that a healthy case exceeds the a-priori limit; None where it cannot, or there is none."""
    limit: float | None = None
    """Tightened limit; None where it is refused."""
    refused: str | None = None
    """Why it is refused: the kind of reason, a colon, the numbers."""


class ClassFits(Model):
    """The cases of a class, judged."""

    cases: tuple[str, ...]
    """Cases of the quick tier that it stands for, without op, architecture and seed."""
    runs: int
    """How many those are in a run, on all architectures."""
    draws: int = Field(ge=LEAST_SEEDS)
    """Cases judged, each with a seed of its own."""
    elements: int
    """Rounded elements judged."""
    rows: int
    """Rows judged as rows."""
    fits: dict[str, Fit] = Field(default_factory=dict)
    """By statistic; empty where every byte is defined."""


class OpCalibration(Model):
    """The cases of an op, judged."""

    by: tuple[str, ...]
    """Parameters that tell its classes apart."""
    draws: int
    """Cases judged, each with a seed of its own."""
    not_passed: dict[str, int] = Field(default_factory=dict)
    """How many were not green, by status."""
    reds: dict[str, int] = Field(default_factory=dict)
    """How many had this check red."""
    at_most: float
    """Probability of a red case, at most, with 95 % confidence (Clopper and Pearson 1934)."""
    classes: dict[str, ClassFits]
    """By name."""


class Calibration(Model):
    """What the statistics of the gates are on healthy kernels."""

    schema_version: int = CALIBRATION_VERSION
    """Version of this form."""
    made: str
    """UTC, ISO 8601."""
    engine: str
    """What executed."""
    device: str
    """On which device."""
    provider: str
    """Whose kernels."""
    versions: dict[str, str]
    """Of everything that computed."""
    commit: str
    """Commit of the checkout."""
    first_seed: int
    """Least seed that was drawn."""
    draws: int
    """Cases judged, each with a seed of its own."""
    runs_per_year: int = Field(ge=1)
    """Runs that false alarms of a year are counted for."""
    alpha: float
    """Probability of one false alarm of the tightened limits in a run of the quick tier."""
    case_gates: int
    """Over how many of them that is split: tightened limits times the cases they judge."""
    ops: dict[str, OpCalibration]
    """By name."""

    @property
    def red(self) -> int:
        """Draws that were not green."""
        return sum(sum(op.not_passed.values()) for op in self.ops.values())

    @property
    def runs(self) -> int:
        """Cases of a run of the quick tier."""
        return sum(one.runs for op in self.ops.values() for one in op.classes.values())


def save(calibration: Calibration, path: Path) -> None:
    """Write it whole or not at all; CalibrationError where that is impossible."""
    draft = path.with_name(path.name + ".new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.write_text("".join(_text(_plain(calibration.model_dump(mode="json", exclude_none=True)))) + "\n")
        draft.replace(path)
    except OSError as error:
        raise CalibrationError(f"cannot write {path}: {error.strerror}; choose another --out") from error


def load(path: Path) -> Calibration:
    """The calibration in a file, or in the one of that name of a folder.

    CalibrationError for a file that is missing, of another version, or holds anything that is not known.
    """
    path = path / FILE if path.is_dir() else path
    try:
        held = json.loads(path.read_text())
    except OSError as error:
        raise CalibrationError(f"cannot read {path}: {error.strerror}; `rocassay calibrate` writes one") from error
    except ValueError as error:
        raise CalibrationError(f"{path} is no calibration: {error}; make it anew with `rocassay calibrate`") from error
    version = cast("dict[str, Any]", held).get("schema_version") if isinstance(held, dict) else None
    if version != CALIBRATION_VERSION:
        raise CalibrationError(
            f"{path} is a calibration of version {version}, this rocassay reads {CALIBRATION_VERSION}; "
            "make it anew with `rocassay calibrate`"
        )
    try:
        return Calibration.model_validate(held)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise CalibrationError(
            f"{path} is no calibration: {place}: {first['msg']}; make it anew with `rocassay calibrate`"
        ) from error


def _plain(value: Any) -> Any:
    """Floats of `DIGITS` digits: the last bits are the machine's."""
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}")
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in cast("dict[str, Any]", value).items()}
    return value


def _text(value: Any, depth: int = 0) -> Iterator[str]:
    """JSON with sorted names, in which what holds no further object takes one line."""
    held = cast("dict[str, Any]", value) if isinstance(value, dict) else {}
    if not any(isinstance(one, dict) for one in held.values()):
        yield json.dumps(value, sort_keys=True)
        return
    pad, before = " " * depth, "{\n"
    for name in sorted(held):
        yield f"{before}{pad} {json.dumps(name)}: "
        yield from _text(held[name], depth + 1)
        before = ",\n"
    yield f"\n{pad}}}"
