"""Columns of declared dtypes, and columns that the data bring along."""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeAlias, TypeVar

import pandas as pd

Dtype: TypeAlias = Literal["string", "bool", "int64", "Int64", "float64", "datetime64[us, UTC]"]
"""`string` and `Int64` may miss values; a missing `float64` is NaN, a missing time NaT."""

Item = TypeVar("Item")

Column: TypeAlias = "tuple[Dtype, Callable[[Item], Any]]"
"""Dtype, and the value of an item."""


def table(
    items: Sequence[Item],
    columns: Mapping[str, Column[Item]],
    brought: Mapping[str, Callable[[Item], Mapping[str, Any]]] | None = None,
) -> pd.DataFrame:
    """A row per item; the columns first, then those that the data bring along.

    brought: prefix -> what of an item becomes columns of that prefix, unless they are there already.
    """
    made = {name: _series([value(item) for item in items], dtype) for name, (dtype, value) in columns.items()}
    for prefix, mapping in (brought or {}).items():
        made |= _brought(prefix, [mapping(item) for item in items], made.keys())
    return pd.DataFrame(made)


def _brought(prefix: str, rows: Sequence[Mapping[str, Any]], taken: Any) -> dict[str, pd.Series]:
    """A column for every name that occurs, in order of appearance, but for those that are columns already."""
    names = dict.fromkeys(name for row in rows for name in row)
    wanted = {name: f"{prefix}.{name}" for name in names if f"{prefix}.{name}" not in taken}
    values = {name: [row.get(name) for row in rows] for name in wanted}
    return {column: _series(values[name], _dtype_of(values[name])) for name, column in wanted.items()}


def _dtype_of(values: Sequence[Any]) -> Dtype:
    """Whole numbers, numbers, or words: of mixed kinds, words."""
    kinds = {type(value) for value in values if value is not None}
    if kinds == {int}:
        return "Int64"
    return "float64" if kinds <= {int, float} else "string"


def _series(values: Sequence[Any], dtype: Dtype) -> pd.Series:
    if dtype == "datetime64[us, UTC]":
        moments = pd.to_datetime(pd.Series(values, dtype="string"), utc=True, errors="coerce", format="ISO8601")
        return moments.astype(dtype)
    if dtype == "string":
        return pd.Series([None if value is None else str(value) for value in values], dtype="string")
    return pd.Series(values, dtype=dtype)
