"""What a host planner promises of a plan, as the rules that the plan is checked by."""

from __future__ import annotations

from rocassay.kernels.persistent.planner import Plan, Schedule
from rocassay.references.persistent.plan_records import Rules


def promised(schedule: Schedule, plan: Plan, *, partial_rows: int, row_elements: int) -> Rules:
    """Rules of a schedule's plan; partial_rows: rows of the partial buffer; row_elements: elements of each."""
    return Rules(
        workers=schedule.workers,
        used_workers=plan.used_workers,
        tile_tokens=schedule.tile_tokens,
        granularity=schedule.granularity,
        overhead=schedule.overhead,
        page_size=schedule.page_size,
        causal=schedule.causal,
        partial_rows=partial_rows,
        row_elements=row_elements,
        exact=schedule.policy == "exact",
    )
