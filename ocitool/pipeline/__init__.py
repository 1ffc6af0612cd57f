"""What commands share between an opened image and a written one.

In the direction of the data: `session` opens references as images; `indexed_image` and `layer_identity` say what images are
compared by. `rewrite` is the one way from an image to another one that is written; it runs the others: `image_writer` holds an
open destination, `blob_lookup` and `fallback_blobs` give blobs that an image lacks, `output_layers` and `layer_writer` take
over, make and convert layers, `source_date` says when, `index_rewrite` carries what comes of the images through an index, and
`delivery` writes all of it under its names (`output_names`). `problems` collects what could not be read or copied. Imports
`trees`, `images`, and what is below them, not `disk`.
"""
