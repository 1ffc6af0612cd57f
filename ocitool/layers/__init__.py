"""The bytes of one layer: decompression, tar reading and writing, and the index of its entries.

In the direction of the data:

- `codecs` is the table of compressions (`gzip_codec`, `zstd_codec`, `streams` for the others) and decompresses; `magic`
  names content that is not a layer.
- `tarinput` gives bytes to `tar`, which yields each `entry`; `tar_fields`, `tar_extensions` and `tar_sparse` are its parts,
  `tar_notes` what it accepts with a note.
- `scan` makes an `index` of the entries and hashes contents; `cache` keeps indexes between runs.
- `rewrite` edits a layer's tar, `tarwriter` writes one, `compress` compresses it.

It may import `spec` and the modules at the root.
"""
