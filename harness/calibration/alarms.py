"""How many false alarms a calibration expects of a run: what each case's class says, summed."""

from __future__ import annotations

from collections.abc import Iterable

from rocassay.harness.calibration.classes import class_name
from rocassay.harness.calibration.document import Calibration, ClassFits
from rocassay.harness.calibration.statistics import statistic_named
from rocassay.harness.cases import Case
from rocassay.harness.results import FalseAlarms

TIGHTENED = "calibration"
"""The check of the tightened limits, as it is called in a record."""


def of_quick_tier(calibration: Calibration, source: str) -> FalseAlarms:
    """Of the cases that were calibrated, once each."""
    found = [(one, one.runs) for op in calibration.ops.values() for one in op.classes.values()]
    return _summed(calibration, found, source)


def of_cases(calibration: Calibration, cases: Iterable[Case], source: str) -> FalseAlarms:
    """Of a run of these cases; those of no class that was calibrated are left out, and are not among its cases."""
    found = (class_of(calibration, case) for case in cases)
    return _summed(calibration, [(one, 1) for one in found if one is not None], source)


def class_of(calibration: Calibration, case: Case) -> ClassFits | None:
    """The fits of the class that a case falls into; None when none of its kind was drawn."""
    op = calibration.ops.get(case.op)
    return op.classes.get(class_name(case, op.by)) if op else None


def _summed(calibration: Calibration, classes: Iterable[tuple[ClassFits, int]], source: str) -> FalseAlarms:
    """(class, cases of it) pairs; the tightened limits are all given the same share of alpha."""
    expected: dict[str, float] = {}
    cases = 0
    for one, count in classes:
        cases += count
        for key, fit in one.fits.items():
            check = statistic_named(key).check
            if fit.above is not None:
                expected[check] = expected.get(check, 0.0) + count * fit.above
            if fit.limit is not None:
                share = count * calibration.alpha / calibration.case_gates
                expected[TIGHTENED] = expected.get(TIGHTENED, 0.0) + share
    return FalseAlarms(source=source, cases=cases, a_run=expected, runs_per_year=calibration.runs_per_year)
