"""Machines that exist only in a test: schedules run dry among losses, and a cluster whose workers pass everything."""

from __future__ import annotations

import random
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from rocassay.harness.cases import Case
from rocassay.harness.cluster.driver import Gone, Node
from rocassay.harness.cluster.messages import Greeting, Job, Judged, Told
from rocassay.harness.cluster.schedule import Schedule, Worker
from rocassay.harness.environment import commit, versions
from rocassay.harness.sharding import Item
from rocassay.suites.selftest.toys import record

ANYWHERE = frozenset({"rocassay:interpreter"})
"""What a machine has that judges on the interpreter."""


@dataclass
class Fleet:
    """A schedule, and machines that a killer takes along as soon as it is at it."""

    schedule: Schedule
    killers: set[Item]
    took: Mapping[Item, int]
    """Microseconds of each."""
    chance: random.Random
    judged: Counter[Item] = field(default_factory=Counter[Item])
    blamed: Counter[Item] = field(default_factory=Counter[Item])
    deaths: int = 0
    _started: int = 0
    _queues: dict[str, deque[Item]] = field(default_factory=dict[str, deque[Item]])

    def join(self, workers: int) -> None:
        """A new machine with so many workers."""
        self._started += 1
        for number in range(workers):
            self.schedule.hire(Worker(f"{self._started}-{number}", str(self._started), ANYWHERE))

    def run(self, nodes: int, workers: int) -> None:
        """Judge until nothing is left; whoever has something may be the next to answer."""
        for _ in range(nodes):
            self.join(workers)
        while self.schedule.waiting or self.schedule.in_flight:
            for name in self.schedule.workers:
                self._queues.setdefault(name, deque()).extend(self.schedule.batch(name))
            busy = [name for name in self.schedule.workers if self._queues[name]]
            assert busy, "work is left, nobody has any, and nobody is given some"
            self._step(self.chance.choice(busy), workers)

    def _step(self, name: str, workers: int) -> None:
        item = self._queues[name].popleft()
        if item not in self.killers:
            self.schedule.judged(name, item, 1e-6 * self.took[item])
            self.judged[item] += 1
            return
        self.deaths += 1
        node = name.partition("-")[0]
        for lost in [other for other in self.schedule.workers if other.partition("-")[0] == node]:
            self.blamed.update(self.schedule.lost(lost))
        self.join(workers)


HERE = Greeting(versions(), commit(), "cpu", "host 1")
"""Of a machine with the same code as this one."""


class Pretended:
    """A cluster whose workers pass everything at once."""

    def __init__(self, nodes: Sequence[Node], *, greeting: Greeting = HERE, dying: bool = False) -> None:
        self._nodes, self._greeting, self._dying = nodes, greeting, dying
        self._answers: list[tuple[str, Sequence[Told] | Gone]] = []
        self._engine = ""
        self.hired: list[str] = []
        """Host of each worker."""

    def nodes(self) -> Sequence[Node]:
        """All of them, always."""
        return self._nodes

    def hire(self, name: str, node: Node, places: Mapping[str, int], job: Job) -> None:  # noqa: ARG002
        """Greet, or be gone."""
        assert (job.options.out, job.options.waivers, job.options.ray) == (None, (), "")
        self._engine = job.options.engine
        self.hired.append(node.host)
        self._answers.append((name, Gone("no module named triton") if self._dying else [self._greeting]))

    def give(self, name: str, items: Sequence[Item]) -> None:
        """Pass all of it."""
        passed = [(item, record(Case.parse(item[0]), engine=self._engine)) for item in items]
        self._answers.append((name, [Judged(item, one.model_dump_json(), 2**20) for item, one in passed]))

    def answers(self, seconds: float) -> Sequence[tuple[str, Sequence[Told] | Gone]]:  # noqa: ARG002
        """What was said since."""
        there, self._answers = self._answers, []
        return there

    def dismiss(self, name: str) -> None:
        """Nothing more is heard of it."""
        self._answers = [answer for answer in self._answers if answer[0] != name]
