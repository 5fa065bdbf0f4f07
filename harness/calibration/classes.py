"""Shape classes: the cases of an op of which one distribution of each statistic is estimated.

Nothing here knows an op: a class is made of the case's own parameters. A word (a dtype, a path, a mode) counts as it
is, a number by its power of 4, so that 17 heads and 24 heads are of one class. Parameters distinguish in the order
`FIRST`, words, numbers, each as long as the op's quick tier then falls into `MOST` classes at most; `dtype` and `path`
come first because they choose the rounding plan and the kernel.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rocassay.harness.cases import Case, Value
from rocassay.harness.ops import Op

FIRST = ("dtype", "path")
"""Parameters that distinguish before all others, where an op has them."""

MOST = 6
"""Classes of an op: more would only be refused for want of seeds."""

WHOLE = "all"
"""Name of the class of an op whose cases nothing distinguishes."""


@dataclass(frozen=True, slots=True)
class ShapeClasses:
    """How an op's cases fall into classes."""

    by: tuple[str, ...]
    """Parameters that distinguish."""
    cases: dict[str, tuple[Case, ...]]
    """Cases of the quick tier by the name of their class, in the order of their ids."""


def shape_classes(op: Op, cases: Sequence[Case]) -> ShapeClasses:
    """The classes of an op's cases; an op whose bytes are all defined has one, for it has no distribution."""
    cases, by = sorted(cases, key=str), tuple[str, ...]()
    for name in () if op.plan.exact else _candidates(cases):
        finer = (*by, name)
        if len({class_name(case, finer) for case in cases}) <= MOST:
            by = finer
    found: dict[str, list[Case]] = {}
    for case in cases:
        found.setdefault(class_name(case, by), []).append(case)
    telling = tuple(name for name in by if len({_label(case, name) for case in cases}) > 1)
    return ShapeClasses(telling, {class_name(own[0], telling): tuple(own) for own in found.values()})


def class_name(case: Case, by: Iterable[str]) -> str:
    """`dtype=bf16,heads=16-63`: the class of a case of any tier."""
    return ",".join(f"{name}={_label(case, name)}" for name in by) or WHOLE


def _candidates(cases: Iterable[Case]) -> list[str]:
    """Parameters in the order in which they may distinguish."""
    values: dict[str, list[Value]] = {}
    for case in cases:
        for name, value in case.params:
            values.setdefault(name, []).append(value)
    wordless = {name: all(isinstance(value, int) for value in found) for name, found in values.items()}
    return sorted(values, key=lambda name: (FIRST.index(name) if name in FIRST else len(FIRST), wordless[name]))


def _label(case: Case, name: str) -> str:
    value = dict(case.params).get(name, "none")
    if isinstance(value, str):
        return value
    if value < 1:
        return "0" if value == 0 else "negative"
    least = 4 ** ((value.bit_length() - 1) // 2)
    return f"{least}-{4 * least - 1}"
