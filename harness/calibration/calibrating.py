"""A calibration as a pure function of the records of its draws."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rocassay.harness.calibration.classes import class_name, shape_classes
from rocassay.harness.calibration.document import COMPUTES, Calibration, ClassFits, OpCalibration
from rocassay.harness.calibration.draws import LEAST_DRAWS, LEAST_SEEDS
from rocassay.harness.calibration.errors import CalibrationError
from rocassay.harness.calibration.moments import most_often
from rocassay.harness.calibration.samples import Sample, samples
from rocassay.harness.cases import Case
from rocassay.harness.ops import op_named
from rocassay.harness.results import GREEN, Assay, CaseRecord, RunHeader

ALPHA = 1e-3
"""False alarms of all tightened limits in a run of the quick tier."""


def calibration(assay: Assay, runs_per_year: int) -> Calibration:
    """What the records of healthy draws say.

    CalibrationError for records of different machines or versions, and for ops or classes with too few of them.
    """
    header = _one_machine(assay)
    by_op: dict[str, list[CaseRecord]] = {}
    for record in assay.cases:
        by_op.setdefault(record.op, []).append(record)
    classes = {name: _classes(name, by_op[name]) for name in sorted(by_op)}
    gates = sum(one.gates for _, of_op in classes.values() for one in of_op.values())
    return Calibration(
        made=header.started,
        engine=header.engine,
        device=header.device,
        provider=header.provider,
        versions=header.versions,
        commit=header.commit,
        first_seed=min(record.seed for record in assay.cases),
        draws=len(assay.cases),
        runs_per_year=runs_per_year,
        alpha=ALPHA,
        case_gates=gates,
        ops={name: _op(by, of_op, ALPHA / max(gates, 1)) for name, (by, of_op) in classes.items()},
    )


def _one_machine(assay: Assay) -> RunHeader:
    """The first header, if all later ones are of the same engine, device, provider and versions."""
    if not assay.headers or not assay.cases:
        raise CalibrationError(f"{assay.path} holds no draw; `rocassay calibrate` makes them")
    first, first_marks = assay.headers[0], _marks(assay.headers[0])
    for header in assay.headers[1:]:
        for name, value in _marks(header).items():
            if value != first_marks[name]:
                raise CalibrationError(
                    f"{assay.path} holds draws of {name} {first_marks[name]} and of {value}, which are no one sample; "
                    "choose another --out"
                )
    return first


def _marks(header: RunHeader) -> dict[str, str]:
    """What has to be equal for records to be of one distribution."""
    return marks(header.engine, header.device, header.provider, header.versions)


def marks(engine: str, device: str, provider: str, versions: Mapping[str, str]) -> dict[str, str]:
    """What a calibration holds for, by name."""
    computes = {name: versions.get(name, "none") for name in COMPUTES}
    return {"engine": engine, "device": device, "provider": provider, **computes}


@dataclass(frozen=True, slots=True)
class _Class:
    """The records of a class, and the statistics that they have."""

    cases: tuple[Case, ...]
    """Those of the quick tier that were drawn."""
    records: Sequence[CaseRecord]
    samples: Mapping[str, Sample]

    @property
    def gates(self) -> int:
        """Tightened limits times the cases that each judges in a run."""
        return len(self.cases) * sum(sample.refused is None for sample in self.samples.values())

    def entry(self, alpha: float) -> ClassFits:
        """The class as the file has it."""
        return ClassFits(
            cases=tuple(sorted({_short(case) for case in self.cases})),
            runs=len(self.cases),
            draws=len(self.records),
            elements=_judged(self.records, "max-z", "elements"),
            rows=_judged(self.records, "worst-row", "rows"),
            fits={key: sample.fit(alpha) for key, sample in self.samples.items()},
        )


def _classes(op: str, records: Sequence[CaseRecord]) -> tuple[tuple[str, ...], dict[str, _Class]]:
    """Parameters that distinguish, and the classes of an op by name; CalibrationError for too few draws."""
    drawn = [Case.parse(record.case) for record in records]
    shapes = shape_classes(op_named(op), list({case.with_seed(0) for case in drawn}))
    held: dict[str, list[CaseRecord]] = {}
    for case, record in zip(drawn, records, strict=True):
        held.setdefault(class_name(case, shapes.by), []).append(record)
    for name, own in held.items():
        _require(len(own), LEAST_SEEDS, f"class {name} of {op}")
    _require(len(records), LEAST_DRAWS, op)
    found = {name: _Class(shapes.cases[name], held[name], samples(held[name])) for name in sorted(held)}
    return shapes.by, found


def _require(count: int, least: int, what: str) -> None:
    if count < least:
        raise CalibrationError(
            f"{what} has {count} draws, a calibration needs {least}; complete it with `rocassay calibrate --resume`"
        )


def _judged(records: Sequence[CaseRecord], check: str, what: str) -> int:
    found = (one for record in records for one in record.checks if one.name == check)
    return int(sum(one.metrics.get(what, 0) for one in found))


def _short(case: Case) -> str:
    """The case without what every entry of the class has: op, architecture and seed."""
    return ":".join(str(case).split(":")[2:-1])


def _op(by: tuple[str, ...], classes: Mapping[str, _Class], alpha: float) -> OpCalibration:
    records = [record for one in classes.values() for record in one.records]
    red = [record for record in records if record.status not in GREEN]
    return OpCalibration(
        by=by,
        draws=len(records),
        not_passed=dict(Counter(record.status.value for record in red)),
        reds=dict(Counter(name for record in red for name in {one.name for one in record.checks if not one.passed})),
        at_most=most_often(len(red), len(records)),
        classes={name: one.entry(alpha) for name, one in classes.items()},
    )
