"""Markdown of the project, taken apart."""

from __future__ import annotations

import re

from rocassay.suites.selftest.children import ROOT


def page(name: str) -> str:
    """Text of a file of the checkout."""
    return (ROOT / name).read_text(encoding="utf-8")


def rows(text: str, heading: str) -> list[list[str]]:
    """Cells of the rows of the first table under a heading, without the head; `\\|` is no end of a cell."""
    body = text.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in body.splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def fences(text: str, kind: str) -> list[str]:
    """Bodies of the fenced blocks of a kind."""
    return re.findall(rf"^```{kind}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def files(text: str) -> dict[str, str]:
    """Files that a walk-through shows: a block of code behind a paragraph that begins with the path."""
    return dict(re.findall(r"^`([\w/.-]+)`(?:[^\n]+\n)+\n```\w+\n(.*?)^```$", text, re.MULTILINE | re.DOTALL))


def prose(text: str) -> str:
    """The page without its blocks of code."""
    return re.sub(r"^(`{3,}).*?^\1$", "", text, flags=re.MULTILINE | re.DOTALL)
