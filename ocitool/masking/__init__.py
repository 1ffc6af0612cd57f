"""Secrets in what an image says of itself: found by names, by places and by the look of tokens, and hidden in every report.

One set of functions for text, Markdown and JSON. Nothing is hidden that a reviewer must see: of a command line only
the secret's own word goes. `revealed` turns all of it off (`--show-secrets`).
"""

from __future__ import annotations

from ocitool.masking.files import secret_content, secret_path
from ocitool.masking.lines import MASK, Masker
from ocitool.masking.names import secret_name
from ocitool.masking.values import (
    AFTER,
    changed_secret,
    instruction,
    masked,
    reason,
    revealed,
    text,
    value,
    variable,
)

__all__ = [
    "AFTER",
    "MASK",
    "Masker",
    "changed_secret",
    "instruction",
    "masked",
    "reason",
    "revealed",
    "secret_content",
    "secret_name",
    "secret_path",
    "text",
    "value",
    "variable",
]
