"""The documents of images as frozen values, and checks of their content.

`document` parses and writes JSON, strictly; `manifest` has descriptors, manifests, indexes and configurations as values
of it; `mediatypes` is the table of media types; `schema` checks documents and reports against the JSON Schemas in
`schemas/`. It may import the modules at the root only.
"""
