"""Whole Markdown documents, each within a limit of bytes."""

from __future__ import annotations

from rocassay.harness.results import Assay
from rocassay.reports.diff import Changes, compare
from rocassay.reports.markdown import blocks
from rocassay.reports.markdown.budget import assembled

SUMMARY_BYTES = 1024 * 1024
"""Largest step summary of GitHub Actions (docs.github.com, "Workflow commands", step isolation and limits)."""

COMMENT_BYTES = 65_536
"""Largest comment on GitHub in characters; a character has at least one byte."""


def run_markdown(assay: Assay, base: Assay | None = None, *, most: int = SUMMARY_BYTES) -> str:
    """The verdict, what was not run, failures with their repro lines, and the rest folded, in at most `most` bytes.

    base: an earlier run; then new failures and everything else that changed are told. TooSmall for a limit below
    `LEAST_BYTES`.
    """
    parts = [blocks.of_verdict(assay)]
    if base is None:
        parts += [blocks.of_absent(assay), blocks.of_failures("Failures", blocks.failures_of(assay))]
        parts += blocks.of_evaluations(assay)
    else:
        changes = compare(base, assay)
        new = [*changes.new_failures, *changes.unseen]
        parts += [blocks.of_comparison(changes), blocks.of_absent(assay)]
        parts.append(blocks.of_failures("New failures", [pair.record for pair in new]))
        parts += blocks.of_changes(changes, without=("New failures", "Faults that were not seen"))
    parts.append(blocks.of_facts(assay))
    return assembled([part for part in parts if part.head], most)


def diff_markdown(
    changes: Changes, *, most: int = SUMMARY_BYTES, limit: int | None = None, max_ratio: float | None = None
) -> str:
    """Only what changed, in at most `most` bytes and `limit` rows a table; `max_ratio` as `Changes.worse` has it."""
    parts = [blocks.of_comparison(changes, max_ratio), *blocks.of_changes(changes, limit=limit)]
    return assembled(parts, most)
