"""Merged trees on the host: unpacked safely, scanned, and compared with what was unpacked.

In the direction of the data: `staging` reads layers once into a `staging_directory`, and `rootfs` is the one class that creates
files in a root file system; `snapshot` records what was written, `disk_changes` finds what was edited since, `scan_directory`
reads any directory as entries of an image (`holes` finds the holes of its files). `overlay` and `overlay_changes` write and
read layers in the form of the kernel's overlayfs. Imports `trees`, `images`, and what is below them, not `pipeline`.
"""
