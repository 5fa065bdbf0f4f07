"""Providers: whose implementation is judged."""
# ruff: noqa: ARG002 (a provider may ignore what the contract offers)

from __future__ import annotations

import importlib
from collections.abc import Callable
from types import ModuleType
from typing import Any

from rocassay.harness.cases import Case
from rocassay.harness.ops import Op


class Provider:
    """Maps an op to a callable and calls it in the op's own terms; a provider of one's own writes `call`.

    By default everything is offered, runs everywhere and has nothing to say of itself.
    """

    name: str = ""
    """Name by which it is asked for."""
    origin: str = ""
    """What `--source` named; empty where the provider was not told where its code lies."""
    divergences: str = ""
    """Package whose ledger of known divergences applies to this provider; empty for none."""

    def declines(self, op: Op, case: Case) -> str | None:
        """Why the case is no part of what this provider claims to do, or None.

        A case that is declined is recorded as `not run` with this reason, and nothing expects it to run.
        """
        return None

    def unavailable(self, op: Op, case: Case) -> str | None:
        """Why this provider cannot run a case here that it does offer, or None.

        Such a case is recorded as `not run`, and is red where the expected-to-run matrix lists its cell.
        """
        return None

    def native(self, op: Op, case: Case) -> bool:
        """Whether the case is run by a binary of the chip, so that only a ROCm device can run it."""
        return False

    def formats(self, op: Op, case: Case) -> frozenset[str]:
        """FP8 formats that the implementation converts by instructions, which a CUDA device has to have natively."""
        return frozenset()

    def call(self, op: Op, case: Case, arguments: dict[str, Any], variant: Any, module: ModuleType | None) -> None:
        """Run the op on guarded tensors; outputs are written in place.

        `variant` holds what the dispatcher decided for the shipped kernel; `module`, if given, replaces the shipped
        launcher's module (a source fault). Others may ignore both.
        """
        raise NotImplementedError(f"provider {self.name!r} has no `call`")

    def source(self, op: Op, case: Case) -> str:
        """File and function that run the case, for the record; empty where nobody says."""
        return ""

    def versions(self) -> dict[str, str]:
        """Versions of what implements the ops, by distribution, beside those of the machine's own."""
        return {}


class Shipped(Provider):
    """The kernels of this package."""

    name = "rocassay"

    def call(self, op: Op, case: Case, arguments: dict[str, Any], variant: Any, module: ModuleType | None) -> None:
        """Call the launcher with the dispatcher's variant."""
        path, _, function = op.launcher.partition(":")
        launcher: Callable[..., None] = getattr(module or importlib.import_module(path), function)
        launcher(**arguments, variant=variant)


class TorchPeer(Provider):
    """Plain torch with the kernels' rounding points: a provider like any other."""

    name = "torch"

    def call(self, op: Op, case: Case, arguments: dict[str, Any], variant: Any, module: ModuleType | None) -> None:
        """Call the peer; it takes no variant."""
        op.peer(case, arguments)
