"""A launch that the compiler cannot build is reported in words that name the kernel, the chip and the compiler."""
# pyright: reportMissingTypeStubs=false

from __future__ import annotations

import pytest
import torch
import triton
import triton.language as tl

from rocassay.harness.engines.isa.codeobj import CannotCompile, compiled
from rocassay.harness.engines.launch import Launch


@triton.jit
def _no_such_instruction(x, COUNT: tl.constexpr):  # noqa: ANN202
    place = tl.arange(0, COUNT)
    value = tl.inline_asm_elementwise("v_no_such $0, $1", "=v,v", [tl.load(x + place)], tl.int32, True, 1)
    tl.store(x + place, value)


@pytest.mark.parametrize("arch", ["gfx942", "gfx950"])
def test_a_kernel_that_the_compiler_gives_up_on_is_named_with_it(arch: str) -> None:
    arguments = {"x": torch.zeros(64, dtype=torch.int32), "COUNT": 64}
    launch = Launch(_no_such_instruction, (1, 1, 1), arguments, {"num_warps": 1})
    with pytest.raises(CannotCompile) as raised:
        compiled(launch, arch)
    for word in (triton.__version__, "_no_such_instruction", arch, str(raised.value.__cause__)):
        assert word in str(raised.value)
