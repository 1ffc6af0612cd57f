"""Results as the JSON reports that scripts rely on; `schemas/report-*.json` say what each holds.

One module a command, so that none pays for the others.
"""
