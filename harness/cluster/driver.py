"""The driver of a run on a cluster: hires workers, gives them work, appends what they say, and gives up on nothing
before it is certain.

Verdicts come from the judge of each worker's process, lines are written by the controller that a run on one machine
has, too.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from rocassay.harness.cases import Case
from rocassay.harness.choice import chosen_engine, tightened_limits
from rocassay.harness.cluster.messages import Greeting, Job, Judged, Told
from rocassay.harness.cluster.needs import needs_of, offers_of, places_of
from rocassay.harness.cluster.schedule import Schedule, Worker
from rocassay.harness.controller import Controller
from rocassay.harness.environment import commit, versions
from rocassay.harness.results import CaseRecord, Status, seconds_of
from rocassay.harness.sharding import Item, durations_of
from rocassay.harness.wording import complaint

POLL_SECONDS = 1.0
"""How often new machines are looked for."""

PATIENCE_SECONDS = 60.0
"""Work whose last machine was lost waits this long for another one."""

MOST_FALSE_STARTS = 2
"""Workers of one machine that may end before they have judged anything, before it is refused."""


@dataclass(frozen=True, slots=True)
class Node:
    """A machine of the cluster."""

    id: str
    host: str
    resources: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Gone:
    """A worker that answers no more."""

    reason: str


class Cluster(Protocol):
    """Machines, and workers on them; each worker has at most one call that is open."""

    def nodes(self) -> Sequence[Node]:
        """Machines that are alive."""
        ...

    def hire(self, name: str, node: Node, places: Mapping[str, int], job: Job) -> None:
        """Start a worker, which takes one of the node's `places`, and open its first call."""
        ...

    def give(self, name: str, items: Sequence[Item]) -> None:
        """Open a call: take this on, and tell what there is to tell."""
        ...

    def answers(self, seconds: float) -> Sequence[tuple[str, Sequence[Told] | Gone]]:
        """Answers to open calls, by worker; waits so long for the first."""
        ...

    def dismiss(self, name: str) -> None:
        """End a worker, whether or not it answers."""
        ...


class Watcher(Protocol):
    """Shows how far a run is."""

    def failed(self, text: str) -> None:
        """Show a failure."""
        ...

    def done(self) -> None:
        """Count a case."""
        ...

    def say_now_and_then(self, more: str = "") -> None:
        """Say how far it is."""
        ...


