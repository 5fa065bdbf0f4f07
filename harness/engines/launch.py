"""The one seam through which every engine sees ``kernel[grid](...)`` of a plain ``@triton.jit`` kernel."""

# pyright: reportMissingTypeStubs=false
# pyright: reportUnknownMemberType=false
from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from triton.runtime.jit import JITFunction

Grid: TypeAlias = "tuple[int, int, int]"
Handler: TypeAlias = "Callable[[Launch, Callable[..., Any]], Any]"

# Options that `JITFunction.run` itself adds or takes beside the kernel's parameters: no part of a launch.
_RUN_KEYWORDS = frozenset({"grid", "warmup"})

_JIT: Any = JITFunction
_TRITON_RUN: Callable[..., Any] = _JIT.run


@dataclass(frozen=True, slots=True)
class Launch:
    """One kernel launch: what would be executed, before anything has been.

    Attributes:
        kernel: the ``@triton.jit`` function (``triton.runtime.jit.JITFunction``).
        grid: number of program instances along x, y, z.
        args: the kernel's parameters by name, defaults applied.
        options: keywords that are no parameter of the kernel (num_warps, waves_per_eu, ...).
    """

    kernel: Any
    grid: Grid
    args: Mapping[str, Any]
    options: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The kernel's function name."""
        return str(self.kernel.__name__)


def bind(kernel: Any, grid: Any, args: Sequence[Any], keywords: Mapping[str, Any]) -> Launch:
    """The launch that ``kernel[grid](*args, **keywords)`` stands for.

    `grid` is a tuple of one to three sizes or a callable on the bound parameters.
    Raises TypeError, as Python does for a call, when a parameter is missing or given twice.
    """
    names = kernel.signature.parameters
    bound = kernel.signature.bind(*args, **{k: v for k, v in keywords.items() if k in names})
    bound.apply_defaults()
    options = {k: v for k, v in keywords.items() if k not in names}
    sizes = _grid_of(grid, bound.arguments)
    return Launch(kernel, _three(sizes), bound.arguments, options)


@contextlib.contextmanager
def intercepted(handler: Handler) -> Generator[None, None, None]:
    """While active, every launch of a plain JITFunction becomes ``handler(launch, proceed)``.

    ``proceed(**overrides)`` is Triton's own launch with these options on top; an option overridden
    with None is left out. What the handler returns is what the launch returns. The innermost of
    nested interceptions wins, and the former state comes back on every way out. Warm-up calls
    (``kernel.warmup``) compile only and pass through. One thread at a time.
    """

    def run(self: Any, *args: Any, grid: Any, warmup: bool, **keywords: Any) -> Any:
        if warmup:
            return _TRITON_RUN(self, *args, grid=grid, warmup=True, **keywords)
        launch = bind(self, grid, args, keywords)

        def proceed(**overrides: Any) -> Any:
            options = {k: v for k, v in {**launch.options, **overrides}.items() if v is not None}
            _refuse_parameters(launch, overrides)
            return _TRITON_RUN(self, grid=launch.grid, warmup=False, **launch.args, **options)

        return handler(launch, proceed)

    former = _JIT.run
    _JIT.run = run
    try:
        yield
    finally:
        _JIT.run = former


def _grid_of(grid: Any, args: Mapping[str, Any]) -> Any:
    return grid(args) if callable(grid) else grid


def _three(grid: Sequence[Any]) -> Grid:
    sizes = [int(size) for size in grid]
    if not 1 <= len(sizes) <= 3:
        raise ValueError(f"a grid has 1 to 3 sizes, not {len(sizes)}: {tuple(sizes)}")
    x, y, z = sizes + [1] * (3 - len(sizes))
    return x, y, z


def _refuse_parameters(launch: Launch, overrides: Mapping[str, Any]) -> None:
    clash = sorted((_RUN_KEYWORDS | launch.args.keys()) & overrides.keys())
    if clash:
        raise TypeError(f"proceed() overrides options only; {clash} are parameters of {launch.name}")
