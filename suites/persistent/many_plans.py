"""Random problems, their plans held to every invariant.

``python -m rocassay.suites.persistent.many_plans`` judges 20 000 plans of the host planners and 300 of the device's
(on the interpreter), prints how many were judged in what time, and exits with 1 when anything is wrong with one.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from rocassay.kernels.persistent.buffers import NAMES, Buffers
from rocassay.kernels.persistent.planner import Plan, write
from rocassay.references.persistent.plan_invariants import check_plan
from rocassay.references.persistent.plan_records import Finding, PlanBuffers
from rocassay.references.persistent.plan_runs import check_builder, check_numbers
from rocassay.suites.persistent.device_plans import judge_device
from rocassay.suites.persistent.plans import Problem, built, random_problem

HOST_PLANS = 20_000
DEVICE_PLANS = 300

BUILT_TWICE_EVERY = 40
EXECUTED_EVERY = 20
EXECUTED_PAIRS = 300_000
"""Most (query row, key) pairs of a plan that is executed in float64."""


@dataclass(frozen=True, slots=True)
class Wrong:
    """A problem by its number, and what is wrong with its plan."""

    seed: int
    finding: Finding


@dataclass(slots=True)
class Tally:
    """What was judged: plans by kind of judgement, and everything wrong."""

    judged: Counter[str] = field(default_factory=Counter)
    wrong: list[Wrong] = field(default_factory=list)

    def __str__(self) -> str:
        counts = ", ".join(f"{count} {what}" for what, count in self.judged.items())
        return f"{counts}: {len(self.wrong)} findings"


def judge(seed: int, judged: Counter[str]) -> list[Finding]:
    """Findings of the host's plan of one problem; odd numbers are planned as AITER does."""
    policy = "v1.2" if seed % 2 else "exact"
    problem = random_problem(seed, policy)
    plan, buffers, rules = built(problem)
    requests = problem.requests
    findings = check_plan(requests, buffers, rules, items=len(plan.work_info))
    judged.update(["plans", f"of policy {policy}", *(["with split tiles"] if len(plan.partial_map) else [])])
    if seed % BUILT_TWICE_EVERY < 2:
        findings += check_builder(lambda given: _write(problem, plan, given), problem.sizes.shapes, rules)
        judged["built twice"] += 1
    pairs = int((requests.q_len * requests.length).sum())
    if seed % EXECUTED_EVERY < 2 and pairs <= EXECUTED_PAIRS and not findings:
        findings += check_numbers(requests, buffers, rules, np.random.default_rng(seed))
        judged["executed in float64"] += 1
    return findings


def judge_device_counted(seed: int, judged: Counter[str]) -> list[Finding]:
    """Findings of the device's plan of one problem."""
    judged["plans of the device's planner"] += 1
    return judge_device(seed)


def run(plans: int, first: int = 0, judge: Callable[[int, Counter[str]], list[Finding]] = judge) -> Tally:
    """Judgement of the problems `first` to `first + plans`."""
    tally = Tally()
    for seed in range(first, first + plans):
        tally.wrong += [Wrong(seed, finding) for finding in judge(seed, tally.judged)]
    return tally


def _write(problem: Problem, plan: Plan, given: PlanBuffers) -> None:
    write(plan, Buffers(*(getattr(given, name) for name in NAMES)), policy=problem.schedule.policy)


def main() -> None:
    """The command; findings go to stderr."""
    parser = argparse.ArgumentParser(description="Hold many random persistent plans to every invariant.")
    parser.add_argument("plans", nargs="?", type=int, default=HOST_PLANS, help="plans of the host planners")
    parser.add_argument("--device", type=int, default=DEVICE_PLANS, help="plans of the device's planner, interpreted")
    wanted = parser.parse_args()
    wrong: list[Wrong] = []
    for count, how in ((wanted.plans, judge), (wanted.device, judge_device_counted)):
        start = time.perf_counter()
        tally = run(count, judge=how)
        sys.stdout.write(f"{tally} in {time.perf_counter() - start:.1f} s\n")
        wrong += tally.wrong
    for entry in wrong:
        sys.stderr.write(f"problem {entry.seed}: {entry.finding}\n")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
