"""Where the program starts: `python -m ocitool`, and the installed command."""

from __future__ import annotations

from ocitool import signals

signals.install()  # before all else: a traceback does not answer Ctrl-C

import gc  # noqa: E402

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn


def main() -> NoReturn:
    # Collections while modules load and while an index of a million entries grows find nothing and take a tenth of the time.
    gc.set_threshold(200_000, 50, 100)
    from ocitool.cli import main as run

    run()


if __name__ == "__main__":
    main()
