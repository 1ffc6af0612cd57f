"""Places where images live: layouts, archives, directories and registries, as sources and sinks. They handle bytes and
descriptors; `ocitool.images` gives these their meaning.
"""
