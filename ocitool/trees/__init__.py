"""Merged file systems as values: layers stacked into one tree, trees compared, and the layers that turn one into another.

In the direction of the data: `indexing` and `file_hashes` read layers; `tree` merges their indexes; `compare`, `waste` and
`inherited` look at what the merge gives; `changes`, `changeset` and `plan/` say which layers a new tree needs; `changeset_tar`
writes them. `path_stack` follows a path through directories. Imports `images`, and what is below it; nothing here touches a
directory of the host.
"""
