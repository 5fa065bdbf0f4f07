"""A provider made of functions: which cases each of them offers to run, and the callable."""

from __future__ import annotations

import importlib.metadata
import inspect
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, Generic, Protocol, TypeVar

from rocassay.harness.cases import Case, Value
from rocassay.harness.ops import Op
from rocassay.harness.providers.provider import Provider


@dataclass(frozen=True, slots=True)
class Axes:
    """Values that the axes of a case may have; what is empty does not limit."""

    arches: Collection[str] = ()
    fp8s: Collection[str] = ()
    block_sizes: Collection[int] = ()
    recipes: Collection[str] = ()
    params: Mapping[str, Collection[Value]] = field(default_factory=dict[str, Collection[Value]])
    """Parameter -> values; a case without the parameter is not limited by it."""
    when: Callable[[Case], bool] = lambda _: True
    """What else must hold."""

    def outside(self, case: Case) -> str | None:
        """The first axis on which the case has another value, in words; None when it lies within all of them."""
        for name, value, allowed in self._limits(case):
            if allowed and value not in allowed:
                return f"{name} {value} is not among {', '.join(map(str, allowed))}"
        return None if self.when(case) else "the combination of its parameters is another"

    def _limits(self, case: Case) -> Iterator[tuple[str, Value, Collection[Value]]]:
        yield "arch", case.arch, self.arches
        yield "fp8", case.fp8, self.fp8s
        yield "block size", case.block_size, self.block_sizes
        yield "recipe", case.recipe, self.recipes
        for name, value in case.params:
            yield name, value, self.params.get(name, ())


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap(Axes):
    """Cases within an offer that are no part of it, and why not."""

    reason: str
    """Why not, in words."""


@dataclass(frozen=True, slots=True)
class Offer(Axes):
    """Which cases of an op an implementation claims to run: within its axes and in none of its gaps."""

    gaps: Sequence[Gap] = ()
    """What is left out, each with its reason."""

    def declines(self, case: Case) -> str | None:
        """Why the case is not offered, in words, or None."""
        for gap in self.gaps:
            if gap.outside(case) is None:
                return gap.reason
        return self.outside(case)


EVERYTHING = Offer()
"""All cases of an op."""


@dataclass(frozen=True, slots=True)
class Function:
    """One implementation of an op, and the cases that it offers to run."""

    run: Callable[..., object]
    """Called with the op's arguments by name; writes the outputs in place."""
    offer: Offer = EVERYTHING
    """Which cases it claims to run."""
    native: bool = False
    """Whether it is a binary of the chip, which only a ROCm device runs."""

    @property
    def source(self) -> str:
        """Module and name of the callable."""
        run = inspect.unwrap(self.run)
        return f"{run.__module__}:{getattr(run, '__qualname__', type(run).__name__)}"


class Implementing(Protocol):
    """What is known of something that runs cases of an op."""

    @property
    def offer(self) -> Offer:
        """Which cases it claims to run."""
        ...

    @property
    def native(self) -> bool:
        """Whether it is a binary of the chip."""
        ...

    @property
    def source(self) -> str:
        """File or module, and function."""
        ...


T = TypeVar("T", bound=Implementing)


class Offering(Provider, Generic[T]):
    """A provider that has implementations by name of the op; of several, the first one that offers a case runs it."""

    def __init__(self, name: str, implementations: Mapping[str, Sequence[T]]) -> None:
        self.name = name
        self._implementations = implementations

    def declines(self, op: Op, case: Case) -> str | None:
        """No implementation of the op, or none that runs the case: what the first says that would, or the last."""
        every = self._implementations.get(op.name, ())
        if not every:
            return f"{self.name} has no {op.name}"
        offering = [found for found in every if found.offer.declines(case) is None]
        reasons = [self.refused(found, case) for found in offering or every[-1:]]
        return None if None in reasons else reasons[0]

    def refused(self, found: T, case: Case) -> str | None:
        """Why an implementation does not run the case, in words, or None: what its offer says."""
        return found.offer.declines(case)

    def native(self, op: Op, case: Case) -> bool:
        """Whether what runs the case is a binary."""
        return self.chosen(op, case).native

    def source(self, op: Op, case: Case) -> str:
        """Where what runs the case is defined."""
        return self.chosen(op, case).source

    def chosen(self, op: Op, case: Case) -> T:
        """What runs the case, which is offered."""
        return next(found for found in self._implementations[op.name] if self.refused(found, case) is None)


class Functions(Offering[Function]):
    """A provider of functions by name of the op."""

    def __init__(
        self, name: str, functions: Mapping[str, Function | Sequence[Function]], distributions: Sequence[str] = ()
    ) -> None:
        """`distributions`: those whose versions belong into the records."""
        super().__init__(name, {op: (f,) if isinstance(f, Function) else tuple(f) for op, f in functions.items()})
        self._distributions = tuple(distributions)

    def call(self, op: Op, case: Case, arguments: dict[str, Any], variant: Any, module: ModuleType | None) -> None:  # noqa: ARG002
        """Hand the tensors and scalars to the function."""
        self.chosen(op, case).run(**arguments)

    def versions(self) -> dict[str, str]:
        """Versions of the distributions that were named."""
        return {name: importlib.metadata.version(name) for name in self._distributions}
