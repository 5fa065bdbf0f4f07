"""What every gate and probe returns."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from rocassay.harness.results import Check


def same_shape(output: str, actual: torch.Tensor, golden: torch.Tensor) -> None:
    """ValueError unless both have one shape: broadcasting would compare what does not correspond."""
    if actual.shape != golden.shape:
        raise ValueError(f"golden of {output} has shape {tuple(golden.shape)}, the output {tuple(actual.shape)}")


@dataclass(frozen=True, slots=True)
class Deviation:
    """How wrong each element, or each byte, of an output is: what a picture is drawn from."""

    values: torch.Tensor
    """float64; 0 where it is right, infinite where no number tells how wrong it is."""
    judged: torch.Tensor
    """bool, same shape: what the contract defines."""
    measure: str
    """What a value says, in words."""
    levels: tuple[float, ...]
    """Largest value of each level of the picture."""
    limit: float
    """Values above it are wrong."""
    shares: bool = False
    """Whether a cell of the picture shows the mean of its values, a share, instead of the largest one."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Result of one gate or probe; `index` is the first wrong element of `output`."""

    name: str
    passed: bool
    detail: str
    statistic: float | None = None
    limit: float | None = None
    reason: str = ""
    output: str | None = None
    index: tuple[int, ...] | None = None
    metrics: dict[str, float] = field(default_factory=dict[str, float])
    applicable: bool = True

    @classmethod
    def not_applicable(cls, name: str, why: str, reason: str = "") -> Verdict:
        """A property that cannot be checked here, said so instead of passed in silence."""
        return cls(name, True, f"not applicable: {why}", reason=reason, applicable=False)

    def check(self, kind: str) -> Check:
        """The verdict as an entry of a record, without its coordinate."""
        return Check(
            name=self.name,
            kind="gate" if kind == "gate" else "probe",
            passed=self.passed,
            applicable=self.applicable,
            statistic=self.statistic,
            limit=self.limit,
            reason=self.reason,
            detail=self.detail,
            metrics=self.metrics,
        )
