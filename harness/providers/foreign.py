"""Providers of another project's kernels: adapters that bind an op's operands to foreign signatures."""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from triton.runtime.autotuner import Autotuner

from rocassay.harness.cases import Case
from rocassay.harness.fp8 import format_of
from rocassay.harness.ops import Op
from rocassay.harness.probes.host_sync import known_on_the_host
from rocassay.harness.probes.replay import OutsideGraphs
from rocassay.harness.providers.functions import EVERYTHING, Offer, Offering
from rocassay.harness.providers.signatures import Conventions, Signatures
from rocassay.harness.providers.trees import Project, Tree, tree_of
from rocassay.harness.providers.world import World


@dataclass(frozen=True, slots=True)
class Call:
    """One call of an op: what an adapter binds."""

    case: Case
    """The case that is judged."""
    arguments: Mapping[str, Any]
    """Tensors and scalars by the op's own names."""
    world: World
    """Where the foreign code lives."""
    signatures: Signatures | None = None
    """What the release's functions take; None where nobody asks."""
    installed: bool = False
    """Whether the functions are those of what is installed, and not the world's."""

    def __getitem__(self, name: str) -> Any:
        """An argument of the op."""
        return self.arguments[name]

    def get(self, name: str) -> Any:
        """An argument that an op may leave out, or None."""
        return self.arguments.get(name)

    def function(self, path: str) -> Callable[..., Any]:
        """A function of the foreign tree, as `module:name`."""
        module, _, name = path.partition(":")
        return getattr(self.world.module(module), name)

    def perform(self, conventions: Conventions, **values: Any) -> Any:
        """Make the first of the calls that the release takes, with values by the names of the call's arguments.

        Values of which that call passes nothing are left out. What the foreign function returns is returned.
        """
        assert self.signatures is not None, "a call outside of its provider"
        found = self.signatures.accepted(conventions)
        assert found.function is not None
        args, keywords = found.call.arranged(values)
        return self._imported(found.path, found.function.path)(*args, **keywords)

    def _imported(self, path: str, defined: str) -> Callable[..., Any]:
        """The installed function by the path that a caller imports, or the world's by where it is defined."""
        if not self.installed:
            return self.function(defined)
        module, _, name = path.partition(":")
        return getattr(importlib.import_module(module), name)

    def dense(self, name: str) -> torch.Tensor:
        """An input, contiguous: for functions that are only made for such."""
        return self.arguments[name].contiguous()

    @contextlib.contextmanager
    def staged(self, name: str) -> Generator[torch.Tensor, None, None]:
        """An output as a contiguous tensor, whose content becomes the output's own at the end."""
        output: torch.Tensor = self.arguments[name]
        if output.is_contiguous():
            yield output
            return
        stage = output.contiguous()
        yield stage
        output.copy_(stage)

    def host(self, name: str) -> NDArray[np.int64]:
        """An integer input of which the foreign function's caller has a copy on the host, so that none waits for it.

        A function that takes such runs outside of graphs: while one is captured, OutsideGraphs says so.
        """
        if self.arguments[name].is_cuda and torch.cuda.is_current_stream_capturing():
            raise OutsideGraphs(f"its caller knows {name} on the host, anew for every step: it runs outside of graphs")
        with known_on_the_host():
            return np.array(self.arguments[name].tolist(), dtype=np.int64)

    def fp8(self, name: str) -> torch.Tensor:
        """An argument whose bytes are codes, as a tensor of the case's FP8 format."""
        return self.arguments[name].view(fp8_dtype(self.case.fp8))


def fp8_dtype(name: str) -> torch.dtype:
    """Torch's dtype of an FP8 format."""
    return getattr(torch, f"float8_{format_of(name).name}")


@dataclass(frozen=True, slots=True)
class Adapter:
    """How one op is done by a foreign function."""

    source: str
    """The function, as `module:name`."""
    bind: Callable[[Call], None]
    """Calls it with the op's operands, and writes into the op's outputs in place."""
    offer: Offer = EVERYTHING
    """Which cases the foreign function is made for."""
    native: bool = False
    """Whether it is a binary of the chip, which only a ROCm device runs."""
    formats: Callable[[Case], frozenset[str]] = lambda _: frozenset()
    """FP8 formats that its kernels convert by instructions."""
    uses: Callable[[Case], Sequence[Conventions]] = lambda _: ()
    """The foreign functions that a case needs, each by the calls that its releases take."""
    barred: Sequence[tuple[Conventions, str]] = ()
    """Calls that no release takes for which this adapter is made, each with the reason that is shown."""


