"""Tightened limits as a check of a run, beside the a-priori gates and never instead of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rocassay.harness.calibration.alarms import TIGHTENED, class_of, of_cases
from rocassay.harness.calibration.calibrating import marks
from rocassay.harness.calibration.document import Calibration, Fit, load
from rocassay.harness.calibration.errors import CalibrationError
from rocassay.harness.calibration.statistics import statistics_of
from rocassay.harness.cases import Case
from rocassay.harness.engines.base import Engine
from rocassay.harness.environment import versions
from rocassay.harness.gates.verdict import Verdict
from rocassay.harness.results import Check, FalseAlarms


@dataclass(frozen=True, slots=True)
class TightenedLimits:
    """The limits of one calibration."""

    calibration: Calibration
    source: str
    """Where it was read, as the command line named it."""

    def verdict(self, case: Case, gates: Sequence[Check]) -> Verdict:
        """The statistic that goes furthest from its healthy mean, in units of what its limit allows."""
        held = class_of(self.calibration, case)
        if held is None:
            return Verdict.not_applicable(TIGHTENED, "no case of this kind was calibrated")
        limits = {key: fit for key, fit in held.fits.items() if fit.limit is not None}
        uses = {key: (_use(value, limits[key]), value) for key, value in statistics_of(gates).items() if key in limits}
        if not uses:
            return Verdict.not_applicable(TIGHTENED, "no statistic of this case has a tightened limit")
        worst = max(uses, key=lambda key: uses[key])
        use, value = uses[worst]
        fit = limits[worst]
        detail = f"{worst} is {value:.4g}; healthy cases have {fit.mean:.4g} +- {fit.sd:.2g}, at most {fit.limit:.4g}"
        reason = f"{self.calibration.alpha:g} false alarms in a run of the quick tier, by {fit.n} healthy cases"
        return Verdict(TIGHTENED, use <= 1, detail, use, 1.0, reason)

    def alarms(self, cases: Sequence[Case]) -> FalseAlarms:
        """False alarms to be expected of a run of these cases."""
        return of_cases(self.calibration, cases, self.source)


def _use(value: float, fit: Fit) -> float:
    """0 at the mean of healthy cases and 1 at the limit: a limit of t may lie below 0, where no ratio has a meaning."""
    assert fit.limit is not None
    return (value - fit.mean) / (fit.limit - fit.mean)


def limits_for(path: Path, engine: Engine, provider: str) -> TightenedLimits:
    """The limits in a file; CalibrationError unless it is of this engine, device, provider and versions."""
    held = load(path)
    theirs = marks(held.engine, held.device, held.provider, held.versions)
    described = engine.describe()
    mine = marks(engine.name, described.get("device", ""), provider, {**versions(), **described})
    for name, value in mine.items():
        if theirs[name] != value:
            raise CalibrationError(
                f"{path} is a calibration of {name} {theirs[name] or 'unknown'}, this run is of {value or 'unknown'}; "
                "make one with `rocassay calibrate` here, or leave --calibration out"
            )
    return TightenedLimits(held, str(path))
