"""Trends: what runs and evaluations measured over time, and where their level stepped.

Plain data from plain data: nothing here opens a history.
"""

from __future__ import annotations

from rocassay.harness.trends.rows import (
    MEASURES,
    OVERVIEW,
    Measure,
    Point,
    Trend,
    TrendRow,
    evaluation_trends,
    kernel_trends,
    op_trends,
    trends,
)
from rocassay.harness.trends.sparkline import sparkline
from rocassay.harness.trends.steps import ALPHA, Step, find_step

__all__ = [
    "ALPHA",
    "MEASURES",
    "OVERVIEW",
    "Measure",
    "Point",
    "Step",
    "Trend",
    "TrendRow",
    "evaluation_trends",
    "find_step",
    "kernel_trends",
    "op_trends",
    "sparkline",
    "trends",
]
