"""What a run tells at its start: the data with what was found in them, each below its split."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np

from retina.commands.announce import say_data
from retina.data.findings import Fault, Findings

EMPTY = Fault("image-empty", "note", "image without objects", "images without objects", "kept")
CLIPPED = Fault("box-clipped", "warning", "box that leaves its image", "boxes that leave their image", "clipped")


class Split(SimpleNamespace):
    """A data set of three images."""

    def __len__(self) -> int:
        return 3


def split(name: str, findings: Findings) -> Split:
    crowd, annotations = np.array([True, False]), SimpleNamespace(source=f"{name}.json")
    return Split(
        split=name, num_objects=5, num_classes=2, crowd=crowd, annotations=annotations, findings=findings.all()
    )


def test_findings_stand_below_their_split_and_those_of_images_below_those_of_annotations():
    findings = Findings("train.json")
    findings.add(EMPTY, "image 1 'a.jpg'")
    findings.add(CLIPPED, "annotation 7, image 1 'a.jpg'")
    train, test = split("train", findings), split("test", Findings("test.json"))
    said: list[str] = []
    log = SimpleNamespace(run_dir=Path("runs/x"), say=said.append)
    say_data(log, {"train": train, "val": test}, [("val", "warning: 1 gray image"), ("train", "note: not all")])
    assert said == [
        "run       runs/x",
        "train     3 images, 5 objects of 2 classes, 1 crowds: train.json",
        "          warning: 1 box that leaves its image, clipped: annotation 7, image 1 'a.jpg'",
        "          note: 1 image without objects, kept",
        "          note: not all",
        "val       3 images, 5 objects of 2 classes, 1 crowds (test): test.json",
        "          warning: 1 gray image",
    ]
