"""Draw what the network would be given in training: python tools/show_batch.py dataset=coco augment=strong"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from retina.config.command import run_command  # noqa: E402

if __name__ == "__main__":
    sys.exit(run_command("show_batch"))
