"""`layout`: maintenance of a layout with many images. Each operation is safe against crashes and concurrent processes:
the index changes by one rename under its lock, blobs are removed under the layout's lock only.

`collect` removes blobs that nothing needs, by `reach`; `link` joins equal blobs of several layouts; `normalize` repairs
an index; `remove` drops names.
"""

from __future__ import annotations

from ocitool.operations.layout.collect import Collected, collect
from ocitool.operations.layout.link import Linked, link
from ocitool.operations.layout.normalize import Normalized, normalize
from ocitool.operations.layout.remove import Removed, remove

__all__ = ["Collected", "Linked", "Normalized", "Removed", "collect", "link", "normalize", "remove"]
