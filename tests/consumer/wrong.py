"""A program that uses ocitool wrongly: what mypy is to find stands beside it."""

from __future__ import annotations

from typing import assert_type

import ocitool

ocitool.open("a.tar", plattform="linux/amd64")  # wrong: call-arg
ocitool.open(5)  # wrong: arg-type
assert_type(ocitool.open("a.tar").read("/a"), str)  # wrong: assert-type
assert_type(ocitool.diff("a.tar", "b.tar", all_platforms=True), ocitool.Diff)  # wrong: assert-type
ocitool.rebuild("a.tar", "b.tar", plan="fast")  # wrong: arg-type
ocitool.unpack("a.tar", "b", as_="zip")  # wrong: call-overload
ocitool.pull("docker://a", "b")  # wrong: attr-defined
ocitool.open("a.tar").digest = None  # wrong: misc
ocitool.open("a.tar").layers[0].size = 5  # wrong: misc
