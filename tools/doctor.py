"""Find what is wrong with a data set: python tools/doctor.py dataset=bccd dataset.root=data/bccd"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from retina.config.command import run_command  # noqa: E402

if __name__ == "__main__":
    sys.exit(run_command("doctor"))
