"""Many configurations in one night: p-values that keep the chance of any false alarm (Holm 1979)."""

from __future__ import annotations

from collections.abc import Mapping

from rocassay.harness.accuracy.errors import AccuracyError


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Adjusted p-values by configuration, in the order given.

    Rejecting where the adjusted value is at most alpha keeps the probability of one or more false alarms in the night
    at alpha or below, however the configurations depend on each other (they share machines and a nightly image).
    Raises AccuracyError for a value outside [0, 1].
    """
    for name, p in p_values.items():
        if not 0 <= p <= 1:
            raise AccuracyError(
                f"{name} has p = {p}; a p-value lies between 0 and 1, so the test that gave it is wrong"
            )
    adjusted: dict[str, float] = {}
    largest = 0.0
    for rank, name in enumerate(sorted(p_values, key=lambda name: p_values[name])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[name]))
        adjusted[name] = largest
    return {name: adjusted[name] for name in p_values}


def rejected(p_values: Mapping[str, float], alpha: float) -> tuple[str, ...]:
    """Configurations whose adjusted p-value is at most `alpha`, in the order given."""
    return tuple(name for name, p in holm(p_values).items() if p <= alpha)
