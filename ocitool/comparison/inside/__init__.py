"""What changed inside changed files: members of archives, sections of programs, headers of databases.

In the direction of the data: `reading` picks the files, reads each layer once for all of them, and compares; `formats` sums
one file up, `programs`, `archives`, `tars` and `databases` do so for their formats; `content` has what that gives, `values` the
result.
"""
