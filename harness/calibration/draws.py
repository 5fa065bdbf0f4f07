"""Draws: which case is judged with which seed.

A class's draws take its cases in turn and a new seed each, so that no two of them share an input, be it between two
architectures. Their seeds start far above those that a run may use: limits are never tightened on the numbers that they
judge.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rocassay.harness.calibration.classes import ShapeClasses
from rocassay.harness.calibration.errors import CalibrationError
from rocassay.harness.cases import Case

FIRST_SEED = 1_000_000
"""Runs count their seeds from 0."""

LEAST_SEEDS = 200
"""Of a class. With fewer the skewness of a normal sample is not known to 0.17, and nothing of a tail."""

LEAST_DRAWS = 1000
"""Of an op, over all its classes."""


def draws(classes: Iterable[ShapeClasses], seeds: int = LEAST_SEEDS, first_seed: int = FIRST_SEED) -> list[Case]:
    """Cases with their seeds: of each class `seeds` or more, so many that an op has `LEAST_DRAWS` and each case one.

    CalibrationError for fewer than `LEAST_SEEDS` seeds, or for seeds that a run may judge with.
    """
    if seeds < LEAST_SEEDS:
        raise CalibrationError(f"{seeds} seeds a class say nothing of a tail; use --seeds {LEAST_SEEDS} or more")
    if first_seed < FIRST_SEED:
        raise CalibrationError(
            f"seeds from {first_seed} on may be those of a run, and limits must not be made of what they judge; "
            f"use --first-seed {FIRST_SEED} or more"
        )
    return [
        draw for one in classes for own in one.cases.values() for draw in _of(own, len(one.cases), seeds, first_seed)
    ]


def _of(cases: tuple[Case, ...], classes: int, seeds: int, first_seed: int) -> Iterator[Case]:
    count = max(seeds, -(-LEAST_DRAWS // classes), len(cases))
    return (cases[number % len(cases)].with_seed(first_seed + number) for number in range(count))
