"""The public Python API: what `ocitool` gives to programs. `ocitool/__init__.py` re-exports it; only what `ocitool.__all__`
names is promised.

    arguments.py  what words and paths mean that the command line and Python both take
    running.py    how an operation runs: registries, progress, cancellation
    image.py      `open`: an image, its documents, layers and files
    reading.py    `inspect`, `diff`, `validate`, `dedupe`, `tags`
    writing.py    `copy`, `append`, `edit`, `squash`, `rebase`, `rebuild`, `repack`, `unpack`
    rendering.py  `render`: a result as text, JSON or Markdown

Each function does what the command of its name does, and takes the command's options as keywords. It may import everything
but `cli`, which shares `arguments` with it.
"""
