"""Installed packages, read from the files of a merged tree: nothing of an image is run.

In the direction of the data:

- `package` has the values, `Package` and `PackageList`, and what every reader of a database provides (`PackageReader`).
- a module for each kind of database reads it (`dpkg`, `apk` and so on); `readers` is their table.
- `installed` reads the packages of a merged tree, each layer once for all of its databases.
- `versions` orders versions as each kind does; `changes` compares two lists of packages; `ownership` says which package
  installed a path, `footprint` what each package has in a tree, `purl` its package URL.

It may import `trees`, `images`, `layers`, `spec` and the modules at the root. Databases are input from strangers: sizes,
counts and depths are bounded, and a database that cannot be read is a problem in the list, never an exception.
"""
