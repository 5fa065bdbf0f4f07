"""Whitened error: how large is the deviation from the golden in units of the roundings the plan declares.

The golden pass gives, for every element, its value, the standard deviation `sigma` of a first-order rounding
model and a worst-case `bound`. Nothing here is fitted to a kernel; the limits follow from tail probabilities
and are one set for every op, shape, arch and flavour.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch

from rocassay.harness.gates.verdict import Deviation, Verdict, same_shape

MAX_Z = 7.1
"""Gaussian tail 1.3e-12 an element: 8e-4 false alarms in a run of 6.6e8 elements."""

WORST_ROW_T = 12.0
"""Tail falling six-fold per unit from 1.9e-4 at 5: 9e-4 false alarms in 20 000 cases of 64 rows."""

ROW_MINIMUM = 64
"""Shorter rows have no Gaussian mean of squares: the z and bound gates judge them alone."""

KURTOSIS_MINUS_ONE = 1.08
"""Kurtosis 2.08 of a rounding with log-uniform mantissa, minus 1."""

PEER_RMS = (0.9, 1.15)
"""Range of the peer's rms z in which the rounding model is accepted."""

PEER_MINIMUM = 128
"""Elements below which the peer's rms z says nothing."""

PEER_SPREADS = 5.0
"""Standard deviations of the rms itself, 1 / sqrt(2n) for n independent elements, granted on top: 3e-7 a side."""

MOST_SHARED = 1.0
"""Parts of a row's variance that its errors can have in common."""

USES = (0.3, 1.0, 10.0, 100.0, 1e4, 1e6)
"""Levels of a picture of errors, in units of the limit."""


