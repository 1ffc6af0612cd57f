"""ocitool: see, compare, edit and move container images as files."""

__version__ = "0.1.0"
