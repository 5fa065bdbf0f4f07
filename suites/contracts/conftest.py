"""Fixtures of the contract's tests: command lines, and a contract with a package that the tests write."""

from __future__ import annotations

import pytest

from rocassay.harness.contract import declared
from rocassay.harness.contract.declared import Contract
from rocassay.suites.contracts.trees import CONTRACT
from rocassay.suites.selftest.commandline import rocassay

__all__ = ["rocassay", "toy"]


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> Contract:
    """The contract `toy`, declared for the time of a test."""
    declared.contracts()
    monkeypatch.setitem(declared._DECLARED, CONTRACT.name, CONTRACT)
    return CONTRACT
