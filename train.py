"""Train a RetinaNet: ``python train.py --help`` lists data sets, groups and settings.

python train.py                                  # the small recipe on the embedded data set
python train.py dataset=coco                     # the standard recipe
python train.py resume=runs/mine                 # resume a run exactly where it stopped
torchrun --nproc-per-node 2 train.py dataset=coco
"""

import sys

from retina.config.command import run_command

if __name__ == "__main__":
    sys.exit(run_command("train"))
