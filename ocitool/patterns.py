"""Regular expressions that are compiled when first used: most commands meet few of them, and all would cost each start."""

from __future__ import annotations

import re
from typing import Any, cast


class _LazyPattern:
    def __init__(self, pattern: Any, flags: int) -> None:
        self._late = pattern, flags

    def __getattr__(self, name: str) -> Any:
        """A method of the compiled expression, from then on the object's own."""
        found = getattr(re.compile(*self._late), name)
        setattr(self, name, found)
        return found


def pattern(text: str, flags: int = 0) -> re.Pattern[str]:
    return cast("re.Pattern[str]", _LazyPattern(text, flags))


def byte_pattern(data: bytes, flags: int = 0) -> re.Pattern[bytes]:
    return cast("re.Pattern[bytes]", _LazyPattern(data, flags))
