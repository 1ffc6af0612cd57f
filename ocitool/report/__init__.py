"""Turns the result of an operation into what is printed: text, JSON for programs, Markdown for review comments.

`*_view.py` and `phrases.py` decide what a report says (sentences, rows, what is folded or masked) and return it as values.
`text/` and `markdown/` lay these values out, `json/` makes JSON directly from the results. `formats.py` is the table of
formats and reports; `escape.py` escapes strings that come from an image. This package may import everything but `cli` and
`api`.
"""
