"""Every fault of the catalogue turns one of its declared checks red."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from rocassay.harness.cases import Case
from rocassay.harness.faults import Fault


@pytest.mark.rocassay_drills
def test_fault_is_seen(drill: Callable[[Fault, Case], None], fault: Fault, case: Case) -> None:
    drill(fault, case)
