"""Who judges what next: pure bookkeeping, which knows neither processes nor a network.

Work is handed out in batches of about `BATCH_SECONDS`, a kernel's cases to those who are at that kernel already, and
cases that share inputs together. Whoever has more than `AHEAD_SECONDS` left is given nothing, so that little is in
flight when a machine is lost. What was in flight then is suspected of having done it: a suspect has a machine to
itself, and one that loses this, too, is to blame.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from rocassay.harness.cases import Case
from rocassay.harness.cluster.needs import Needs
from rocassay.harness.sharding import Item, estimated

BATCH_SECONDS = 2.0
"""What a batch should take: long against a message, short against a run."""

AHEAD_SECONDS = 1.0
"""Who has less than this left is given the next batch."""

MOST_IN_FLIGHT = 64
"""Cases that one worker may have been given and not answered."""

BLAMED = 2
"""Machines that a case may be on when they are lost, before it is to blame."""

Kernel = tuple[Needs, str, str, int, str]
"""What shares compiled code: needs, op, FP8 flavour, block size, fault."""


@dataclass(frozen=True, slots=True)
class Worker:
    """One place to judge."""

    name: str
    node: str
    """Machine that it is lost with."""
    offers: Needs
    """What that machine has."""


class Schedule:
    """Which work is left, who has which of it, and what each may get."""

    def __init__(
        self, work: Sequence[tuple[Case, str]], known: Mapping[Item, int], needs: Callable[[Case], Needs]
    ) -> None:
        """`work`: pairs of case and fault; `known`: recorded microseconds; `needs`: what a machine must have."""
        self._expected = estimated(work, known)
        self._needs = {(str(case), fault): needs(case) for case, fault in work}
        self._waiting = _by_kernel(work, self._needs)
        self._left: Counter[Kernel] = Counter()
        for kernel, units in self._waiting.items():
            self._left[kernel] = sum(self._expected[item] for unit in units for item in unit)
        self._given: dict[str, deque[Item]] = {}
        self._workers: dict[str, Worker] = {}
        self._at: dict[str, Kernel] = {}
        self._losses: Counter[Item] = Counter()
        self._suspects: list[Item] = []
        self._ward: str | None = None
        self._took, self._thought = 0.0, 0

    def hire(self, worker: Worker) -> None:
        """From now on the worker may be given something."""
        self._workers[worker.name] = worker
        self._given[worker.name] = deque()

    def busy(self, worker: str) -> bool:
        """Whether the worker has work that it has not answered."""
        return bool(self._given[worker])

    @property
    def workers(self) -> tuple[str, ...]:
        """Names of all who are there."""
        return tuple(self._workers)

    @property
    def in_flight(self) -> int:
        """Pieces of work that are given and not answered."""
        return sum(map(len, self._given.values()))

    @property
    def waiting(self) -> bool:
        """Whether there is work that nobody has."""
        return bool(self._waiting or self._suspects)

    def unplaced(self) -> list[Item]:
        """Work that nobody has, in the order of its ids."""
        waiting = (item for units in self._waiting.values() for unit in units for item in unit)
        return sorted([*waiting, *self._suspects])

    def needs(self, item: Item) -> Needs:
        """What a machine must have for it."""
        return self._needs[item]

    def placeable(self, offers: Iterable[Needs]) -> bool:
        """Whether one of the machines with these offers could take something that nobody has."""
        wanted = {kernel[0] for kernel in self._waiting} | {self._needs[item] for item in self._suspects}
        return any(needs <= offered for offered in offers for needs in wanted)

    def batch(self, name: str) -> list[Item]:
        """What the worker is to judge next, beside what it has; empty if it must wait, or there is nothing for it."""
        worker, given = self._workers[name], self._given[name]
        if (alone := self._quarantined(worker)) is not None:
            given.extend(alone)
            return alone
        if self._seconds(given) >= AHEAD_SECONDS or len(given) >= MOST_IN_FLIGHT:
            return []
        batch: list[Item] = []
        wanted = min(BATCH_SECONDS, self._seconds_left() / (2 * len(self._workers)))
        while not batch or self._seconds(batch) < wanted:
            if len(given) + len(batch) >= MOST_IN_FLIGHT or not (unit := self._unit(worker)):
                break
            batch += unit
        given.extend(batch)
        return batch

    def judged(self, name: str, item: Item, seconds: float) -> None:
        """The worker has answered a piece of its work, which took so long."""
        self._given[name].remove(item)
        if seconds > 0:
            self._took += seconds
            self._thought += self._expected[item]

    def lost(self, name: str) -> list[Item]:
        """The worker is gone; returns what is to blame for it. What else it had is there to be given again."""
        worker, given = self._workers.pop(name), self._given.pop(name)
        self._at.pop(name, None)
        self._losses.update(given)
        blamed = [item for item in given if self._losses[item] >= BLAMED]
        self._suspects += [item for item in given if self._losses[item] < BLAMED]
        if worker.node == self._ward:
            self._ward = None
        return blamed

    def _quarantined(self, worker: Worker) -> list[Item] | None:
        """A suspect, once nobody else on its machine has anything; None where work goes on as ever."""
        mine = [item for item in self._suspects if self._needs[item] <= worker.offers]
        if self._ward is None and mine:
            self._ward = worker.node
        if self._ward != worker.node:
            return None
        if any(self._given[other.name] for other in self._workers.values() if other.node == worker.node):
            return []
        if not mine:
            self._ward = None
            return None
        self._suspects.remove(mine[0])
        return mine[:1]

    def _unit(self, worker: Worker) -> list[Item] | None:
        """Cases that share inputs: of the kernel that the worker is at, else of the one with most left for each."""
        kernel = self._at.get(worker.name)
        if not self._waiting.get(kernel) if kernel else True:
            self._at.pop(worker.name, None)
            busy = Counter(self._at.values())
            able = [kernel for kernel in self._waiting if kernel[0] <= worker.offers]
            kernel = max(able, key=lambda one: self._left[one] / (1 + busy[one]), default=None)
        if kernel is None:
            return None
        self._at[worker.name] = kernel
        unit = self._waiting[kernel].popleft()
        self._left[kernel] -= sum(self._expected[item] for item in unit)
        if not self._waiting[kernel]:
            del self._waiting[kernel], self._left[kernel]
        return unit

    def _seconds(self, items: Iterable[Item]) -> float:
        """What they should take, by what others of this run took and were thought to."""
        return sum(self._expected[item] for item in items) * self._pace()

    def _seconds_left(self) -> float:
        return self._left.total() * self._pace()

    def _pace(self) -> float:
        """Seconds here for each microsecond that was recorded, perhaps elsewhere, or guessed."""
        return self._took / self._thought if self._thought else 1e-6


def _by_kernel(work: Sequence[tuple[Case, str]], needs: Mapping[Item, Needs]) -> dict[Kernel, deque[list[Item]]]:
    """Units of cases that share inputs, by what shares compiled code."""
    found: defaultdict[Kernel, dict[Case, list[Item]]] = defaultdict(dict)
    for case, fault, item in _items(work):
        kernel = (needs[item], case.op, case.fp8, case.block_size, fault)
        found[kernel].setdefault(replace(case, arch=""), []).append(item)
    return {kernel: deque(units.values()) for kernel, units in found.items()}


def _items(work: Iterable[tuple[Case, str]]) -> Iterator[tuple[Case, str, Item]]:
    return ((case, fault, (str(case), fault)) for case, fault in work)
