"""Cases that hypothesis draws: the values that an op declares, mixed anew, and its free integers.

Plain values stand in front, since hypothesis shrinks every choice towards the first one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from hypothesis import strategies as st

from rocassay.harness.cases import Case, Value
from rocassay.harness.ops import Op

MOST_SEEDS = 2**16
"""Seeds that are drawn; the plainest is 0."""


def cases_of(op: Op, declared: Sequence[Case]) -> st.SearchStrategy[Case]:
    """Any mixture of the axes of `declared` cases, free parameters redrawn, that the op accepts."""
    forms: dict[frozenset[str], list[Case]] = {}
    for case in declared:
        forms.setdefault(frozenset(name for name, _ in case.params), []).append(case)
    return st.one_of([_of_form(op, cases) for cases in forms.values()]).filter(op.accepts)


def _of_form(op: Op, cases: Sequence[Case]) -> st.SearchStrategy[Case]:
    """Cases that have the parameters of `cases`, in the order of the first one."""
    names = [name for name, _ in cases[0].params]
    values = [_values([*(case[n] for case in cases), *op.words.get(n, ())], op.free.get(n)) for n in names]
    return st.builds(
        Case,
        op=st.just(op.name),
        params=st.tuples(*values).map(lambda drawn: tuple(zip(names, drawn, strict=True))),
        recipe=_one_of(case.recipe for case in cases),
        block_size=_one_of(sorted({case.block_size for case in cases})),
        fp8=_one_of(case.fp8 for case in cases),
        arch=_one_of(case.arch for case in cases),
        seed=st.integers(0, MOST_SEEDS),
    )


def _one_of(values: Iterable[Value]) -> st.SearchStrategy[Value]:
    return st.sampled_from(list(dict.fromkeys(values)))


def _values(declared: Sequence[Value], free: tuple[int, int] | None) -> st.SearchStrategy[Value]:
    """Declared values, numbers first; with a free range any number in it, and what is declared beside it."""
    numbers = sorted({value for value in declared if isinstance(value, int)})
    words = [value for value in declared if isinstance(value, str)]
    if free is None:
        return _one_of([*numbers, *words])
    low, high = free
    inside = _numbers(low, high, [number for number in numbers if low <= number <= high])
    beside = [number for number in numbers if not low <= number <= high]
    return st.one_of(inside, _one_of([*beside, *words])) if beside or words else inside


def _numbers(low: int, high: int, edges: Sequence[int]) -> st.SearchStrategy[int]:
    """Any number, or as often the declared one next below it: those are the edges of tiles and pages.

    Both are drawn on one scale, so that shrinking passes from one to the other.
    """

    def chosen(drawn: tuple[bool, int]) -> int:
        at_edge, number = drawn
        return max((edge for edge in edges if edge <= number), default=number) if at_edge else number

    return st.tuples(st.booleans(), st.integers(low, high)).map(chosen)
