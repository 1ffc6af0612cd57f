"""Renders reports as Markdown for a review comment: at most `LIMIT` characters, with text of an image only in code spans
and fences.

A page consists of whole blocks. What does not fit is left out and counted, so that no fence, table row or `<details>` is
ever cut. Summaries of `<details>` hold ocitool's own text and numbers only.
"""

from __future__ import annotations

from ocitool.report.markdown.diff import diff_markdown
from ocitool.report.markdown.inspect import inspect_markdown
from ocitool.report.markdown.page import LIMIT

__all__ = ["LIMIT", "diff_markdown", "inspect_markdown"]
