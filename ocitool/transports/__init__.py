"""Places where images live: layouts, archives, directories and registries, as sources and sinks. They handle bytes and
descriptors; `ocitool.images` gives these their meaning.

In the direction of the data:

- `opening` opens what a reference names (a `source`); `recognition` says what a file or directory is that cannot be opened.
- `layout` (`layout_store`: its blobs) and `directory` read directories; `archive` reads archives, whose `archive_members` are
  the images of `index.json`, or the `records` of `manifest.json` (`hybrid`: of both).
- `registry/` reads and writes repositories; `verifications` remembers which blobs were hashed.
- `destinations` opens the `sink` that a reference names: a `layout_sink` (under a `layout_lock`), an `archive_sink`, or a
  repository.
- `outputs` opens the files that a user names beside the image.

It may import `layers`, `spec` and the modules at the root.
"""
