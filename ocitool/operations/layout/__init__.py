"""`layout`: maintains a layout with many images. Each operation is safe against crashes and concurrent processes:
`index.json` is replaced by one rename under its lock, and blobs are removed only under the lock of the layout.

`collect` removes blobs that nothing needs, which `reach` finds out; `link` joins equal blobs of several layouts;
`normalize` repairs `index.json`; `remove` drops names.
"""

from __future__ import annotations

from ocitool.operations.layout.collect import Collected, collect
from ocitool.operations.layout.link import Linked, link
from ocitool.operations.layout.normalize import Normalized, normalize
from ocitool.operations.layout.remove import Removed, remove

__all__ = ["Collected", "Linked", "Normalized", "Removed", "collect", "link", "normalize", "remove"]
