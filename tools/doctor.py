"""Find what is wrong with a data set: python tools/doctor.py dataset=bccd dataset.root=data/bccd"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from retina.config.command import run_command  # noqa: E402


def doctor(config: Any) -> None:
    """Print and write what is wrong, odd and worth knowing about the configured data set."""
    # Imported here, so that a mistake on the command line is told before torch is loaded.
    from retina.doctor.command import examine_config

    examine_config(config)


if __name__ == "__main__":
    sys.exit(run_command("doctor", doctor))
