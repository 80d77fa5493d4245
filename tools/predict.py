"""Detect objects in an image or a folder: python tools/predict.py ckpt=runs/mine source=photos out=pictures"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from retina.config.command import run_command  # noqa: E402

if __name__ == "__main__":
    sys.exit(run_command("predict"))
