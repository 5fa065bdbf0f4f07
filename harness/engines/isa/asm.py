"""Assembly text -> instructions with typed operands, by a closed grammar: what it does not know is an error.

The text is what Triton assembles into the code object, so that interpreting the text is interpreting the binary.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Literal, TypeAlias

from rocassay.harness.engines.isa.farjumps import shortened
from rocassay.harness.engines.isa.swizzles import code_of
from rocassay.harness.errors import RocassayError


class Unsupported(RocassayError):
    """An instruction, operand or modifier that the engine does not know; never ignored."""


Value: TypeAlias = int | float | str | tuple[int, ...]

VCC, M0, EXEC = 106, 124, 126
"""Scalar register numbers of the special registers (AMD CDNA3 ISA guide, table of source operands)."""

_SPECIAL = {
    "vcc": (VCC, 2), "vcc_lo": (VCC, 1), "vcc_hi": (VCC + 1, 1), "exec": (EXEC, 2), "exec_lo": (EXEC, 1),
    "exec_hi": (EXEC + 1, 1), "m0": (M0, 1), "flat_scratch_lo": (102, 1), "flat_scratch_hi": (103, 1),
    "flat_scratch": (102, 2), "xnack_mask": (104, 2), "xnack_mask_lo": (104, 1), "xnack_mask_hi": (105, 1),
}  # fmt: skip

_REGISTER = re.compile(r"([vsa])(?:(\d+)|\[(\d+):(\d+)\])$")
_INTEGER = re.compile(r"-?(?:0x[0-9a-fA-F]+|\d+)$")
_FLOAT = re.compile(r"-?\d+\.\d*(?:e[-+]?\d+)?$")
_LABEL = re.compile(r"\.?L[A-Za-z0-9_$.]+$")


@dataclass(frozen=True, slots=True)
class Operand:
    """A register range, a constant, or a word such as `off`.

    Attributes:
        kind: v, a and s are vector, accumulation and scalar registers; the others hold `value`.
        index: first register.
        count: how many consecutive dwords.
        value: of a literal, or the name of a label or word.
        neg, absolute, sext: source modifiers.
    """

    kind: Literal["v", "a", "s", "literal", "label", "word"]
    index: int = 0
    count: int = 1
    value: Value = 0
    neg: bool = False
    absolute: bool = False
    sext: bool = False


@dataclass(frozen=True, slots=True)
class Parts:
    """What the text of an instruction says: operands, destinations first, and modifiers by name; a bare flag is 1."""

    operands: tuple[Operand, ...]
    modifiers: Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class Instruction:
    """One line of code. Its operands are read when they are first asked for: much of a program never runs.

    Attributes:
        name: mnemonic without its encoding suffix.
        encoding: e32, e64, dpp, sdwa or nothing.
        line: line of the kernel's own source file, 0 where the debug information has none.
        text: as it was written, for reports.
        where: the source line, and through which calls it was inlined: "pairs.py:12 in kernel.py:104".
        given: operands and modifiers that stand for those of the text.
    """

    name: str
    encoding: str
    line: int
    text: str
    where: str = ""
    given: Parts | None = None

    @property
    def operands(self) -> tuple[Operand, ...]:
        """Destinations first, as the text has them. Raises Unsupported for one that is not known."""
        return (self.given or parts_of(self.text)).operands

    @property
    def modifiers(self) -> Mapping[str, Value]:
        """By name; a bare flag is 1. Raises Unsupported for one that is not known."""
        return (self.given or parts_of(self.text)).modifiers


@dataclass(frozen=True, slots=True)
class Program:
    """A kernel's instructions and what its descriptor says.

    Attributes:
        instructions: in the order of the text.
        labels: label -> index of the instruction behind it.
        descriptor: `.amdhsa_*` entries by name without that prefix.
        preload_entry: index of the first instruction that runs when the hardware preloads kernel arguments; 0 if the
            kernel asks for no preload.
        file: the kernel's source file.
    """

    name: str
    instructions: tuple[Instruction, ...]
    labels: Mapping[str, int]
    descriptor: Mapping[str, int]
    preload_entry: int
    file: str


@dataclass(slots=True)
class _Reader:
    instructions: list[Instruction] = field(default_factory=list[Instruction])
    labels: dict[str, int] = field(default_factory=dict[str, int])
    line: int = 0
    where: str = ""
    aligned: list[int] = field(default_factory=list[int])


_FLAGS = frozenset(
    [
        "offen",
        "idxen",
        "glc",
        "slc",
        "nt",
        "sc0",
        "sc1",
        "lds",
        "gds",
        "clamp",
        "row_mirror",
        "row_half_mirror",
        "row_newbcast",
        "tfe",
        "dlc",
        "scc",
    ]
)
_NUMBERS = frozenset(
    [
        "offset",
        "offset0",
        "offset1",
        "row_shr",
        "row_shl",
        "row_ror",
        "row_bcast",
        "row_mask",
        "bank_mask",
        "bound_ctrl",
        "bitop3",
        "cbsz",
        "abid",
        "blgp",
        "mul",
        "div",
        "byte_sel",
        "row_newbcast",
    ]
)
_LISTS = frozenset(["op_sel", "op_sel_hi", "neg_lo", "neg_hi", "quad_perm", "neg"])
_WORDS = frozenset(["dst_sel", "dst_unused", "src0_sel", "src1_sel"])
_SUFFIX = re.compile(r"_(e32|e64|dpp|sdwa)$")
_SECTION = re.compile(r"\n[ \t]*\.section")


def parse(text: str, kernel: str) -> Program:
    """The program of `kernel` in an assembly text. Raises Unsupported, naming the line, for what is not known."""
    text = shortened(text)
    begin = f"\n{text}".find(f"\n{kernel}:")
    if begin < 0:
        raise Unsupported(f"the text has no kernel {kernel!r}")
    end = _SECTION.search(text, begin)
    files = _files(text)
    reader = _Reader()
    for line in text[begin : end.start() if end else None].splitlines()[1:]:
        stripped, _, comment = line.partition(";")
        stripped = stripped.strip()
        if stripped.startswith(".loc"):
            _locate(reader, stripped, comment, files)
        elif stripped:
            _take(reader, stripped)
    descriptor = dict(_descriptor(text, kernel))
    preload = descriptor.get("user_sgpr_kernarg_preload_length", 0)
    entry = reader.aligned[0] if preload and reader.aligned else 0
    return Program(kernel, tuple(reader.instructions), reader.labels, descriptor, entry, files.get("1", ""))


_CALL = re.compile(r"([^\s\[\]@]+):(\d+):\d+")


def _locate(reader: _Reader, line: str, comment: str, files: Mapping[str, str]) -> None:
    """`.loc file line column`, behind it in a comment the chain of calls, innermost first: "f.py:1:2 @[ g.py:3:4 ]"."""
    found = _place(comment)
    if found is None:
        _, file, number, *_ = line.split()
        found = int(number), int(number), f"{PurePath(files.get(file, '')).name}:{number}"
    inner, outer, where = found
    if inner:
        reader.line, reader.where = outer, where


@functools.lru_cache(maxsize=1 << 14)
def _place(comment: str) -> tuple[int, int, str] | None:
    """(innermost line, outermost line, all of them in words) of the comment behind a `.loc`; None without one."""
    calls = [(name, int(number)) for name, number in _CALL.findall(comment)]
    if not calls:
        return None
    return calls[0][1], calls[-1][1], " in ".join(f"{name}:{number}" for name, number in calls)


_DIRECTIVES = (".p2align", ".cfi_", ".file", ".Ltmp", ".Lfunc", ".size", ".end_amdhsa", ".set", ".globl", ".type")
"""What may stand between instructions and says nothing of what they do."""


def _take(reader: _Reader, line: str) -> None:
    if line[-1] == ":":
        reader.labels[line[:-1]] = len(reader.instructions)
    elif line[0] != ".":
        name, encoding = _mnemonic(line.split(None, 1)[0])
        reader.instructions.append(Instruction(name, encoding, reader.line, line, reader.where))
    elif line.startswith(".p2align\t8") and reader.instructions:
        reader.aligned.append(len(reader.instructions))
    elif not line.startswith(_DIRECTIVES):
        raise Unsupported(f"directive {line!r} is not known")


@functools.lru_cache(maxsize=1 << 12)
def _mnemonic(word: str) -> tuple[str, str]:
    """(name, encoding)."""
    found = _SUFFIX.search(word)
    return (word[: found.start()], found.group(1)) if found else (word, "")


def instruction(text: str) -> Instruction:
    """One instruction, of no source line. Raises Unsupported for an operand or modifier that is not known."""
    name, encoding = _mnemonic(text.split(None, 1)[0])
    return Instruction(name, encoding, 0, text, given=parts_of(text))


_BARE = frozenset(["buffer_wbl2", "buffer_inv"])
"""Instructions with modifiers and no operand."""

_OF_THEIR_OWN = frozenset(["s_waitcnt", "s_setreg_imm32_b32", "s_setreg_b32", "s_getreg_b32", "s_sendmsg"])
"""Instructions whose operands have another form."""


@functools.lru_cache(maxsize=1 << 16)
def parts_of(text: str) -> Parts:
    """Operands and modifiers. Raises Unsupported for one that is not known."""
    word, *more = text.split(None, 1)
    rest = more[0] if more else ""
    if word in _OF_THEIR_OWN:
        return _special(word, rest, text)
    parts = list(_split(rest))
    operands: list[Operand] = []
    modifiers: dict[str, Value] = {}
    if word in _BARE:
        for flag in rest.split():
            _modifier(flag, modifiers, text)
        return Parts((), modifiers)
    for place, part in enumerate(parts):
        words = part.split()
        if place < len(parts) - 1 and len(words) != 1:
            raise Unsupported(f"operand {part!r} of {text!r} is not known")
        operands += [_operand(words[0], text)]
        for extra in words[1:]:
            _modifier(extra, modifiers, text)
    return Parts(tuple(operands), modifiers)


_OPERANDS = re.compile(r"(?:[^,\[(]|\[[^\]]*\]|\([^)]*\))+")


def _split(rest: str) -> list[str]:
    """Parts between the commas that stand outside of brackets."""
    if ":[" not in rest and "(" not in rest:
        # Brackets are of registers alone, which have no comma.
        return [part for part in map(str.strip, rest.split(",")) if part]
    return [part.strip() for part in _OPERANDS.findall(rest)]


def _operand(word: str, text: str) -> Operand:
    found = _operand_of(word)
    if found is None:
        raise Unsupported(f"operand {word!r} of {text!r} is not known")
    return found


@functools.lru_cache(maxsize=1 << 14)
def _operand_of(word: str) -> Operand | None:
    neg = absolute = sext = False
    if word.startswith("-") and not (_INTEGER.match(word) or _FLOAT.match(word)):
        neg, word = True, word[1:]
    if word.startswith("neg(") and word.endswith(")"):
        neg, word = True, word[4:-1]
    if word.startswith("|") and word.endswith("|"):
        absolute, word = True, word[1:-1]
    if word.startswith("abs(") and word.endswith(")"):
        absolute, word = True, word[4:-1]
    if word.startswith("sext(") and word.endswith(")"):
        sext, word = True, word[5:-1]
    if found := _REGISTER.match(word):
        kind, one, first, last = found.groups()
        start = int(one if one is not None else first)
        count = 1 if one is not None else int(last) - start + 1
        return Operand(kind, start, count, 0, neg, absolute, sext)  # type: ignore[arg-type]
    if word in _SPECIAL:
        start, count = _SPECIAL[word]
        return Operand("s", start, count, 0, neg, absolute, sext)
    if _INTEGER.match(word):
        return Operand("literal", value=int(word, 0), neg=neg, absolute=absolute)
    if _FLOAT.match(word):
        return Operand("literal", value=float(word), neg=neg, absolute=absolute)
    if _LABEL.match(word):
        return Operand("label", value=word)
    if word == "off":
        return Operand("word", value=word)
    return None


def _modifier(word: str, modifiers: dict[str, Value], text: str) -> None:
    name, colon, value = word.partition(":")
    if not colon and word in _FLAGS:
        modifiers[word] = 1
    elif name in _NUMBERS and _INTEGER.match(value):
        modifiers[name] = int(value, 0)
    elif name in _LISTS and value.startswith("[") and value.endswith("]"):
        modifiers[name] = tuple(int(item, 0) for item in value[1:-1].split(","))
    elif name in _WORDS:
        modifiers[name] = value
    elif name == "offset" and text.startswith("ds_swizzle_b32") and (code := code_of(value)) is not None:
        modifiers[name] = code
    else:
        raise Unsupported(f"modifier {word!r} of {text!r} is not known")


_COUNTER = re.compile(r"(vmcnt|lgkmcnt|expcnt|vscnt)\((\d+)\)$")
_HWREG = re.compile(r"hwreg\((\w+), (\d+), (\d+)\)$")


def _special(name: str, rest: str, text: str) -> Parts:
    """Instructions whose operands have a form of their own."""
    modifiers: dict[str, Value] = {}
    operands: list[Operand] = []
    if name == "s_waitcnt":
        for word in rest.replace("&", " ").split():
            found = _COUNTER.match(word)
            if not found:
                raise Unsupported(f"counter {word!r} of {text!r} is not known")
            modifiers[found.group(1)] = int(found.group(2))
        return Parts((), modifiers)
    for part in _split(rest):
        found = _HWREG.match(part)
        if found:
            modifiers["register"] = found.group(1)
            modifiers["first"], modifiers["width"] = int(found.group(2)), int(found.group(3))
        else:
            operands.append(_operand(part, text))
    if "register" not in modifiers:
        raise Unsupported(f"{text!r} names no hardware register")
    return Parts(tuple(operands), modifiers)


_FILE = re.compile(r'\.file\s+(\d+)\s+"([^"]*)"(?:\s+"([^"]*)")?')


def _files(text: str) -> dict[str, str]:
    """Source files by the number that `.loc` names them with."""
    files: dict[str, str] = {}
    # Searched for by what it begins with: a pattern that begins with the line would be tried at every character.
    for found in _FILE.finditer(text):
        if not text[text.rfind("\n", 0, found.start()) + 1 : found.start()].strip():
            number, folder, name = found.groups()
            files[number] = f"{folder}/{name}" if name else folder
    return files


_ENTRY = re.compile(r"^\s*\.amdhsa_(\w+)\s+(-?\d+)\s*$", re.MULTILINE)


def _descriptor(text: str, kernel: str) -> Iterator[tuple[str, int]]:
    begin = re.search(rf"\.amdhsa_kernel {re.escape(kernel)}\s", text)
    if begin:
        end = text.find(".end_amdhsa_kernel", begin.end())
        for name, value in _ENTRY.findall(text[begin.end() : end if end >= 0 else len(text)]):
            yield name, int(value)
