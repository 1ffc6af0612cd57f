"""Merged trees on the host: unpacked safely, scanned, and compared with what was unpacked.

In the direction of the data:

- `staging` reads each layer once and stages its files; `rootfs` is the one class that makes root file systems, of
  `staged_files` with their `attributes`; `staging_directory` makes the output appear whole or not at all.
- `snapshot` records what was written; `disk_changes` finds what was edited since.
- `scan_directory` reads any directory as entries of an image, `holes` finds the holes of its sparse files.
- `overlay` puts layers into the form that the kernel's overlayfs stacks; `overlay_changes` reads an upper directory as
  a layer.

It may import `trees`, `images`, `layers`, `spec` and the modules at the root, not `pipeline`.
"""
