"""What the suites declare of code objects: the arithmetic of every kernel, and budgets for what spills."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from rocassay.harness.arch import profile
from rocassay.harness.cases import Case
from rocassay.harness.codegen.text import Use
from rocassay.harness.errors import RocassayError
from rocassay.harness.results import Model

CODEGEN = "rocassay.suites.codegen"
"""Package whose modules declare arithmetic, and whose files hold budgets and the record."""

BUDGETS, RECORD = "budgets.json", "recorded.json"


class DeclarationError(RocassayError):
    """A declaration about code objects that cannot be read."""


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """What a kernel computes with; a kernel without a declaration neither multiplies matrices nor converts FP8."""

    kernels: tuple[str, ...]
    """Names of the kernels' functions."""
    native: frozenset[Use]
    """Where the case's FP8 flavour is the chip's own."""
    foreign: frozenset[Use]
    """Where it is the other one, which the chip's conversions and products would misread."""
    when: Callable[[Case], bool] = lambda _: True
    """Cases it holds for; the first declaration that holds counts."""

    def expects(self, case: Case) -> frozenset[Use]:
        """The uses in a code object of the case."""
        return self.native if case.fp8 in profile(case.arch).native_fp8 else self.foreign


_DECLARED: list[Arithmetic] = []


def declare(arithmetic: Arithmetic) -> Arithmetic:
    """Add a declaration."""
    _DECLARED.append(arithmetic)
    return arithmetic


@cache
def discover() -> None:
    """Import every module of the package that declares; tests are left out."""
    package = importlib.import_module(CODEGEN)
    for module in pkgutil.iter_modules(package.__path__, prefix=f"{CODEGEN}."):
        if not module.name.rpartition(".")[2].startswith("test_"):
            importlib.import_module(module.name)


def expected(kernel: str, case: Case) -> frozenset[Use]:
    """The uses that a code object of `kernel`, launched by `case`, must show: exactly these."""
    discover()
    fitting = (found for found in _DECLARED if kernel in found.kernels and found.when(case))
    found = next(fitting, None)
    return found.expects(case) if found else frozenset()


class Budget(Model):
    """What a kernel on a chip may need beyond registers, and why that is accepted."""

    kernel: str
    """Name of the kernel's function."""
    arch: str
    """gfx architecture."""
    fp8: str = ""
    """FP8 flavour of the cases; empty: those that have no budget of their own."""
    vgpr_spills: int = 0
    """Vector registers spilled."""
    sgpr_spills: int = 0
    """Scalar registers spilled to lanes of vector registers."""
    scratch_bytes: int = 0
    """Private memory of a lane."""
    reason: str
    """Why this is accepted."""


NONE = Budget(kernel="", arch="", reason="nothing spills unless a budget says so")

_BUDGETS: TypeAdapter[tuple[Budget, ...]] = TypeAdapter(tuple[Budget, ...])


def budgets() -> tuple[Budget, ...]:
    """The budgets of the shipped kernels; DeclarationError for a file that is none or an entry without a reason."""
    file = beside(BUDGETS)
    try:
        found = _BUDGETS.validate_json(file.read_bytes())
    except (OSError, ValidationError) as error:
        raise DeclarationError(f"{file} holds no budgets: {error}") from error
    for budget in found:
        if not budget.reason.strip():
            raise DeclarationError(f"the budget of {budget.kernel} on {budget.arch} has no reason; say why it spills")
    return found


def budget_of(found: Iterable[Budget], kernel: str, arch: str, fp8: str) -> Budget:
    """The budget of a kernel's code objects on a chip: the flavour's own, else the kernel's, else nothing."""
    mine = [budget for budget in found if (budget.kernel, budget.arch) == (kernel, arch) and budget.fp8 in ("", fp8)]
    return max(mine, key=lambda budget: bool(budget.fp8), default=NONE)


def beside(name: str) -> Path:
    """A file of the declaring package."""
    return Path(str(resources.files(CODEGEN) / name))
