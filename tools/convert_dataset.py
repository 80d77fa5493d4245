"""Convert a data set: python tools/convert_dataset.py from=voc to=coco dataset.root=IN out=OUT"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from retina.config.command import run_command  # noqa: E402

if __name__ == "__main__":
    sys.exit(run_command("convert_dataset"))
