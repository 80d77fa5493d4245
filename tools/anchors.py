"""Report how well anchors fit a data set, and fit them: python tools/anchors.py dataset=bccd dataset.root=data/bccd"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from retina.config.command import run_command  # noqa: E402

if __name__ == "__main__":
    sys.exit(run_command("anchors"))
