"""One statistic over the cases of a class: its fit, and the limit that it may be held to, or why there is none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rocassay.harness.calibration.document import Fit
from rocassay.harness.calibration.draws import LEAST_SEEDS
from rocassay.harness.calibration.moments import Moments, moments, rare_mean
from rocassay.harness.calibration.statistics import statistic_named, statistics_of
from rocassay.harness.calibration.tails import Tail, tail
from rocassay.harness.results import CaseRecord

MOST_SKEW, MOST_KURTOSIS = 1.0, 4.0
"""|skewness| and excess kurtosis beyond which a sample is of more than one kind, and no limit is made of it."""


LEAST_VALUES = 20
"""Of a statistic that only some cases of a class have: with fewer not even a tail is estimated."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One statistic of a class."""

    key: str
    moments: Moments
    tail: Tail

    @property
    def refused(self) -> str | None:
        """Why no limit is made of it; None where one is."""
        found = self.moments
        if found.n < LEAST_SEEDS:
            return f"too few values: {found.n} of {LEAST_SEEDS}"
        if not self.tail.scale:
            return "constant: every case has the same value"
        if abs(found.skew) > MOST_SKEW:
            return f"skewness: {found.skew:.2g} is beyond {MOST_SKEW:g}"
        if found.kurtosis > MOST_KURTOSIS:
            return f"excess kurtosis: {found.kurtosis:.2g} is above {MOST_KURTOSIS:g}"
        return None

    def limit(self, alpha: float) -> float:
        """What a healthy case exceeds with probability `alpha` at most."""
        if statistic_named(self.key).maximum:
            return self.tail.rare(alpha)
        return rare_mean(self.moments, alpha)

    def fit(self, alpha: float) -> Fit:
        """The entry of the file, with a limit that is tighter than the a-priori one or none."""
        statistic, found, why = statistic_named(self.key), self.moments, self.refused
        limit = None if why else self.limit(alpha)
        if limit is not None and statistic.limit is not None and limit >= statistic.limit:
            why, limit = f"looser than the a-priori limit: {limit:.3g} against {statistic.limit:g}", None
        return Fit(
            n=found.n,
            mean=found.mean,
            sd=found.sd,
            skew=found.skew,
            kurtosis=found.kurtosis,
            least=found.least,
            most=found.most,
            above=self.tail.above(statistic.limit) if statistic.lies and statistic.limit else None,
            limit=limit,
            refused=why,
        )


def samples(records: Sequence[CaseRecord]) -> dict[str, Sample]:
    """Statistics by key, of those that enough cases have to say anything."""
    values: dict[str, list[float]] = {}
    for record in records:
        for key, value in statistics_of(record.checks).items():
            values.setdefault(key, []).append(value)
    return {key: Sample(key, moments(own), tail(own)) for key, own in values.items() if len(own) >= LEAST_VALUES}
