"""Markdown to be pasted into a review: at most `LIMIT` characters, and nothing of an image outside of a code span or fence.

A page is made of whole blocks. What does not fit is left out and counted, so that no fence, table row or `<details>` is
ever cut. Summaries of `<details>` hold our own words and numbers only.
"""

from __future__ import annotations

from ocitool.report.markdown.diff import diff_markdown
from ocitool.report.markdown.inspect import inspect_markdown
from ocitool.report.markdown.page import LIMIT

__all__ = ["LIMIT", "diff_markdown", "inspect_markdown"]
