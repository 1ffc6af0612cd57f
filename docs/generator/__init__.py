"""Writes what docs/ repeats of the code: tables of limits, rules, exit codes, schemas and variables, a page for each
command, and the man pages. Not part of the package that is installed.

    pages     finds the marked parts of the pages of docs/ and README.md, and fills or compares them
    tables    the tables, from `ocitool.limits`, `ocitool.errors`, the rules, and schemas/
    commands  commands as values, from the objects that print --help; and as Markdown
    troff     commands as man pages
"""
