"""The operations behind the commands, one module or package each (but `diff`, `validate` and `dedupe`, which are packages
of their own).

An operation takes values and returns a frozen result; it prints nothing, and reports progress and notices to its task.
"""
