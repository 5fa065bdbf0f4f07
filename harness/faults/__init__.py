"""Injectable faults: the catalogue and the ways in."""

from __future__ import annotations

from rocassay.harness.faults.fault import (
    ChangeDispatch,
    ChangeInputs,
    ChangeSource,
    ChangeVariant,
    Fault,
    UnknownFault,
    catalogue,
    fault_named,
    register,
)

__all__ = [
    "ChangeDispatch",
    "ChangeInputs",
    "ChangeSource",
    "ChangeVariant",
    "Fault",
    "UnknownFault",
    "catalogue",
    "fault_named",
    "register",
]
