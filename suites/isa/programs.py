"""Small kernels in assembly, run as launches: what the tests of memory and of its findings share."""
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from rocassay.harness.engines.isa import asm
from rocassay.harness.engines.isa.codeobj import CompiledLaunch, argument_slots, runnable
from rocassay.harness.engines.isa.launching import Outcome, Settings, execute
from rocassay.harness.engines.launch import Launch

JUNK = 0xDEADBEEF
"""Content of registers, local and private memory at the start."""

ONE_WORLD = Settings(junk=(JUNK,))

_TEXT = """\
kernel:
{code}
\ts_endpgm
\t.section .rodata
\t.amdhsa_kernel kernel
\t\t.amdhsa_user_sgpr_kernarg_segment_ptr 1
\t\t.amdhsa_system_sgpr_workgroup_id_x 1
\t\t.amdhsa_next_free_vgpr 72
\t\t.amdhsa_accum_offset 64
\t\t.amdhsa_private_segment_fixed_size {scratch}
\t.end_amdhsa_kernel
  - .args:
{args}
    .group_segment_fixed_size: 0
"""


def kernel_text(code: str, tensors: int, scratch: int) -> str:
    """A kernel with pointers to its tensors in s[4:5], s[6:7], ...; the workgroup is s2, the work-item v0."""
    loads = [f"s_load_dwordx2 s[{4 + 2 * n}:{5 + 2 * n}], s[0:1], {hex(8 * n)}" for n in range(tensors)]
    lines = [*loads, "s_waitcnt lgkmcnt(0)", *code.strip().splitlines()]
    slots = [f"      - .offset: {8 * n}\n        .size: 8\n        .value_kind: global_buffer" for n in range(tensors)]
    body = "\n".join(line.strip() if line.strip().endswith(":") else "\t" + line.strip() for line in lines)
    return _TEXT.format(code=body, scratch=scratch, args="\n".join(slots))


@functools.lru_cache(maxsize=64)
def _code(code: str, tensors: int, scratch: int, arch: str) -> tuple[Any, str]:
    text = kernel_text(code, tensors, scratch)
    return runnable(asm.parse(text, "kernel"), arch), text


def launch(
    code: str,
    tensors: Mapping[str, NDArray[Any]],
    *,
    groups: int = 1,
    waves: int = 1,
    lds: int = 0,
    scratch: int = 0,
    arch: str = "gfx950",
    settings: Settings = ONE_WORLD,
) -> Outcome:
    """Run the code; the arrays are read and written in place."""
    held, text = _code(code, len(tensors), scratch, arch)
    types = dict.fromkeys(tensors, "*u8")
    compiled = CompiledLaunch(held, text, types, argument_slots(text), lds, waves, arch)
    arguments = {name: torch.from_numpy(array.view(np.uint8)) for name, array in tensors.items()}
    return execute(compiled, Launch(None, (groups, 1, 1), arguments, {}), settings)


def kinds(outcome: Outcome) -> list[str]:
    """Kinds of what was found."""
    return [finding.kind for finding in outcome.findings]


def noise(seed: int, count: int) -> NDArray[np.uint8]:
    """Random bytes."""
    return np.random.default_rng(seed).integers(0, 256, count, dtype=np.uint8)
