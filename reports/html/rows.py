r"""Case records as compact JSON: whatever repeats is stored once, so that a row is little more than its numbers.

`{"strings", "stories", "groups", "shapes", "rows", "group_fields", "varying", "check_fields", "lean"}`. A row is
`[group, usage, milliseconds, digest, seed, *values]`, where a usage of -1 stands for exact, -2 for differs and
null for nothing judged. A group is an index into `stories` and one into `strings` for each of the `varying` fields;
a story holds an index into `strings` for each of the other fields, and for `checks` a list of indices into `shapes`.
A string may hold holes, which are filled while the fields are read in the order of `group_fields`:
`\x01` the row's next value, `\x02` its digest, `\x03` its case id, `\x04` the check's statistic.
`passed` is 1, 0, or 2 where the check was not applicable.
The statistic of a shape is null, a number, or `true`: then it is the row's next value, before the shape's texts.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from rocassay.harness.results import GREEN, CaseRecord, Check
from rocassay.reports.html.heat import storage_words
from rocassay.reports.html.measures import Use, worst_use
from rocassay.reports.html.words import LONGEST, number, pairs, plain, shortened

GROUP_FIELDS = (
    *("op", "arch", "fp8", "block_size", "provider", "engine", "tier", "fault", "status", "recipe", "params"),
    *(
        "case",
        "reason",
        "repro",
        "first_wrong",
        "place",
        "counts",
        "timings",
        "launches",
        "device",
        "commit",
        "versions",
    ),
    "checks",
)
CHECK_FIELDS = ("name", "kind", "passed", "limit", "statistic", "reason", "detail", "coordinate", "metrics")

VARYING = ("arch", "fp8", "block_size", "params")
"""Fields in which cases with otherwise equal words differ."""

EVERYTHING_UP_TO = 5000
"""Records beyond which digests, counts, metrics, phase timings and most numbers in the details of green cases stay in
the results file, to keep the page small."""

LEFT_OUT = "…"
"""Stands for such a number."""

_NUMBER = re.compile(r"(?:(?<=[ =(\[,:])-)?(?<![\w.])(?:0x[0-9a-f]+|\d+(?:\.\d+)?)(?![A-Za-z_])")
_Item = TypeVar("_Item", bound=Hashable)
_Value = int | float | str | None


@dataclass(slots=True)
class _Table(Generic[_Item]):
    """Distinct items in order of appearance."""

    index: dict[_Item, int] = field(default_factory=dict[_Item, int])

    def add(self, item: _Item) -> int:
        return self.index.setdefault(item, len(self.index))

    def items(self) -> list[_Item]:
        return list(self.index)


@dataclass(slots=True)
class _Strings:
    """Distinct texts as the page shows them."""

    table: _Table[str] = field(default_factory=_Table[str])
    of: dict[str, int] = field(default_factory=dict[str, int])
    """Texts that were met before and hold no number: most of them."""

    def plainly(self, text: str) -> int:
        """Index of a text that is stored whole."""
        return self.of.setdefault(text, self.table.add(plain(shortened(text, LONGEST))))


@dataclass(slots=True)
class _Encoder:
    strings: _Strings = field(default_factory=_Strings)
    shapes: _Table[tuple[object, ...]] = field(default_factory=_Table[tuple[object, ...]])
    stories: _Table[tuple[object, ...]] = field(default_factory=_Table[tuple[object, ...]])
    groups: _Table[tuple[object, ...]] = field(default_factory=_Table[tuple[object, ...]])
    everything: bool = True
    """Whether green cases keep what nothing judges."""

    def row(self, record: CaseRecord) -> list[_Value]:
        values: list[_Value] = []
        lean = not self.everything and record.status in GREEN
        cut = _Cutter(self.strings, record, values)
        fields = dict(zip(GROUP_FIELDS, (*self._axes(record, cut), *self._story(record, cut, lean=lean)), strict=False))
        checks = tuple(self._shape(check, cut, lean=lean) for check in record.checks)
        varying = [fields.pop(name) for name in VARYING]
        group = self.groups.add((self.stories.add((*fields.values(), checks)), *varying))
        spent = _short(1e3 * sum(record.timings.values()), 2)
        digest = "" if lean else plain(shortened(record.digest, LONGEST))
        return [group, _used(worst_use([record])), spent, digest or 0, record.seed, *values]

    def _axes(self, record: CaseRecord, cut: _Cutter) -> list[int]:
        axes = (record.op, record.arch, record.fp8, str(record.block_size), record.provider, record.engine)
        words = [self._word(text) for text in (*axes, record.tier, record.fault or "", record.status.value)]
        words += [self._word(record.recipe), cut(pairs(record.params))]
        return [*words, self._word("") if _derived_case(record) == record.case else self._word(record.case)]

    def _story(self, record: CaseRecord, cut: _Cutter, *, lean: bool) -> list[int]:
        first_wrong = str(record.first_wrong) if record.first_wrong else ""
        timings = {} if lean else {name: number(1e3 * seconds, 2) for name, seconds in record.timings.items()}
        counts = {} if lean else record.counts
        told = [cut(record.reason), cut(record.repro), cut(first_wrong), cut(storage_words(record))]
        told += [cut(pairs(counts, "{} {}", " · ")), cut(pairs(timings, "{} {} ms", " · "))]
        constant = ("\n".join(record.launches), record.device, record.commit, pairs(record.versions, "{} {}", " · "))
        return told + [self._word(text) for text in constant]

    def _shape(self, check: Check, cut: _Cutter, *, lean: bool) -> int:
        statistic = None if check.statistic is None else _short(check.statistic, 3)
        in_row = bool(statistic)
        if in_row:
            cut.values.append(statistic)
        lean = lean and check.passed
        metrics = {} if lean else check.metrics
        coordinate = str(check.coordinate) if check.coordinate else ""
        shown = pairs({name: number(value, 4) for name, value in metrics.items()}, "{} {}", " · ")
        texts = (cut(check.detail, statistic, lean=lean), cut(coordinate), cut(shown))
        limit = None if check.limit is None else _short(check.limit, 6)
        name, kind, reason = (self._word(text) for text in (check.name, check.kind, check.reason))
        return self.shapes.add(
            (name, kind, 2 if not check.applicable else int(check.passed), limit, in_row or statistic, reason, *texts)
        )

    def _word(self, text: str) -> int:
        return self.strings.of.get(text) or self.strings.plainly(text)


@dataclass(slots=True)
class _Cutter:
    """Cuts a text into a pattern, which is shared, and the numbers in it, which belong to the row."""

    strings: _Strings
    record: CaseRecord
    values: list[_Value]

    def __call__(self, text: str, statistic: _Value = None, *, lean: bool = False) -> int:
        known = self.strings.of.get(text)
        if known is not None:
            return known
        if not any(character.isdigit() for character in text):
            return self.strings.plainly(text)
        shown = plain(shortened(text, LONGEST))
        for hole, part in (("\x03", plain(self.record.case)), ("\x02", plain(self.record.digest))):
            shown = shown.replace(part, hole) if len(part) > 7 else shown
        return self.strings.table.add(_NUMBER.sub(lambda match: self._hole(match[0], statistic, lean), shown))

    def _hole(self, token: str, statistic: _Value, lean: bool) -> str:
        if statistic is not None and token == str(statistic):
            return "\x04"
        if lean:
            return LEFT_OUT
        self.values.append(_canonical(token))
        return "\x01"


def encode(records: Sequence[CaseRecord]) -> dict[str, object]:
    """Records in file order as the structure that the module describes."""
    encoder = _Encoder(everything=len(records) <= EVERYTHING_UP_TO)
    encoder.strings.plainly("")
    rows = [encoder.row(record) for record in records]
    return {
        "group_fields": GROUP_FIELDS,
        "varying": VARYING,
        "check_fields": CHECK_FIELDS,
        "lean": not encoder.everything,
        "strings": encoder.strings.table.items(),
        "shapes": encoder.shapes.items(),
        "stories": encoder.stories.items(),
        "groups": encoder.groups.items(),
        "rows": rows,
    }


def script_json(value: object) -> str:
    """JSON that can stand inside a script element: no `<`, no NaN, no infinity."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c")


def _derived_case(record: CaseRecord) -> str:
    axes = f"{record.op}:{record.arch}:{record.fp8}:bs{record.block_size}"
    return f"{axes}:{pairs(record.params)}:{record.recipe}:s{record.seed}"


def _used(use: Use) -> _Value:
    """The share, or what stands for it: None nothing judged, -1 exact, -2 differs."""
    words = {"–": None, "exact": -1, "differs": -2}
    return words[use.word] if use.word in words or use.share is None else _short(use.share, 3)


def _short(value: float, digits: int) -> int | float | str:
    if not math.isfinite(value):
        return number(value)
    rounded = value if value == int(value) else float(f"{value:.{digits}g}")
    return int(rounded) if rounded == int(rounded) and abs(rounded) < 1e15 else rounded


def _canonical(token: str) -> int | float | str:
    """The token as a number where every JSON reader prints that number back as the token."""
    if "x" in token or token.endswith(".0") or len(token) > 15:
        return token
    value = float(token) if "." in token else int(token)
    return value if str(value) == token and (not value or abs(value) > 1e-4) else token
