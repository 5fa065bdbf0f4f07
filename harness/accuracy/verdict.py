"""What the gate says, and the error rates that it was told to keep."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from rocassay.harness.accuracy.errors import AccuracyError

CheckStatus = Literal["green", "red", "needs-confirmation", "blind", "undecided", "not applicable"]
"""What one check says."""

GateStatus = Literal["green", "red", "needs-confirmation", "blind", "refused", "undecided"]
"""What the gate says. needs-confirmation: repeat the run and judge both. undecided: the run is neither proven above nor
below the floor. blind: nothing is wrong, but what must be seen would not have been. refused: not comparable."""


@dataclass(frozen=True, slots=True)
class AccuracyCheck:
    """One property of a run."""

    name: str
    """accuracy, answered, finished, length, floor or power."""
    status: CheckStatus
    """What it says."""
    statistic: float | None = None
    """The number that was judged: a p-value unless the reason says otherwise."""
    limit: float | None = None
    """What the statistic is compared with."""
    reason: str = ""
    """Why the limit is that."""
    detail: str = ""
    """What was seen, in words."""

    @property
    def passed(self) -> bool:
        """Whether the property holds, or could not be asked for here; then the status says so."""
        return self.status in ("green", "not applicable")


@dataclass(frozen=True, slots=True)
class Levels:
    """Error rates of one check."""

    alone: float
    """Of a run that cannot be repeated."""
    screen: float
    """p below which a run is repeated."""
    confirm: float
    """p of both runs together below which they are red; bounds the false alarms, whatever `screen` is."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What the gate must see and how often it may be wrong."""

    alpha: float = 0.01
    """False alarms of the accuracy check of a run that cannot be repeated."""
    screen: float = 0.03
    """Share of good runs that are repeated; three times alpha, so that the second, strict look decides."""
    confirm: float = 1e-3
    """False alarms of the accuracy check of a run that can be repeated: 11 a year for 30 configurations a night."""
    side: float = 0.1
    """Share of these rates granted to each of the checks beside accuracy: what they are for is a collapse, which is
    far beyond any level, so that a tenth costs no power and the three together add less than a third."""
    drop: float = 0.02
    """Loss of accuracy that must be seen: what 1319 questions, a baseline of 8 runs and one new run can tell."""
    power: float = 0.9
    """Probability with which it must be seen, or the gate calls itself blind."""
    rerun: bool = True
    """Whether a run can be repeated before it is called red."""

    def __post_init__(self) -> None:
        for name in ("alpha", "screen", "confirm", "side", "drop", "power"):
            value = float(getattr(self, name))
            if not 0 < value < 1:
                raise AccuracyError(f"policy {name} = {value} is no probability or share; give one between 0 and 1")
        if self.confirm > self.screen:
            raise AccuracyError(f"confirm = {self.confirm} above screen = {self.screen} confirms nothing; lower it")

    def levels(self, share: float = 1.0) -> Levels:
        """Error rates of a check that is granted this share of them."""
        return Levels(self.alpha * share, self.screen * share, self.confirm * share)


@dataclass(frozen=True, slots=True)
class AccuracyVerdict:
    """The gate's answer to one run."""

    status: GateStatus
    """The worst of the checks, or refused."""
    reason: str
    """One sentence: what decided it."""
    checks: tuple[AccuracyCheck, ...] = ()
    """Every check."""
    drop: float = 0.0
    """The loss that the promise is about."""
    power: float | None = None
    """Probability that such a loss would have ended red; None without a baseline."""
    false_alarm: float | None = None
    """Probability that the accuracy check calls a good run red."""
    side_alarm: float | None = None
    """Bound on the same probability for the other checks against the baseline, together."""

    @property
    def green(self) -> bool:
        """Whether the run may pass."""
        return self.status == "green"

    @property
    def promise(self) -> str:
        """Power and error rates in words."""
        if self.power is None or self.false_alarm is None:
            return "without a baseline no drop is seen that stays above the floor"
        words = (
            f"a drop of {100 * self.drop:.1f} points is seen with probability {self.power:.2f}; "
            f"false alarm {self.false_alarm:.4f} per run"
        )
        return words + (f", of the checks beside accuracy at most {self.side_alarm:.4f}" if self.side_alarm else "")
