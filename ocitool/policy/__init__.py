"""The policy of a repository: which notable changes it accepts, and how much its images may cost.

In the direction of the data:

- `documents` finds and reads `.ocitool.toml` into a `Policy`, and `dive_rules` the file `.dive-ci`.
- `acceptance` says which notable changes an entry accepts; `budget` has the limits and checks them.
- `measures` counts what the limits are about in an image; `dive_measures` does it as dive does.
- `updating` writes the measured numbers into the file.

It may import `trees` and what is below, and knows neither images to compare nor reports.
"""
