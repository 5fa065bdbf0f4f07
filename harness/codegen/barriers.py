"""Barriers that a wave may pass before its accesses of local memory are done, on any path through a code object."""

from __future__ import annotations

from rocassay.harness.engines.isa import asm
from rocassay.harness.engines.isa.waits import Waits


def unawaited(text: str, kernel: str) -> tuple[str, ...]:
    """One sentence for each such barrier, or why the code's barriers cannot be judged; empty where all is well.

    Another wave then reads what is not yet stored, or overwrites what is not yet loaded: LLVM left such a wait out of
    loops whose first pass has nothing to wait for (llvm/llvm-project#220357).
    """
    if "s_barrier" not in text:
        return ()
    try:
        program = asm.parse(text, kernel)
        found = [(program.instructions[at], program.instructions[under]) for at, under in Waits(program).at_barriers()]
    except asm.Unsupported as error:
        return (f"its barriers cannot be judged, {error}",)
    return tuple(
        f"the barrier of line {barrier.line} is passed while `{access.text}` (line {access.line}) may be under way: "
        "another wave may see memory of before it"
        for barrier, access in found
    )
