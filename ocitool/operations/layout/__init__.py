"""`layout`: keep one store of many images. Each of its four operations is safe against a crash and a second process at any
moment: names change by one rename under the index's lock, blobs are removed under the layout's lock alone."""

from __future__ import annotations

from ocitool.operations.layout.collect import Collected, collect
from ocitool.operations.layout.link import Linked, link
from ocitool.operations.layout.normalize import Normalized, normalize
from ocitool.operations.layout.remove import Removed, remove

__all__ = ["Collected", "Linked", "Normalized", "Removed", "collect", "link", "normalize", "remove"]
