"""Draw what the network would be given in training: python tools/show_batch.py dataset=coco augment=strong"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from retina.config.command import run_command  # noqa: E402


def show_batch(config: Any) -> None:
    """Write the first batches of a run, or of one of its epochs, as pictures."""
    # Imported here, so that a mistake on the command line is told before torch is loaded.
    from retina.commands.show_batch import show_batches

    for line in show_batches(config):
        print(line)


if __name__ == "__main__":
    sys.exit(run_command("show_batch", show_batch))
