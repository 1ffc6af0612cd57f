"""Merged file systems as values: layers stacked into one tree, trees compared, and the layers that turn one tree into
another.

In the direction of the data:

- `indexing` gives the index of each layer; `file_hashes` reads a layer's content again, verified.
- `tree` is the file system that `merge` makes of the indexes, by the rules of the image-spec; `nodes` is what it consists of,
  and finds paths in it with a `path_stack`. `file_contents` reads files.
- `compare` compares entries and layers, `waste` finds files that upper layers hide, `inherited` finds attributes of
  directories that layers repeat from the base below.
- `volume_content` finds what layers write below a volume that was declared before.
- `changes` is the value "this path shall become that"; `changeset` gives the members of one layer between two trees;
  `plan/` decides which layer takes each change.
- `changeset_tar` writes a changeset as a tar.

It may import `images`, `layers`, `spec` and the modules at the root. Nothing here touches a directory of the host.
"""
