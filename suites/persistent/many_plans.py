"""Random problems, their plans held to every invariant: ``python -m rocassay.suites.persistent.many_plans N``."""

from __future__ import annotations

import sys
from dataclasses import dataclass

import numpy as np

from rocassay.kernels.persistent.buffers import NAMES, Buffers
from rocassay.kernels.persistent.planner import Plan, write
from rocassay.references.persistent.plan_invariants import check_plan
from rocassay.references.persistent.plan_records import Finding, PlanBuffers
from rocassay.references.persistent.plan_runs import check_builder, check_numbers
from rocassay.suites.persistent.plans import Problem, built, random_problem

DEFAULT_PLANS = 2_000
"""Plans of the test; the full run takes 20 000."""

BUILT_TWICE_EVERY = 40
EXECUTED_EVERY = 20
EXECUTED_PAIRS = 300_000
"""Most (query row, key) pairs of a plan that is executed in float64."""


@dataclass(frozen=True, slots=True)
class Wrong:
    """A problem by its number and policy, and what is wrong with its plan."""

    seed: int
    policy: str
    finding: Finding


def judge(seed: int) -> list[Wrong]:
    """Findings of the plan of one problem; odd numbers are planned as AITER does."""
    policy = "v1.2" if seed % 2 else "exact"
    problem = random_problem(seed, policy)
    plan, buffers, rules = built(problem)
    requests = problem.requests
    findings = check_plan(requests, buffers, rules, items=len(plan.work_info))
    if seed % BUILT_TWICE_EVERY < 2:
        findings += check_builder(lambda given: _write(problem, plan, given), problem.sizes.shapes, rules)
    pairs = int((requests.q_len * requests.length).sum())
    if seed % EXECUTED_EVERY < 2 and pairs <= EXECUTED_PAIRS and not findings:
        findings += check_numbers(requests, buffers, rules, np.random.default_rng(seed))
    return [Wrong(seed, policy, finding) for finding in findings]


def run(plans: int = DEFAULT_PLANS, first: int = 0) -> list[Wrong]:
    """Everything wrong with problems `first` to `first + plans`."""
    return [wrong for seed in range(first, first + plans) for wrong in judge(seed)]


def _write(problem: Problem, plan: Plan, given: PlanBuffers) -> None:
    write(plan, Buffers(*(getattr(given, name) for name in NAMES)), policy=problem.schedule.policy)


def main() -> None:
    """Writes every finding to stderr; the exit status is 1 when there is one."""
    plans = int(sys.argv[1]) if len(sys.argv) > 1 else DEFAULT_PLANS
    wrong = run(plans)
    for entry in wrong:
        sys.stderr.write(f"problem {entry.seed} ({entry.policy}): {entry.finding}\n")
    sys.stderr.write(f"{plans} plans, {len(wrong)} findings\n")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
