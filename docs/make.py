"""docs/make.py: writes the generated parts of docs/ and README.md, and the man pages, from the tables and the help of the code.

    docs/make.py            writes what is stale
    docs/make.py --check    writes nothing; names what is stale and ends with 1

Needs an environment that has ocitool: `.venv-test/bin/python docs/make.py`.
"""

import os
import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parent
sys.path[:0] = [str(DOCS), str(DOCS.parent)]

for name in [name for name in os.environ if name.startswith("OCITOOL_")]:
    del os.environ[name]  # the defaults are documented, not what someone has set

from generator import pages  # noqa: E402

if sys.argv[1:] not in ([], ["--check"]):
    sys.exit(__doc__)
checked = sys.argv[1:] == ["--check"]
found = list(pages.stale() if checked else pages.write())
for path in found:
    print("stale:" if checked else "wrote", path.relative_to(DOCS.parent))
sys.exit(1 if checked and found else 0)
