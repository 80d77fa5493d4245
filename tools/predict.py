"""Detect objects in an image or a folder: python tools/predict.py ckpt=runs/mine source=photos out=pictures"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from retina.config.command import run_command  # noqa: E402


def predict(config: Any) -> None:
    """Draw and list what the checkpoint finds in ``config.source``."""
    # Imported here, so that a mistake on the command line is told before torch is loaded.
    from retina.commands.predict import check_settings, find_images, predict_images
    from retina.commands.runs import load_predictor

    check_settings(ckpt=config.ckpt, score_threshold=config.score_threshold)
    paths = find_images(config.source)
    predictor = load_predictor(config)
    summary = predict_images(predictor, paths, out=config.out, score_threshold=config.score_threshold, progress=print)
    print(summary)


if __name__ == "__main__":
    sys.exit(run_command("predict", predict))
