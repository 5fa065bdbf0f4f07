"""A code object's assembly text, read for its instructions: what they are, of which class, and a digest of them."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from rocassay.harness.arch import ArchProfile

Class: TypeAlias = Literal[
    "valu", "salu", "mfma", "vmem", "smem", "lds", "cross-lane", "branch", "wait", "barrier", "other"
]
"""What executes an instruction (AMD CDNA3 ISA guide, "Program organization"); waits count s_nop, too."""

CLASSES: tuple[Class, ...] = (
    "valu", "salu", "mfma", "vmem", "smem", "lds", "cross-lane", "branch", "wait", "barrier", "other"
)  # fmt: skip

Use: TypeAlias = Literal["fp8 product", "fp16 product", "bf16 product", "other product", "widening", "narrowing"]
"""What a code object's arithmetic shows of its formats: the operands of its matrix instructions, and conversions
from FP8 (widening) and to FP8 (narrowing) in hardware, which knows the chip's own flavour only."""

_CLASSES: dict[Class, re.Pattern[str]] = {
    "mfma": re.compile(r"v_(mfma|smfmac|wmma|swmmac)_"),
    "cross-lane": re.compile(r"\w+_dpp(8)?$|v_(read|write|readfirst)lane|v_permlane|ds_(b?permute|swizzle)"),
    "valu": re.compile(r"v_"),
    "vmem": re.compile(r"(buffer|global|flat|scratch)_"),
    "lds": re.compile(r"ds_"),
    "smem": re.compile(r"s_(buffer_)?(load|store|atomic)|s_(dcache|icache|memtime|memrealtime)"),
    "barrier": re.compile(r"s_barrier"),
    "wait": re.compile(r"s_(wait|nop|sleep|delay)"),
    "branch": re.compile(r"s_(c?branch|endpgm|setpc|swappc|call|trap)"),
    "salu": re.compile(r"s_"),
}
"""The first that matches counts."""

_SILENT = re.compile(r"\.(loc|file|set|cfi_\w+|type|globl|protected|hidden|weak|size|ident|addrsig\w*|amdgcn_target)\b")
"""Directives that leave no byte in the code and move none."""

_ENCODING = re.compile(r"_e(32|64)$")
_MATRIX = re.compile(r"v_(mfma|smfmac|wmma|swmmac)_")
_BF16_MATRIX = re.compile(r"v_(mfma|wmma)_f32_\d+x\d+x\d+_?bf16")
_WIDENING = re.compile(r"v_cvt_\w*(f32|f16|bf16)_(fp8|bf8)")
_NARROWING = re.compile(r"v_cvt_\w*(fp8|bf8)_(f32|f16|bf16)")
_LABEL = re.compile(r"([.\w$]+):$")
_WORD = re.compile(r"[.\w$@]+")


@dataclass(frozen=True, slots=True)
class Listing:
    """The code of a text: instructions, places to branch to, and what moves them."""

    lines: tuple[str, ...]
    """Instructions and the directives among them, without comments, single-spaced."""

    labels: Mapping[str, int]
    """Label -> index of the line behind it; functions' names are labels, too."""

    @property
    def instructions(self) -> Iterator[str]:
        """The instructions alone."""
        return (line for line in self.lines if not line.startswith("."))

    @property
    def mix(self) -> Counter[str]:
        """How often each mnemonic occurs; the 32- and 64-bit encodings of an operation are one mnemonic."""
        return Counter(map(mnemonic_of, self.instructions))

    @property
    def digest(self) -> str:
        """SHA-256 in hexadecimal of the code with labels numbered: equal digests mean equal machine code.

        Paths, symbols, comments and debug lines do not enter it.
        """
        number = {label: f"L{place}" for label, place in self.labels.items()}
        text = "\n".join(_WORD.sub(lambda word: number.get(word[0], word[0]), line) for line in self.lines)
        return hashlib.sha256(text.encode()).hexdigest()


def listing(asm: str) -> Listing:
    """The code in all text sections of an amdgcn assembly text."""
    lines: list[str] = []
    labels: dict[str, int] = {}
    for line in _text_sections(asm.splitlines()):
        if label := _LABEL.match(line):
            labels[label[1]] = len(lines)
        elif not _SILENT.match(line):
            lines.append(line)
    return Listing(tuple(lines), labels)


def _text_sections(lines: Iterable[str]) -> Iterator[str]:
    inside = False
    for raw in lines:
        line = " ".join(raw.partition(";")[0].split())
        if line.startswith((".section", ".text")):
            inside = line.startswith((".text", ".section .text"))
        elif line.startswith(".amdgpu_metadata"):
            inside = False
        elif inside and line:
            yield line


def mnemonic_of(instruction: str) -> str:
    """The operation of an instruction, without the size of its encoding."""
    return _ENCODING.sub("", instruction.partition(" ")[0])


def class_of(mnemonic: str) -> Class:
    """The class of an instruction; "other" for what belongs to none."""
    for name, pattern in _CLASSES.items():
        if pattern.match(mnemonic):
            return name
    return "other"


def by_class(mix: Mapping[str, int]) -> dict[Class, int]:
    """Counts of a mix by class, in the order of `CLASSES`, without zeros."""
    counts = Counter[Class]()
    for mnemonic, count in mix.items():
        counts[class_of(mnemonic)] += count
    return {name: counts[name] for name in CLASSES if counts[name]}


def matrix_instructions(mix: Mapping[str, int]) -> dict[str, int]:
    """The matrix instructions of a mix, by name."""
    return {name: mix[name] for name in sorted(mix) if _MATRIX.match(name)}


def uses(mix: Mapping[str, int], facts: ArchProfile) -> frozenset[Use]:
    """What the arithmetic of a mix shows of its formats on a chip."""
    found: set[Use] = {_product(name, facts) for name in matrix_instructions(mix)}
    found |= {"widening" for name in mix if _WIDENING.match(name)}
    found |= {"narrowing" for name in mix if _NARROWING.match(name)}
    return frozenset(found)


def _product(mnemonic: str, facts: ArchProfile) -> Use:
    if facts.fp8_matrix_instruction and re.match(facts.fp8_matrix_instruction, mnemonic):
        return "fp8 product"
    if re.match(facts.f16_matrix_instruction, mnemonic):
        return "fp16 product"
    return "bf16 product" if _BF16_MATRIX.match(mnemonic) else "other product"
