"""Fixtures of the self-tests: a registry that forgets, and a warm process that runs command lines."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from rocassay.harness import ops, prepared
from rocassay.harness.faults import fault
from rocassay.suites.selftest.children import Children
from rocassay.suites.selftest.commandline import rocassay

__all__ = ["children", "registry", "rocassay"]


@pytest.fixture
def registry() -> Iterator[None]:
    """Ops, matrices and faults that a test registers are gone afterwards."""
    ops.discover()
    stores: list[Any] = [ops._REGISTRY, fault._CATALOGUE]
    kept, matrices = [dict(store) for store in stores], list(ops._MATRICES)
    yield
    for store, before in zip(stores, kept, strict=True):
        store.clear()
        store.update(before)
    ops._MATRICES[:] = matrices
    prepared.forget()


@pytest.fixture(scope="session")
def children(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Children]:
    """Command lines with the toy suite installed."""
    started = Children(tmp_path_factory.mktemp("children"))
    yield started
    started.close()
