"""`unpack`: writes the files of an image to disk. `editable` makes a root file system, also as a runtime bundle (`bundle`),
`store` a directory for each layer (in a `layer_store`), `flat` one tar."""
