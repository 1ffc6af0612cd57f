"""The public Python API. `ocitool/__init__.py` re-exports it; only the names in `ocitool.__all__` are promised.

    arguments.py  parses and checks arguments, for the command line and for Python
    running.py    runs an operation: registries, progress, cancellation
    image.py      `open`: an image, its documents, layers and files
    reading.py    `inspect`, `packages`, `diff`, `validate`, `dedupe`, `tags`
    writing.py    `copy`, `append`, `edit`, `squash`, `rebase`, `rebuild`, `repack`, `unpack`
    rendering.py  `render`: a result as text, JSON, Markdown or CycloneDX

Each function does what the command of its name does, and takes the command's options as keywords. This package may import
everything but `cli`; `cli` imports `arguments` from it.
"""
