"""Evaluate a checkpoint, or score a COCO results file: ``python evaluate.py --help`` lists the settings.

python evaluate.py ckpt=runs/mine                # a run directory (best checkpoint, else last) or a checkpoint
python evaluate.py ckpt=runs/mine split=test
python evaluate.py detections=results.json annotations=instances.json run_dir=out
"""

import sys

from retina.config.command import run_command

if __name__ == "__main__":
    sys.exit(run_command("evaluate"))
