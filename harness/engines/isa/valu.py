"""The vector unit: an instruction's family makes its step."""

from __future__ import annotations

from rocassay.harness.engines.isa import compares, conversions, floats, integers, moves, packed, permute, wide
from rocassay.harness.engines.isa.asm import Instruction
from rocassay.harness.engines.isa.steps import Makers, Step

MAKERS: Makers = {
    name: maker
    for family in (compares, conversions, floats, integers, moves, packed, permute, wide)
    for name, maker in family.MAKERS.items()
}
"""By mnemonic; the comparisons, whose names are many, make themselves."""


def build(instruction: Instruction, arch: str) -> Step | None:
    """The step of a vector instruction; None when it is none of this unit's."""
    maker = MAKERS.get(instruction.name) or compares.maker(instruction.name)
    return maker(instruction, arch) if maker else None
