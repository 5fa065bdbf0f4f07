"""Every selected case of every registered op, judged by its gates and probes."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from rocassay.harness.cases import Case


@pytest.mark.rocassay_cases
def test_case_meets_its_contract(assay: Callable[[Case], None], case: Case) -> None:
    assay(case)
