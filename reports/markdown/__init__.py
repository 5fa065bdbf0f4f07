"""A run as Markdown for a step summary or a comment: the verdict first, never longer than the place allows."""

from __future__ import annotations

from rocassay.reports.markdown.budget import LEAST_BYTES
from rocassay.reports.markdown.pages import COMMENT_BYTES, SUMMARY_BYTES, diff_markdown, run_markdown

__all__ = ["COMMENT_BYTES", "LEAST_BYTES", "SUMMARY_BYTES", "diff_markdown", "run_markdown"]
