"""Rounding plans: where an implementation of an op rounds, the only per-op source of tolerances."""

from __future__ import annotations

from dataclasses import dataclass

UNIT_ROUNDOFF = {
    "float32": 2.0**-24,
    "float16": 2.0**-11,
    "bfloat16": 2.0**-8,
    "e4m3": 2.0**-4,
    "e5m2": 2.0**-3,
}
"""Largest relative error of one rounding to nearest in each format (IEEE 754, OCP OFP8)."""

LOG_UNIFORM_RMS = (0.541 / 3) ** 0.5
"""rms relative error of one rounding, in units of u, for a log-uniform mantissa."""


@dataclass(frozen=True, slots=True)
class RoundingPlan:
    """Declared roundings of an op; `roundings` maps a named point to the format it rounds to."""

    roundings: tuple[tuple[str, str], ...]
    """(point, format) pairs, e.g. ("head sum", "float32"); empty for ops that only move or define bytes."""
    why: str
    """One sentence that justifies the plan."""

    def __post_init__(self) -> None:
        unknown = [name for _, name in self.roundings if name not in UNIT_ROUNDOFF]
        if unknown:
            raise ValueError(f"rounding plan names unknown formats {unknown}; known: {sorted(UNIT_ROUNDOFF)}")

    @property
    def exact(self) -> bool:
        """Whether every byte is defined, so that the exact gate applies."""
        return not self.roundings
