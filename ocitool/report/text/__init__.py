"""Results as text for a person: lines, without a wrap in anything that is copied. One module a command.

Everything that comes from an image goes through `escape.shown`. Colour is the caller's wish (`Paint`).
"""
