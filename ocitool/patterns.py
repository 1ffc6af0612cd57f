"""Regular expressions that are compiled on first use: most commands use few of them, and compiling all would slow down
each start."""

from __future__ import annotations

import re
from typing import Any, cast


class _LazyPattern:
    def __init__(self, pattern: Any, flags: int) -> None:
        self._late = pattern, flags

    def __getattr__(self, name: str) -> Any:
        """Returns a method of the compiled expression, and stores it, so that the next access is direct."""
        found = getattr(re.compile(*self._late), name)
        setattr(self, name, found)
        return found


def pattern(text: str, flags: int = 0) -> re.Pattern[str]:
    """Returns a regular expression for text, compiled on first use."""
    return cast("re.Pattern[str]", _LazyPattern(text, flags))


def byte_pattern(data: bytes, flags: int = 0) -> re.Pattern[bytes]:
    """Returns a regular expression for bytes, compiled on first use."""
    return cast("re.Pattern[bytes]", _LazyPattern(data, flags))
