"""Convert a data set: python tools/convert_dataset.py from=voc to=coco dataset.root=IN out=OUT"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from retina.config.command import run_command  # noqa: E402


def convert_dataset(config: Any) -> None:
    """Write the data set ``config.dataset`` in the format ``config.to`` and print what was done."""
    # Imported here, so that a mistake on the command line is told before torch is loaded.
    from retina.formats.command import convert_config

    convert_config(config)


if __name__ == "__main__":
    # `from` says which file of configs/dataset/ is read, under the name that everybody looks for.
    arguments = [f"dataset={text.removeprefix('from=')}" if text.startswith("from=") else text for text in sys.argv[1:]]
    sys.exit(run_command("convert_dataset", convert_dataset, arguments=arguments))
