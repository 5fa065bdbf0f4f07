"""A closed tokenizer: pieces of the word problems, and bytes for everything else, so that any text comes back whole."""

from __future__ import annotations

import re
from collections.abc import Iterable

from rocassay.suites.gsm8k.problems import NAMES, THINGS

_MARKS = ("\n\nQuestion:", "Question:", "\nAnswer:", "\n#### ", "=<<", ">>", "=", "+", "-", "*", ".", "?", "\n", " ")
_WORDS = ("has", "gives", "more", "How", "many", "does", "have", "now", "to", "buys", "boxes", "of", "loses")

_PIECE = re.compile(
    "|".join((*map(re.escape, sorted(_MARKS[:6], key=len, reverse=True)), r" ?[A-Za-z]+", r" ?[0-9]{1,2}", r"(?s:.)"))
)

_PIECES = (
    *_MARKS,
    *(f" {word}" for word in (*_WORDS, *NAMES, *THINGS)),
    *(str(number) for number in range(100)),
    *(f" {number}" for number in range(100)),
)


class Tokenizer:
    """Text to token ids and back; ids of pieces first, then those of the 256 bytes."""

    def __init__(self) -> None:
        self._ids = {piece: number for number, piece in enumerate(_PIECES)}
        self.size = len(_PIECES) + 256
        """Number of token ids."""
        self.first_question = self._ids["Question:"]
        self.next_question = self._ids["\n\nQuestion:"]
        self.answer = self._ids["\nAnswer:"]

    def encode(self, text: str) -> list[int]:
        """Token ids of a text."""
        ids: list[int] = []
        for piece in _PIECE.findall(text):
            known = self._ids.get(piece)
            ids += [known] if known is not None else [len(_PIECES) + byte for byte in piece.encode()]
        return ids

    def decode(self, ids: Iterable[int]) -> str:
        """The text of token ids; bytes that are no UTF-8 become U+FFFD."""
        data = b"".join(
            _PIECES[token].encode() if token < len(_PIECES) else bytes([token - len(_PIECES)]) for token in ids
        )
        return data.decode(errors="replace")
