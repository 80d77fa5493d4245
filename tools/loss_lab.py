"""See what the losses do: python tools/loss_lab.py ckpt=runs/mine"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from retina.config.command import run_command  # noqa: E402


def loss_lab(config: Any) -> None:
    """Write pictures of every loss and, with a checkpoint, of what they do to its model on data."""
    # Imported here, so that a mistake on the command line is told before torch is loaded.
    from retina.lab.command import show_losses

    show_losses(config)


if __name__ == "__main__":
    sys.exit(run_command("loss_lab", loss_lab))
