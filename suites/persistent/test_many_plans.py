"""The first of the twenty thousand random plans of the host planners, and of the three hundred of the device's.

`python -m rocassay.suites.persistent.many_plans` judges all of them.
"""

from __future__ import annotations

import pytest

from rocassay.harness.faults import fault_named
from rocassay.harness.faults.fault import ChangeSource
from rocassay.harness.faults.source import mutated
from rocassay.suites.drills import persistent as drills
from rocassay.suites.persistent.device_plans import judge_device
from rocassay.suites.persistent.many_plans import DEVICE_PLANS, HOST_PLANS, judge_device_counted, run

SHARES = 2
"""Tests that the plans are dealt to, so that workers can share them."""
HOST_SHARE, DEVICE_SHARE = 1_250, 40


def test_the_command_judges_the_promised_numbers():
    assert (HOST_PLANS, DEVICE_PLANS) == (20_000, 300)


@pytest.mark.parametrize("share", range(SHARES))
def test_every_one_of_2_500_random_plans_keeps_every_invariant(share: int):
    tally = run(HOST_SHARE, first=share * HOST_SHARE)
    assert tally.wrong == []
    assert tally.judged["plans"] == HOST_SHARE
    assert tally.judged["of policy exact"] == tally.judged["of policy v1.2"] == HOST_SHARE // 2
    assert tally.judged["with split tiles"] > HOST_SHARE // 2
    assert min(tally.judged["built twice"], tally.judged["executed in float64"]) > 30


@pytest.mark.parametrize("share", range(SHARES))
def test_every_one_of_80_random_plans_of_the_device_is_the_hosts(share: int):
    tally = run(DEVICE_SHARE, first=share * DEVICE_SHARE, judge=judge_device_counted)
    assert tally.wrong == []
    assert tally.judged["plans of the device's planner"] == DEVICE_SHARE


@pytest.mark.parametrize(
    "name",
    [
        "mla-plan-tail-not-repeated",
        "mla-plan-charge-forgotten",
        "mla-plan-cut-leaves-blind-row",
        "mla-plan-page-tail-forgotten",
    ],
)
def test_random_plans_show_what_a_drill_plants_in_the_devices_planner(name: str):
    seam = fault_named(name).seams[drills.PLAN]
    assert isinstance(seam, ChangeSource)
    planner = mutated(name, seam).mla_plan
    assert any(judge_device(seed, planner) for seed in range(DEVICE_PLANS))