class Driver:
    """One run."""

    def __init__(
        self,
        cluster: Cluster,
        controller: Controller,
        work: Sequence[tuple[Case, str]],
        watcher: Watcher,
        most: int | None = None,
    ) -> None:
        """`most`: workers at a time; by default as many as the cluster has places for."""
        options = controller.options
        self._cluster, self._controller, self._watcher = cluster, controller, watcher
        self._options = options
        self._engine = chosen_engine(options.engine).name
        self._arches = {case.arch for case, _ in work}
        known = durations_of(options.durations, self._engine, options.provider)
        self._schedule = Schedule(work, known, lambda case: needs_of(self._engine, options.provider, case.arch))
        self._most = len(work) if most is None else min(most, len(work))
        # Files lie on this machine, and what they say is applied here, but for the limits.
        there = replace(options, engine=self._engine, out=None, durations="", calibration="", waivers=(), ray="")
        self._job = Job(replace(there, resume=False, shard=""), tightened_limits(options))
        self._hired: dict[str, Worker] = {}
        self._greetings: dict[str, Greeting] = {}
        self._asked: set[str] = set()
        self._false_starts: Counter[str] = Counter()
        self._refused: dict[str, str] = {}
        self._started = 0
        self._placeable_at = self._looked_at = float("-inf")
        self._lost = False

    def __call__(self) -> None:
        """Judge everything that the machines can, and say of the rest that it was not run."""
        try:
            while not self._controller.broken:
                self._look_around()
                self._feed()
                if self._over():
                    break
                for name, answer in self._cluster.answers(POLL_SECONDS):
                    self._asked.discard(name)
                    self._heard(name, answer)
                self._watcher.say_now_and_then(f", {len(self._schedule.workers)} of {len(self._hired)} workers ready")
        finally:
            for name in self._hired:
                self._dismiss(name)
        for item in self._schedule.unplaced():
            self._record(item, Status.NOT_RUN, self._why_nowhere(item))

    def _look_around(self) -> None:
        """Hire on machines that have places left for what is left."""
        now = time.monotonic()
        if now - self._looked_at < POLL_SECONDS:
            return
        self._looked_at = now
        for node in self._cluster.nodes():
            places = places_of(node.resources, self._engine, self._options.provider, self._arches)
            if node.id not in self._refused and places and self._schedule.placeable([offers_of(node.resources)]):
                self._hire_on(node, places)

    def _hire_on(self, node: Node, places: Mapping[str, int]) -> None:
        here = sum(worker.node == node.id for worker in self._hired.values())
        for _ in range(here, max(places.values())):
            if len(self._hired) >= self._most:
                return
            self._started += 1
            name = f"{node.host}-{self._started}"
            self._hired[name] = Worker(name, node.id, offers_of(node.resources))
            self._asked.add(name)
            self._cluster.hire(name, node, places, self._job)

    def _feed(self) -> None:
        """Give everybody who has answered what is next."""
        for name in self._schedule.workers:
            if name in self._asked:
                continue
            batch = self._schedule.batch(name)
            if batch or self._schedule.busy(name):
                self._ask(name, batch)

    def _ask(self, name: str, batch: Sequence[Item]) -> None:
        self._asked.add(name)
        self._cluster.give(name, batch)

    def _over(self) -> bool:
        """Whether nothing is in flight or can be placed: where a machine was lost, for a while."""
        if self._schedule.in_flight:
            return False
        if not self._schedule.waiting:
            return True
        now = time.monotonic()
        if self._schedule.placeable([worker.offers for worker in self._hired.values()]):
            self._placeable_at = now
            return False
        return not self._lost or now - self._placeable_at > PATIENCE_SECONDS

    def _heard(self, name: str, answer: Sequence[Told] | Gone) -> None:
        if name not in self._hired:
            return
        if isinstance(answer, Gone):
            self._gone(name, answer.reason)
            return
        for message in answer:
            if isinstance(message, Greeting):
                self._greeted(name, message)
            elif isinstance(message, Judged):
                self._judged(name, message)
            else:
                self._schedule.judged(name, message.item, 0.0)
                self._record(message.item, message.status, message.reason, self._greetings[name])
        if name in self._hired and name not in self._greetings:
            self._ask(name, ())

    def _greeted(self, name: str, greeting: Greeting) -> None:
        """Let a worker begin, unless it would judge by other code than this."""
        if why := _other_code(greeting):
            self._dismiss(name)
            self._refused[self._hired.pop(name).node] = why
            return
        if name not in self._greetings:
            self._schedule.hire(self._hired[name])
        self._greetings[name] = greeting

    def _judged(self, name: str, message: Judged) -> None:
        record = self._controller.take(message.record)
        self._controller.needs(self._greetings[name].process, message.resident)
        self._schedule.judged(name, message.item, seconds_of(record))
        self._show(record)

    def _gone(self, name: str, reason: str) -> None:
        worker = self._hired.pop(name)
        self._dismiss(name)
        greeting = self._greetings.pop(name, None)
        if greeting is None:
            self._false_starts[worker.node] += 1
            if self._false_starts[worker.node] >= MOST_FALSE_STARTS:
                self._refused[worker.node] = f"worker {name}: {reason}"
            return
        self._lost = True
        for item in self._schedule.lost(name):
            said = f"its worker was lost with it twice, the second time with nothing else on the machine: {reason}"
            self._record(item, Status.CRASHED, said, greeting)

    def _dismiss(self, name: str) -> None:
        self._asked.discard(name)
        self._cluster.dismiss(name)

    def _record(self, item: Item, status: Status, reason: str, judge: Greeting | None = None) -> None:
        """Append the record of work that nobody came to the end of; `judge`: where it was."""
        case, fault = item
        seen = {"versions": judge.versions, "device": judge.device, "commit": judge.commit} if judge else {}
        record = self._controller.unjudged(Case.parse(case), fault, status, reason, **seen)
        self._show(self._controller.take(record.model_dump_json()))

    def _show(self, record: CaseRecord) -> None:
        if words := complaint(record, self._options):
            self._watcher.failed(words)
        self._watcher.done()

    def _why_nowhere(self, item: Item) -> str:
        needs = " and ".join(sorted(self._schedule.needs(item)))
        refused = "".join(f"; refused: {why}" for why in dict.fromkeys(self._refused.values()))
        there = "is left that offers" if self._lost else "offers"
        return f"no node of the cluster {there} {needs}{refused}"


def _other_code(greeting: Greeting) -> str:
    """Why verdicts of a judging process would be those of another rocassay; empty where they would not."""
    pairs = (("version", versions().get("rocassay", ""), greeting.versions.get("rocassay", "")),)
    for what, ours, theirs in (*pairs, ("commit", commit(), greeting.commit)):
        if ours != theirs and ours and theirs:
            return f"{greeting.process.partition(' ')[0]} has {what} {theirs} of rocassay, not {ours}"
    return ""


def summary_of(nodes: Sequence[Node], engine: str, provider: str, arches: set[str]) -> str:
    """What executes, for the first line of a run, such as `cluster: 16 places for rocassay:gfx942`."""
    total: Counter[str] = Counter()
    for node in nodes:
        total.update(places_of(node.resources, engine, provider, arches))
    return "cluster: " + (", ".join(f"{count} places for {name}" for name, count in sorted(total.items())) or "none")
