"""Short digests of the code that a launch ran: equal ones mean that nothing but data differs between two runs."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Collection, Iterator, Mapping

from rocassay.harness.codegen.records import SHORT
from rocassay.harness.codegen.text import listing


def code_digest(asm: Mapping[str, object]) -> str:
    """Digest of what Triton compiled: of the instructions on ROCm, of the PTX on CUDA; empty where it has neither.

    Paths, comments and lines of the source do not enter it, so that a checkout elsewhere has the same.
    """
    if text := asm.get("amdgcn"):
        return amdgcn_digest(str(text))
    return hashlib.sha256("\n".join(_ptx(str(text))).encode()).hexdigest()[:SHORT] if (text := asm.get("ptx")) else ""


@functools.lru_cache(maxsize=256)
def amdgcn_digest(text: str) -> str:
    """Digest of an assembly text, as the record of code objects has it; the same text is read once."""
    return listing(text).digest[:SHORT]


def _ptx(text: str) -> Iterator[str]:
    """Lines of PTX up to the debug sections, which come last, without comments and what only debuggers read."""
    for raw in text.splitlines():
        line = " ".join(raw.partition("//")[0].split())
        if line.startswith(".section"):
            return
        if line and not line.startswith((".loc", ".file", "$L__tmp")):
            yield line


def combined(digests: Collection[str]) -> str:
    """One digest for all specialisations of a kernel that a case launched; that of a single one is its own."""
    distinct = sorted(set(digests))
    return distinct[0] if len(distinct) == 1 else hashlib.sha256("\n".join(distinct).encode()).hexdigest()[:SHORT]
