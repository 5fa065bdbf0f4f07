"""Shards: a selection cut into parts that take about as long as each other, the same parts on every machine.

Cases that differ only in their architecture share inputs and golden, so they stay together. These groups are dealt out
from the longest to the shortest, each to the part that has least to do: the longest part is then at most 4/3 of the
best possible. Durations are whole microseconds, so that sums do not depend on their order.
"""

from __future__ import annotations

import hashlib
import heapq
import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rocassay.harness.cases import Case
from rocassay.harness.options import RESULTS, BadOption, Options
from rocassay.harness.results import Shard, read, seconds_of

Item = tuple[str, str]
"""Case id and injected fault, which is empty for a healthy case."""

UNKNOWN = 1_000_000
"""Microseconds of everything while nothing at all is known: parts of equal numbers."""

_NUMBERS = re.compile(r"(\d+)/(\d+)")


@dataclass(frozen=True, slots=True)
class Plan:
    """A selection that was cut, and which part of it is ours."""

    shard: Shard
    """Ours, and the digest of the whole plan."""
    mine: frozenset[Item]
    """What is ours."""
    estimates: tuple[int, ...]
    """Microseconds that each part is expected to take."""


def numbers_of(text: str) -> tuple[int, int]:
    """`2/5` as (2, 5); BadOption for anything but a number from 1 to the count."""
    found = _NUMBERS.fullmatch(text.strip())
    number, count = (int(found.group(1)), int(found.group(2))) if found else (0, 0)
    if not 1 <= number <= count:
        raise BadOption(f"shard {text!r} is none; write I/N with I from 1 to N, such as 2/5")
    return number, count


def plan_of(options: Options) -> Plan | None:
    """The part that these options ask for; None for a whole run.

    Raises BadOption where there are fewer groups of cases than parts, or for durations that cannot be read.
    """
    if not options.shard:
        return None
    from rocassay.harness.choice import chosen_engine

    work = work_of(options)
    known = durations_of(options.durations, chosen_engine(options.engine).name, options.provider)
    number, count = numbers_of(options.shard)
    parts, estimates = cut(work, known, count)
    healthy = sum(not fault for _, fault in work)
    shard = Shard(number=number, count=count, plan=_digest(parts), selected=healthy)
    return Plan(shard, frozenset(parts[number - 1]), tuple(estimates))


def work_of(options: Options) -> list[tuple[Case, str]]:
    """Everything that a run with these options selects: pairs of case and injected fault, whatever its shard."""
    from rocassay.harness.drills import select_drills
    from rocassay.harness.ops import select_cases

    cases = select_cases(options.tier_name, options.selection(), options.seed_range) if options.judges else []
    drills = select_drills(options) if options.drills else []
    return [(case, "") for case in cases] + [(case, fault.name) for fault, case in drills]


def durations_of(where: str, engine: str, provider: str) -> dict[Item, int]:
    """Microseconds by item that a results file or a history recorded for this engine and provider; empty for no file.

    BadOption for a file that does not exist.
    """
    if not where:
        return {}
    path = Path(where)
    if path.is_dir():
        path = path / RESULTS
    if "://" not in where and not path.exists():
        raise BadOption(f"there are no durations at {path}; leave --durations out, and equal numbers of cases are cut")
    if path.suffix == ".jsonl":
        mine = [r for r in read(path).records if (r.engine, r.provider) == (engine, provider) and r.timings]
        return {(r.case, r.fault or ""): round(1e6 * seconds_of(r)) for r in mine}
    from rocassay.harness.accuracy.history import History

    return History(where, make=False).kernel_runs.durations(engine, provider)


def cut(work: Sequence[tuple[Case, str]], known: Mapping[Item, int], count: int) -> tuple[list[list[Item]], list[int]]:
    """The parts of (case, fault) pairs, and microseconds that each is expected to take.

    Groups in the order of falling durations, equal ones in the order of their ids, each to the part with least to do,
    of equal ones to the first. BadOption when a part would be empty.
    """
    groups: dict[str, list[Item]] = {}
    for case, fault in work:
        groups.setdefault(f"{fault}@{replace(case, arch='')}", []).append((str(case), fault))
    if len(groups) < count:
        raise BadOption(
            f"{count} shards of {len(groups)} groups of cases with inputs of their own would leave some empty; "
            f"use at most {len(groups)}"
        )
    expected = estimated(work, known)
    weights = {name: sum(expected[item] for item in items) for name, items in groups.items()}
    parts: list[list[Item]] = [[] for _ in range(count)]
    least = [(0, part) for part in range(count)]
    for name in sorted(groups, key=lambda name: (-weights[name], name)):
        load, part = heapq.heappop(least)
        parts[part] += groups[name]
        heapq.heappush(least, (load + weights[name], part))
    return parts, [sum(expected[item] for item in part) for part in parts]


def estimated(work: Iterable[tuple[Case, str]], known: Mapping[Item, int]) -> dict[Item, int]:
    """Microseconds of each item: its own; of an unknown drill its case's; else the op's median, or that of all cases.

    Nothing takes no time at all: a part of many quick cases is work too.
    """
    by_op: dict[str, list[int]] = {}
    healthy = {item: took for item, took in known.items() if not item[1]} or known
    for (case, _), took in healthy.items():
        by_op.setdefault(case.partition(":")[0], []).append(took)
    usual = {op: statistics.median_low(found) for op, found in by_op.items()}
    overall = statistics.median_low(healthy.values()) if healthy else UNKNOWN
    found: dict[Item, int] = {}
    for case, fault in work:
        name = str(case)
        took = known.get((name, fault), known.get((name, "")))
        found[name, fault] = max(1, usual.get(case.op, overall) if took is None else took)
    return found


def _digest(parts: Sequence[Sequence[Item]]) -> str:
    text = "\n\n".join("\n".join(f"{fault}@{case}" for case, fault in sorted(part)) for part in parts)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
