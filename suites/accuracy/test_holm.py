"""Holm's step-down over a night's configurations."""

from __future__ import annotations

import numpy as np
import pytest

from rocassay.harness.accuracy.errors import AccuracyError
from rocassay.harness.accuracy.holm import holm, rejected


def test_adjusted_values_are_those_of_the_step_down_procedure():
    found = holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005})
    assert found == pytest.approx({"a": 0.03, "b": 0.06, "c": 0.06, "d": 0.02})
    assert list(found) == ["a", "b", "c", "d"]
    assert rejected({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005}, 0.05) == ("a", "d")


def test_a_rejection_implies_all_with_smaller_values_and_none_exceeds_one():
    rng = np.random.default_rng(5)
    for _ in range(50):
        values = {str(i): float(p) for i, p in enumerate(rng.random(9) ** 4)}
        adjusted = holm(values)
        order = sorted(values, key=lambda name: values[name])
        assert [adjusted[name] for name in order] == sorted(adjusted.values())
        assert max(adjusted.values()) <= 1
        assert all(adjusted[name] >= values[name] for name in values)


def test_the_night_keeps_its_error_rate_and_sees_more_than_bonferroni():
    rng = np.random.default_rng(6)
    nights = [{str(i): float(p) for i, p in enumerate(row)} for row in rng.random((4000, 30))]
    alarms = sum(bool(rejected(night, 0.05)) for night in nights) / len(nights)
    unadjusted = sum(min(night.values()) <= 0.05 for night in nights) / len(nights)
    assert alarms == pytest.approx(0.05, abs=0.012)
    assert unadjusted > 0.7
    values = {"a": 0.01, "b": 0.02}
    assert rejected(values, 0.02) == ("a", "b"), "Bonferroni would miss b"


def test_nothing_and_nonsense():
    assert holm({}) == {}
    with pytest.raises(AccuracyError, match=r"b has p = 1\.2"):
        holm({"a": 0.5, "b": 1.2})