@dataclass(frozen=True, slots=True)
class Whitened:
    """Golden and error model of a floating-point output [..., columns]; every index but the last names a row."""

    golden: torch.Tensor
    """float64 values."""
    sigma: torch.Tensor
    """float64 standard deviation of the planned roundings; 0 where the result is exact."""
    bound: torch.Tensor
    """float64 largest error of any implementation that follows the plan."""
    visible: torch.Tensor
    """bool: elements that the contract defines."""
    outside: tuple[float, ...] = ()
    """Values that an undefined element may hold besides what it held before; empty: anything."""
    initial: torch.Tensor | None = None
    """The output before the run, for elements that must stay untouched when `outside` is given."""
    share: torch.Tensor | None = None
    """float64, one a row: sum of squared variance shares of errors that a row's elements have in common."""
    peer_sigma: torch.Tensor | None = None
    """float64 like sigma, for the torch peer, which sums in one known order; None: sigma holds for it, too."""
    model_holds: bool = True
    """False for degenerate inputs (coherent roundings): then the bound alone is gated."""

    def __post_init__(self) -> None:
        """ValueError for shares above 1: they would widen a row's spread, and so blind the gates, without limit."""
        if self.share is not None and bool((self.share - MOST_SHARED > torch.finfo(torch.float32).eps).any()):
            raise ValueError(
                f"the model shares {float(self.share.nan_to_num(0).max()):.3g} of a row's variance among its "
                f"elements, and there is no more than {MOST_SHARED:g}; leave elements out whose error is known"
            )

    def judge(self, output: str, actual: torch.Tensor) -> list[Verdict]:
        """Positions of non-finite values, hard bound, largest |z|, worst-row t."""
        same_shape(output, actual, self.golden)
        found = actual.double()
        verdicts = [self._nonfinite(output, found), self._bound(output, found)]
        if self.model_holds:
            z = self.z(found)
            verdicts += [self._largest_z(output, z), self._worst_row(output, z)]
        return verdicts

    def of_peer(self) -> Whitened:
        """What the torch peer is held to."""
        return self if self.peer_sigma is None else replace(self, sigma=self.peer_sigma, peer_sigma=None)

    def z(self, found: torch.Tensor) -> torch.Tensor:
        """(found - golden) / sigma on visible finite elements, 0 elsewhere; +-inf where an exact result is off."""
        finite = self.visible & self.golden.isfinite()
        error = torch.where(finite, found - torch.where(finite, self.golden, 0.0), 0.0)
        z = error / self.sigma
        return torch.where(error == 0, 0.0, torch.nan_to_num(z, nan=math.inf, posinf=math.inf, neginf=-math.inf))

    def rms_z(self, found: torch.Tensor) -> float:
        """Root mean square of z over the elements that round at all; NaN when there is none."""
        rounds = self.visible & (self.sigma > 0)
        return float(self.z(found.double())[rounds].square().mean().sqrt())

    def peer_limits(self) -> tuple[float, float]:
        """Range of the peer's rms z in which the model is accepted, given how many errors are independent.

        The mean square of all z is the rows' mean, weighted by their elements; a row's own variance is that of the
        worst-row statistic. Without common errors this is 1 / sqrt(2n) for n elements.
        """
        count = (self.visible & (self.sigma > 0)).sum(dim=-1).double()
        weight = count / count.sum().clamp(min=1)
        spread = PEER_SPREADS / 2 * float((weight.square() * self._row_variance(count)).sum().sqrt())
        return PEER_RMS[0] - spread, PEER_RMS[1] + spread

    def _row_variance(self, count: torch.Tensor) -> torch.Tensor:
        """Of a row's mean square of z over `count` elements."""
        shared = torch.zeros_like(count) if self.share is None else self.share.reshape(count.shape)
        # A row in which nothing rounds has no errors that could be shared: 0 / 0.
        return KURTOSIS_MINUS_ONE * torch.where(count > 0, shared, 0.0) + 2 / count.clamp(min=1)

    def _nonfinite(self, output: str, found: torch.Tensor) -> Verdict:
        wanted = torch.where(self.visible, self.golden, 0.0)
        same = torch.where(wanted.isfinite(), found.isfinite(), (found == wanted) | (found.isnan() & wanted.isnan()))
        wrong = self.visible & ~same
        if self.outside and self.initial is not None:
            allowed = (found == self.initial.double()) | (found.isnan() & self.initial.isnan())
            for value in self.outside:
                allowed |= found == value
            wrong |= ~self.visible & ~allowed
        reason = "non-finite values stand exactly where the golden has them, undefined places hold nothing new"
        count = int(wrong.sum())
        if not count:
            return Verdict("nonfinite", True, "positions of non-finite values agree", 0.0, 0.0, reason)
        index = _first(wrong)
        place = "visible" if bool(self.visible[index]) else "undefined"
        pair = f"found {float(found[index])}, golden {float(wanted[index])}"
        detail = f"{count} places wrong; the first ({place}): {pair}"
        return Verdict("nonfinite", False, detail, float(count), 0.0, reason, output, index)

    def deviation(self, actual: torch.Tensor) -> Deviation:
        """The larger use of a limit by each element: of the hard bound, or of |z|; infinite where it must be finite."""
        found = actual.double()
        use = self._use_of_bound(found)
        if self.model_holds:
            use = torch.maximum(use, self.z(found).abs() / MAX_Z)
        use = torch.where(self.visible & (self.golden.isfinite() != found.isfinite()), math.inf, use)
        return Deviation(use, self.visible, "largest error in units of its limit", USES, 1.0)

    def _use_of_bound(self, found: torch.Tensor) -> torch.Tensor:
        finite = self.visible & self.golden.isfinite() & found.isfinite()
        error = torch.where(finite, (found - self.golden).abs(), 0.0)
        return torch.where(error == 0, 0.0, torch.nan_to_num(error / self.bound, nan=math.inf, posinf=math.inf))

    def _bound(self, output: str, found: torch.Tensor) -> Verdict:
        use = self._use_of_bound(found)
        reason = "worst case of the declared roundings: no implementation of the plan can exceed it"
        return self._extreme("bound", output, use, found, 1.0, reason, "error is {:.3g} of the hard bound")

    def _largest_z(self, output: str, z: torch.Tensor) -> Verdict:
        reason = f"Gaussian tail 1.3e-12 an element at {MAX_Z}"
        return self._extreme("max-z", output, z.abs(), None, MAX_Z, reason, "largest |z| is {:.3g}", z)

    def _extreme(
        self,
        name: str,
        output: str,
        use: torch.Tensor,
        found: torch.Tensor | None,
        limit: float,
        reason: str,
        form: str,
        z: torch.Tensor | None = None,
    ) -> Verdict:
        if not use.numel():
            return Verdict(name, True, "no element", 0.0, limit, reason)
        worst = float(use.max())
        wrong = use > limit
        detail = form.format(worst)
        metrics = {} if z is None else self._metrics(z)
        if not bool(wrong.any()):
            return Verdict(name, True, detail, worst, limit, reason, metrics=metrics)
        index = _first(wrong)
        if found is not None:
            detail += f"; first beyond: found {float(found[index]):.9g}, golden {float(self.golden[index]):.9g}"
        return Verdict(name, False, detail, worst, limit, reason, output, index, metrics)

    def _metrics(self, z: torch.Tensor) -> dict[str, float]:
        rounds = z[self.visible & (self.sigma > 0)]
        if not rounds.numel() or not bool(rounds.isfinite().all()):
            return {}
        rms = float(rounds.square().mean().sqrt())
        return {"rms_z": rms, "mean_z": float(rounds.mean()), "elements": float(rounds.numel())}

    def _worst_row(self, output: str, z: torch.Tensor) -> Verdict:
        rounds = self.visible & (self.sigma > 0)
        count = rounds.sum(dim=-1)
        long = count >= ROW_MINIMUM
        reason = f"tail of 9e-4 over 20 000 cases of 64 rows at {WORST_ROW_T}; rows of {ROW_MINIMUM} elements or more"
        if not bool(long.any()):
            return Verdict("worst-row", True, f"no row has {ROW_MINIMUM} rounded elements", 0.0, WORST_ROW_T, reason)
        mean_square = torch.where(rounds, z, 0.0).square().sum(dim=-1) / count.clamp(min=1)
        t = (mean_square - 1) / self._row_variance(count.double()).sqrt()
        t = torch.where(long, t, -math.inf)
        worst = float(t.max())
        row = _first(t == worst)
        name = ", ".join(map(str, row))
        detail = f"worst row {name}: t = {worst:.3g}, rms z = {float(mean_square[row]) ** 0.5:.3g}"
        metrics = {"rows": float(long.sum())}
        if worst <= WORST_ROW_T:
            return Verdict("worst-row", True, detail, worst, WORST_ROW_T, reason, metrics=metrics)
        column = int(z[row].abs().argmax())
        return Verdict("worst-row", False, detail, worst, WORST_ROW_T, reason, output, (*row, column), metrics)


def _first(mask: torch.Tensor) -> tuple[int, ...]:
    return tuple(int(i) for i in mask.nonzero()[0])
