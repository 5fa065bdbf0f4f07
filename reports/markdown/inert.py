"""Foreign text in Markdown that neither formats, links, mentions nor ends the element that it stands in.

Everything foreign stands in a raw HTML block, which a Markdown parser hands through up to the next blank line
(CommonMark 0.31, section 4.6), so that only HTML needs escaping, and there in a `code` element, in which GitHub links
no mention, issue, commit or address.
"""

from __future__ import annotations

import html
import re

from rocassay.reports.html.words import plain, shortened

LONGEST = 400
"""Most characters of a foreign text."""


def code(text: str, most: int = LONGEST) -> str:
    """The text as an HTML `code` element on one line of Markdown, its line ends as breaks; a dash for an empty text."""
    if not text.strip():
        return "–"
    return f"<code>{html.escape(_visible(text, most), quote=False).replace(chr(10), '<br>')}</code>"


def fenced(text: str, most: int = 4000) -> str:
    """The text as a fenced block of one line; the fence is longer than any row of backticks in it."""
    line = _visible(text, most).replace("\n", "\\n")
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", line)), default=0))
    return f"{fence}sh\n{line}\n{fence}\n"


def _visible(text: str, most: int) -> str:
    return plain(shortened(text, most))
