"""`unpack`: an image's files on disk. `editable` makes a root file system (also as a runtime bundle: `bundle`), `store`
one directory for each layer, `flat` one tar."""
