"""The bytes of one layer.

In the direction of the data: `codecs`, the table of compressions (`gzip_codec`, `zstd_codec`, `streams` for the others),
decompresses (`magic` names what is no layer), `tarinput` gives bytes to `tar`, which reads entries
(`entry`; `tar_fields`, `tar_extensions` and `tar_sparse` are its parts, `tar_notes` what it accepts and tells); `scan` makes an
`index` of them, kept in a `cache`; `rewrite` edits a layer's tar, `tarwriter` writes one, and `compress` compresses it.
Imports `spec` and the modules at the root.
"""
