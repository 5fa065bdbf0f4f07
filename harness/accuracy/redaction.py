"""Passwords stay out of records, reports and messages."""

from __future__ import annotations

import re

_USER_AND_PASSWORD = re.compile(r"(\w+://[^\s/:@]*):\S*@")
"""Greedy up to the last @: a password may hold any character, even where the URL is malformed by it."""

_PASSWORD_ITEM = re.compile(r"(?i)(\bpass(?:word|wd)?=)[^\s&]+")
"""As a parameter of a URL, or in the drivers' own form."""


def redacted(text: str) -> str:
    """The text with `***` in place of every password of a URL."""
    return _PASSWORD_ITEM.sub(r"\1***", _USER_AND_PASSWORD.sub(r"\1:***@", text))
