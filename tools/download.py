"""Download a public data set: python tools/download.py dataset=coco root=data/coco"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from retina.config.command import run_command  # noqa: E402


def download(config: Any) -> None:
    """Bring the data set ``config.dataset`` into the folder ``config.root``."""
    from retina.download.command import download_config

    download_config(config)


if __name__ == "__main__":
    sys.exit(run_command("download", download))
