"""What images are: manifest, configuration and layers bound together, and the file system they merge into."""
