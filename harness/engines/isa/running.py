"""Any Triton kernel as machine code: `run(kernel, args, grid, arch)`."""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from triton.runtime.autotuner import Autotuner

from rocassay.harness.engines.isa.asm import Unsupported
from rocassay.harness.engines.isa.codeobj import compiled
from rocassay.harness.engines.isa.launching import Outcome, Settings, execute
from rocassay.harness.engines.launch import Launch, intercepted


def run(
    kernel: Any,
    args: Mapping[str, Any] | Sequence[Any],
    grid: Any,
    arch: str,
    *,
    settings: Settings | None = None,
    **options: Any,
) -> Outcome:
    """Compile one launch of a Triton kernel for `arch` and execute its machine code on the CPU.

    Args:
        kernel: a `@triton.jit` function, with or without `@triton.heuristics`.
        args: its parameters, constexprs among them, by name or in order; tensors live on the CPU, are read and
            written in place, and must be as large as the kernel believes: what it touches outside is a finding.
        grid: one to three sizes, or a function of the parameters that returns them.
        arch: gfx942 or gfx950.
        settings: entry point, junk of what is uninitialised, patience; by default two worlds of junk.
        options: launch options of Triton: num_warps, num_stages, waves_per_eu, matrix_instr_nonkdim, ...

    Raises Unsupported for a chip, an argument or an instruction that the engine does not know, Hung when waves wait
    for ever, TypeError for wrong parameters, and what Triton raises for a kernel that does not compile.
    """
    if isinstance(kernel, Autotuner):
        raise Unsupported(f"{kernel.base_fn.__name__} is autotuned, which needs a GPU: pass kernel.fn and one config")
    chosen, outcomes = settings or Settings(), list[Outcome]()

    def handle(launch: Launch, _: object) -> None:
        outcomes.append(execute(compiled(launch, arch), launch, chosen))

    positional, named = ((), dict(args)) if isinstance(args, Mapping) else (tuple(args), {})
    with intercepted(handle):
        kernel[grid](*positional, **named, **options)
    return outcomes[0]