class Foreign(Offering[Adapter]):
    """A provider of another project's kernels, out of an installed distribution, a tree or a wheel."""

    def __init__(
        self,
        project: Project,
        source: str,
        adapters: Mapping[str, Sequence[Adapter]],
        world: Callable[[Tree, str, str], World],
        divergences: str = "",
    ) -> None:
        """`world`: tree, arch and FP8 format -> the world in which the adapters' functions live.

        Raises BadSource when `source` names something that is not the project's.
        """
        super().__init__(project.package, adapters)
        self._project, self.origin, self.divergences = project, source, divergences
        self._tree, self._make = tree_of(project, source), world
        self._worlds: dict[tuple[str, str], World] = {}
        self._signatures = Signatures(project, self._tree)
        self._problem = project.problem(self._tree)
        self._installed = self._tree.is_installed(project.package)

    def refused(self, found: Adapter, case: Case) -> str | None:
        """What its offer says, then what the release lacks; of a tree that is not the project's nothing is asked."""
        reason = found.offer.declines(case)
        if reason or self._problem:
            return reason
        reason = self._signatures.lacks(found.uses(case)) or self._barred(found)
        if reason is None and found.native and not self._installed:
            return f"it is a binary of the {self._project.distribution} that is installed, and the source is another"
        return reason

    def _barred(self, found: Adapter) -> str | None:
        """Why the release has outgrown an adapter, or None."""
        outgrown = (why for conventions, why in found.barred if self._signatures.lacks((conventions,)) is None)
        return next(outgrown, None)

    def unavailable(self, op: Op, case: Case) -> str | None:
        """Why what is installed is not the project, or takes calls that nobody knows, or None."""
        return self._problem or self._signatures.strange(self.chosen(op, case).uses(case))

    def source(self, op: Op, case: Case) -> str:
        """Where the release defines what runs the case."""
        found = self.chosen(op, case)
        used = () if self._problem else found.uses(case)[:1]
        defined = [self._signatures.of(call).function for conventions in used for call in conventions]
        return next((each.path for each in defined if each is not None), found.source)

    def formats(self, op: Op, case: Case) -> frozenset[str]:
        """What the adapter's kernels convert."""
        return self.chosen(op, case).formats(case)

    def versions(self) -> dict[str, str]:
        """Version of the project, as its tree says."""
        return {} if self._problem else {self._project.distribution: self._tree.version}

    def call(self, op: Op, case: Case, arguments: dict[str, Any], variant: Any, module: ModuleType | None) -> None:  # noqa: ARG002
        """Bind the operands, in the world of the case's arch and FP8 format or to what is installed.

        On a ROCm device the installed project's own functions run, as its users run them, not the world's copies.
        """
        adapter, world = self.chosen(op, case), self.world(case.arch, case.fp8)
        on_device = any(isinstance(value, torch.Tensor) and value.is_cuda for value in arguments.values())
        own = on_device and torch.version.hip is not None and self._installed and bool(adapter.uses(case))
        installed = adapter.native or own
        call = Call(case, arguments, world, self._signatures, installed)
        with contextlib.ExitStack() as stack:
            if not installed:
                stack.enter_context(world.entered())
            if not on_device:
                stack.enter_context(untuned())
            adapter.bind(call)

    def world(self, arch: str, fp8: str) -> World:
        """The foreign modules as they are on a chip of this arch with this FP8 format."""
        key = (arch, fp8)
        if key not in self._worlds:
            self._worlds[key] = self._make(self._tree, arch, fp8)
        return self._worlds[key]


@contextlib.contextmanager
def untuned() -> Generator[None, None, None]:
    """While open, an autotuned kernel takes its first configuration: without a device there is nothing to time."""

    def first(self: Any, *args: Any, **keywords: Any) -> Any:
        return self.fn.run(*args, **{**keywords, **self.configs[0].all_kwargs()})

    tuner: Any = Autotuner
    former = tuner.run
    tuner.run = first
    try:
        yield
    finally:
        tuner.run = former
