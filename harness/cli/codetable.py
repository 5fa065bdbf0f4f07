"""Code objects as a table for people, and how they differ from the record in a few lines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from rich.box import SIMPLE_HEAD
from rich.table import Column, Table
from rich.text import Text

from rocassay.harness.codegen.coverage import mnemonics_of
from rocassay.harness.codegen.records import Code, Recorded, Resources
from rocassay.harness.codegen.text import by_class, matrix_instructions
from rocassay.harness.codegen.verdicts import Change, Comparison, moves

SHOWN_MOVES = 24
"""Mnemonics of a diff that are printed; the rest is counted."""

SHOWN_NAMES = 6
"""Ids in a list that are printed; the rest is counted."""

DIGITS = 8
"""Hexadecimal digits of a digest in the table."""


def code_table(codes: Sequence[Code], wrong: Mapping[str, list[str]], comparison: Comparison) -> Table:
    """One row a kernel, chip and flavour: its variants together, the most that any of them takes."""
    table = Table(
        Column("kernel", overflow="fold"), Column("arch", no_wrap=True), Column("fp8", no_wrap=True),
        *(Column(name, justify="right", no_wrap=True) for name in ("variants", "VGPR", "LDS")),
        Column("spills v/s/B", justify="right", no_wrap=True),
        Column("matrix instructions", overflow="fold"), Column("engine", no_wrap=True),
        Column("digest", no_wrap=True), Column("record", no_wrap=True),
        box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0),
        title="the most that any variant takes; spills: vector registers, scalar registers, bytes of scratch a lane",
    )  # fmt: skip
    groups: dict[tuple[str, str, str], list[Code]] = {}
    for code in codes:
        groups.setdefault((code.kernel, code.arch, code.fp8), []).append(code)
    for key in sorted(groups):
        red = any(code.id in wrong for code in groups[key])
        table.add_row(*_cells(key, groups[key], comparison), style="red" if red else None)
    return table


def _cells(key: tuple[str, str, str], group: list[Code], comparison: Comparison) -> list[Text]:
    built = [code for code in group if not code.error]
    taken = [code.resources for code in built] or [Resources()]
    spills = [max(getattr(r, name) for r in taken) for name in ("vgpr_spills", "sgpr_spills", "scratch")]
    refused = mnemonics_of(refusal for code in built for refusal in code.unknown)
    words = [
        *key,
        str(len(group)),
        _span([r.vgprs for r in taken]),
        str(max(r.lds for r in taken)),
        "/".join(map(str, spills)) if any(spills) else "–",
        " ".join(dict.fromkeys(name for code in built for name in matrix_instructions(code.mix))) or "–",
        f"lacks {len(refused)}" if refused else "knows",
        _digests(built),
        _state(group, comparison),
    ]
    return [Text(word) for word in words]


def _span(values: list[int]) -> str:
    low, high = min(values), max(values)
    return str(low) if low == high else f"{low}–{high}"


def _digests(built: list[Code]) -> str:
    found = list(dict.fromkeys(code.digest for code in built))
    more = f" +{len(found) - 1}" if len(found) > 1 else ""
    return f"{found[0][:DIGITS]}{more}" if found else "–"


def _state(group: list[Code], comparison: Comparison) -> str:
    states = Counter(comparison.states.get(code.id, "") for code in group)
    if failed := sum(bool(code.error) for code in group):
        return f"{failed} FAILED"
    words = [f"{states[name]} {name}" for name in ("changed", "new") if states[name]]
    return ", ".join(words) or ("same" if states["same"] else "–")


def difference_lines(comparison: Comparison, triton: str) -> Iterator[str]:
    """Where the code objects differ from the record, kernel by kernel, with what moved in the instruction mix."""
    if comparison.triton and comparison.triton != triton:
        yield (
            f"the record is of Triton {comparison.triton}, this is {triton}: other machine code is to be expected, "
            "what follows is for information"
        )
    changes: dict[tuple[str, str, str], list[Change]] = {}
    for change in comparison.changed:
        changes.setdefault((change.code.kernel, change.code.arch, change.code.fp8), []).append(change)
    moved = moves(comparison.changed)
    for key in sorted(changes):
        yield f"changed: {' '.join(key)}: {_what(changes[key])}"
        yield f"  {_some(moved[key], SHOWN_MOVES) or 'the mix is the same: other operands or another order'}"
    if comparison.new:
        yield f"not recorded: {_some([code.id for code in comparison.new], SHOWN_NAMES)}; --record keeps them"
    if comparison.gone:
        yield f"recorded and gone: {_some(list(comparison.gone), SHOWN_NAMES)}; --record forgets them"
    yield from (f"budget too large: {words}; lower it" for words in comparison.slack)


def _what(changes: list[Change]) -> str:
    """How many code objects, by class of instruction, and what they take now where that moved."""
    before, after = Counter[str](), Counter[str]()
    for change in changes:
        before.update(by_class(change.mix))
        after.update(by_class(change.code.mix))
    classes = [f"{name} {before[name]} → {after[name]}" for name in after | before if before[name] != after[name]]
    taken = dict.fromkeys(words for change in changes for words in _taken(change.before, change.code.resources))
    return "; ".join([f"{len(changes)} code objects", *classes, *taken])


def _taken(before: Recorded, after: Resources) -> Iterator[str]:
    old, new = before.resources.model_dump(), after.model_dump()
    yield from (f"{name} {old[name]} → {new[name]}" for name in new if old[name] != new[name])


def _some(words: Sequence[str], most: int) -> str:
    more = f", and {len(words) - most} more" if len(words) > most else ""
    return ", ".join(words[:most]) + more
