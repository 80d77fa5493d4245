"""Report how well anchors fit a data set, and fit them: python tools/anchors.py dataset=bccd dataset.root=data/bccd"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from retina.config.command import run_command  # noqa: E402


def anchors(config: Any) -> None:
    """Print which boxes the configured anchors reach, and write better ones."""
    # Imported here, so that a mistake on the command line is told before torch is loaded.
    from retina.anchors.command import fit_config

    fit_config(config)


if __name__ == "__main__":
    sys.exit(run_command("anchors", anchors))
