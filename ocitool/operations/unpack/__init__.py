"""`unpack`: an image taken apart. `editable` makes a root file system (also as a bundle), `store` one directory a layer,
`flat` one tar."""
