"""Renders reports as lines of text, one module for each command. Lines are never wrapped, so that names and commands can be
copied.

Everything that comes from an image goes through `escape.shown`. The caller decides about colours (`Paint`).
"""
