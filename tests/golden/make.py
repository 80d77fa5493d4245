"""Write the golden files anew: ``python tests/golden/make.py [settings] [wrong_commands] [curves] [former_runs]``.

One may run it only where the project was meant to do something else than before: a new setting, a better message, other
numbers for a reason that the changelog tells. Then the difference of the golden files is part of the change and is
read line by line. It is never run to make a failing test pass, nor in a commit that only moves code. ``former_runs``
makes the runs of a former version: they stay as they are as long as that version's runs have to be resumed. ``curves``
and ``former_runs`` are computed on one thread; the last bits depend on the kind of CPU.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.golden import curves, former_runs, settings, wrong_commands  # noqa: E402

PARTS = {module.__name__.rsplit(".", 1)[1]: module.make for module in (settings, wrong_commands, curves, former_runs)}

if __name__ == "__main__":
    wanted = sys.argv[1:] or list(PARTS)
    if unknown := set(wanted) - PARTS.keys():
        sys.exit(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    for part in wanted:
        PARTS[part]()
