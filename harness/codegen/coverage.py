"""Which instructions the machine-code engine does not know, found by preparing each form of instruction once."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from rocassay.harness.codegen.text import Listing, mnemonic_of
from rocassay.harness.engines.isa import asm
from rocassay.harness.engines.isa.codeobj import runnable

_SINGLE = re.compile(r"\b([vsa])\d+\b")
_RANGE = re.compile(r"\b([vsa])\[(\d+):(\d+)\]")


def unknown_to_engine(code: Listing, arch: str) -> tuple[str, ...]:
    """Why the engine would refuse the code, one sentence a mnemonic; empty when it knows every instruction."""
    labels = dict.fromkeys(code.labels, 0)
    found: dict[str, str] = {}
    for form, line in _forms(code).items():
        mnemonic = mnemonic_of(form)
        if mnemonic not in found and (why := _refused(form, line, arch, tuple(labels))):
            found[mnemonic] = why
    return tuple(f"{mnemonic}: {why}" for mnemonic, why in sorted(found.items()))


def _forms(code: Listing) -> Mapping[str, str]:
    """Instructions that differ in more than register numbers and places to branch to: form -> an example."""
    forms: dict[str, str] = {}
    for line in code.instructions:
        form = _SINGLE.sub(r"\1", line)
        form = _RANGE.sub(lambda found: f"{found[1]}*{int(found[3]) - int(found[2]) + 1}", form)
        branch = form.startswith(("s_branch", "s_cbranch"))
        forms.setdefault(form.partition(" ")[0] if branch else form, line)
    return forms


_KNOWN: dict[tuple[str, str], str] = {}
"""(form, arch) -> why it is refused, or nothing: kernels have most forms in common."""


def _refused(form: str, line: str, arch: str, labels: tuple[str, ...]) -> str:
    if (form, arch) not in _KNOWN:
        _KNOWN[form, arch] = _why(line, arch, labels)
    return _KNOWN[form, arch]


def _why(line: str, arch: str, labels: tuple[str, ...]) -> str:
    try:
        instruction = asm.instruction(line)
        runnable(asm.Program("", (instruction,), dict.fromkeys(labels, 0), {}, 0, ""), arch).prepare()
    except asm.Unsupported as error:
        return str(error)
    return ""


def mnemonics_of(refusals: Iterable[str]) -> list[str]:
    """The mnemonics that refusals begin with, each once."""
    return sorted({refusal.partition(":")[0] for refusal in refusals})
