"""Images as values: manifest, configuration and layers bound together, the choice of an image, and edits of its
documents.

In the direction of the data:

- `image` reads the documents of an image, and binds layers, diff_ids and history once; `closure` collects everything a
  descriptor leads to.
- `index_children` gives the entries of an index, `select` finds what a reference means in a source, and `platform_choice`
  takes one image of that, for a platform (`platforms` compares them).
- `config_edits` and `config_merge` change a configuration; `drafts` holds an image to be written, and makes its
  documents.
- `declared_volumes` finds since which layer a path is declared as a volume.
- `indexes` edits multi-platform indexes, and finds the referrers of a manifest.

It may import `transports`, `layers`, `spec` and the modules at the root.
"""
