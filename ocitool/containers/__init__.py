"""Containers of an engine: which there are, what each holds beyond its image, an image made of that.

In the direction of the data: `listing` lists them and finds their images; `fetch_plan` says which archives an engine is asked
for, `fetched_files` takes what is in them, `writable_layer` makes the container's writable layer of that; `difference` compares
it with the image, `commit` writes it as a layer, `disk_usage` says what images and containers take.

Imports `dedupe`, `comparison`, `operations` and what is below them.
"""
