"""What commands share between an opened image and a written one.

In the direction of the data: `session` opens references as images; `indexed_image` and `layer_identity` say what images are
compared by; `fallback_blobs` gives blobs that an image lacks; `output_layers` and `source_date` prepare layers to be written;
`index_rewrite` carries a change through an index; `image_writer` writes layers and documents to a destination. `problems`
collects what could not be read or copied. Imports `trees`, `images`, and what is below them, not `disk`.
"""
