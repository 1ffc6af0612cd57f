"""Packages of rpm, read from its database: `reader` finds the files, `header` reads a package out of its header, and a
module for each format of the database finds the headers: `sqlite`, `ndb` and `berkeley`.

All of them hold their output against the size of the file: no byte of a database belongs to two headers, so a file in
which headers overlap is refused, and reading is linear whatever the file says of itself.
"""
