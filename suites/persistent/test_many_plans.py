"""Twenty thousand random plans of the host planners, and three hundred of the device's, keep every invariant."""

from __future__ import annotations

import pytest

from rocassay.harness.faults import fault_named
from rocassay.harness.faults.fault import ChangeSource
from rocassay.harness.faults.source import mutated
from rocassay.suites.drills import persistent as drills
from rocassay.suites.persistent.device_plans import judge_device
from rocassay.suites.persistent.many_plans import DEVICE_PLANS, HOST_PLANS, judge_device_counted, run

SHARES = 8
"""Tests that the plans are dealt to, so that workers can share them."""


def test_the_shares_make_up_the_promised_numbers():
    assert (HOST_PLANS, HOST_PLANS % SHARES) == (20_000, 0)
    assert DEVICE_PLANS == 300


@pytest.mark.parametrize("share", range(SHARES))
def test_every_one_of_20_000_random_plans_keeps_every_invariant(share: int):
    each = HOST_PLANS // SHARES
    tally = run(each, first=share * each)
    assert tally.wrong == []
    assert tally.judged["plans"] == each == 2_500
    assert tally.judged["of policy exact"] == tally.judged["of policy v1.2"] == each // 2
    assert tally.judged["with split tiles"] > each // 2
    assert min(tally.judged["built twice"], tally.judged["executed in float64"]) > 100


@pytest.mark.parametrize("share", range(2))
def test_every_one_of_300_random_plans_of_the_device_is_the_hosts(share: int):
    each = DEVICE_PLANS // 2
    tally = run(each, first=share * each, judge=judge_device_counted)
    assert tally.wrong == []
    assert tally.judged["plans of the device's planner"] == each == 150


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
