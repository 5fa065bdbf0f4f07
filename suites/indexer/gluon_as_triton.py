"""A Gluon kernel's text as a Triton kernel, so that the interpreter can execute its arithmetic and addresses.

Layouts say which lane holds an element, not what it is: the compiler answers for them. Without them the text is
Triton's language, but for the buffer and matrix instructions, which are spelled out here.
"""

from __future__ import annotations

import importlib.util
import linecache
import re
import sys
from pathlib import Path
from types import ModuleType

INSTRUCTIONS = """
@triton.jit
def buffer_load(pointer, offsets, mask, other):
    return tl.load(pointer + offsets, mask=mask, other=other)


@triton.jit
def buffer_store(value, pointer, offsets, mask):
    tl.store(pointer + offsets, value, mask=mask)


@triton.jit
def mfma(left, right, accumulator):
    return tl.dot(left, right, accumulator, out_dtype=tl.float32)


@triton.jit
def mfma_scaled(left, left_scale, left_format, right, right_scale, right_format, accumulator):
    return tl.dot(left, right, accumulator, out_dtype=tl.float32)
"""

_RULES = (
    (r"from triton\.experimental import gluon", "import triton.language as tl"),
    (r"from triton\.experimental.*\n", ""),
    (r"@gluon\.jit", "@triton.jit"),
    (r"\bgl\.", "tl."),
    (r", layout=tl\.SliceLayout\(\d, \w+\)\)", ")"),
    (r", layout=\w+\)", ")"),
    (r"= (AMDMFMALayout|tl\.DotOperandLayout)\(.*\)", "= 0"),
)
"""What to replace by what, in this order."""


def translated(name: str) -> ModuleType:
    """The module `name`, which need not be importable here, with its kernels in Triton's language."""
    spec = importlib.util.find_spec(name)
    assert spec is not None
    assert spec.origin is not None
    text = Path(spec.origin).read_text(encoding="utf-8")
    for pattern, becomes in _RULES:
        text = re.sub(pattern, becomes, text)
    text = text.replace("\n\n\n", f"\n\n{INSTRUCTIONS}\n\n", 1)
    module = ModuleType(f"{name}__as_triton")
    module.__file__ = filename = f"<{name} as Triton>"
    # Triton reads a kernel's text back through inspect, hence through linecache.
    linecache.cache[filename] = (len(text), None, text.splitlines(keepends=True), filename)
    sys.modules[module.__name__] = module
    exec(compile(text, filename, "exec"), module.__dict__)  # noqa: S102
    return module
