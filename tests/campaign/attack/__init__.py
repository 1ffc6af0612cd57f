"""Whole commands against hostile inputs: made-up images (`attack`) and registries (`registry`), held against laws.

A trial is made of a seed and its number alone: a sandbox with inputs, a tree beside it that must not change (the canary), a
command line, and for `registry` a server. The command runs in a forked process with limits of its own, as `main` runs it. Then
every law of `laws` looks at how it ended. `rounds` runs many trials on all cores; `tests/campaign/run` is its command line.
"""
