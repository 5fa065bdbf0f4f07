"""Branches further than a short one reaches: the compiler jumps through a register, here they become branches again.

The address is the counter's plus the distance of two labels, which is known only when the code has been assembled.
"""

from __future__ import annotations

import re

_FAR = re.compile(
    r"\ts_getpc_b64 (?P<pair>s\[(?P<low>\d+):(?P<high>\d+)\])[^\n]*\n"
    r"(?P<here>\.Lpost_getpc\d+):[^\n]*\n"
    r"\ts_add_u32 s(?P=low), s(?P=low), \((?P<there>\.LBB\w+)-(?P=here)\)&4294967295[^\n]*\n"
    r"\ts_addc_u32 s(?P=high), s(?P=high), \((?P=there)-(?P=here)\)>>32[^\n]*\n"
    r"\ts_setpc_b64 (?P=pair)"
)
"""What LLVM's branch relaxation writes on gfx9 (SIInstrInfo, insertIndirectBranch)."""

_HERE = 0x1000000
"""Stands for the counter's value: more than any distance."""

_DISTANCE = 0x400000
"""Stands for the distance: further than a short branch reaches, so that the sum carries as the true one does."""


def shortened(text: str) -> str:
    """The same number of instructions, the last of each far jump an `s_branch`; the registers hold other addresses.

    A far jump of any other form stays as it is, and is then an instruction that nobody knows.
    """

    def replacement(found: re.Match[str]) -> str:
        low, high, there = found["low"], found["high"], found["there"]
        forward = text.find(f"\n{there}:", found.end()) >= 0
        lower, upper = (_DISTANCE, 0) if forward else (-_DISTANCE & 0xFFFFFFFF, -1)
        return (
            f"\ts_mov_b64 {found['pair']}, {_HERE:#x}\n{found['here']}:\n"
            f"\ts_add_u32 s{low}, s{low}, {lower:#x}\n\ts_addc_u32 s{high}, s{high}, {upper}\n\ts_branch {there}"
        )

    return _FAR.sub(replacement, text) if "s_getpc_b64" in text else text


__all__ = ["shortened"]
