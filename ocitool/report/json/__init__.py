"""Makes the JSON reports that scripts rely on; `schemas/report-*.json` describe them.

There is one module for each command, so that a command does not import what only the others need.
"""
