"""There and back: the same boxes to the format's precision, and the AP of perfect detections stays 1."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from retina.data.dataset import DetectionDataset
from retina.errors import ConfigError, DataError
from retina.evaluation.coco_metrics import coco_metrics
from retina.formats import command as module
from retina.formats.command import convert
from retina.formats.csv_table import CsvFolder
from retina.formats.voc import VocFolder
from retina.formats.yolo import YoloFolder

FOLDERS = {"voc": VocFolder, "yolo": YoloFolder, "csv": CsvFolder}
PRECISION = {"voc": 2e-4, "yolo": 2e-4, "csv": 2e-4}  # pixels, as docs/formats.md promises


def _there_and_back(dataset: DetectionDataset, to: str, tmp_path) -> DetectionDataset:
    """COCO -> ``to`` -> COCO."""
    convert({"val": dataset}, tmp_path / to, to=to)
    middle = FOLDERS[to](root=str(tmp_path / to)).open("val")
    convert({"val": middle}, tmp_path / "back", to="coco")
    back = tmp_path / "back"
    return DetectionDataset(back / "val", back / "annotations" / "instances_val.json", name="back", split="val")


def _objects(dataset: DetectionDataset, to: str, *, crowds: bool = True) -> dict:
    """Return the objects by the name of their image, in order: class, box, crowd."""
    found = {}
    for index in range(len(dataset)):
        objects = range(dataset.offsets[index], dataset.offsets[index + 1])
        name = dataset.file_names[index].removeprefix("images/val/" if to == "csv" else "")
        found[name] = [
            (dataset.class_names[dataset.labels[i]], *dataset.boxes[i], bool(dataset.crowd[i]))
            for i in objects
            if crowds or not dataset.crowd[i]
        ]
    return found


def _check_round_trip(dataset: DetectionDataset, to: str, tmp_path) -> DetectionDataset:
    back = _there_and_back(dataset, to, tmp_path)
    before, after = (_objects(one, name, crowds=to == "voc") for one, name in ((dataset, ""), (back, to)))
    assert before.keys() == after.keys()
    for name, objects in before.items():
        assert [(row[0], row[-1]) for row in objects] == [(row[0], row[-1]) for row in after[name]]
        boxes = [np.array([row[1:5] for row in rows]).reshape(-1, 4) for rows in (objects, after[name])]
        np.testing.assert_allclose(*boxes, atol=PRECISION[to], rtol=0)
    assert sorted(back.class_names) == sorted(dataset.class_names)  # also those without objects
    assert all(back.image_file(index).is_file() for index in range(len(back)))
    return back


def _perfect_ap(truth: DetectionDataset, found: DetectionDataset, to: str) -> float:
    """AP of the boxes of ``found`` as detections on ``truth``."""
    ids = {truth.file_names[index]: int(truth.image_ids[index]) for index in range(len(truth))}
    category = dict(zip(truth.class_names, truth.category_ids, strict=True))
    results = [
        {"image_id": ids[name], "category_id": category[row[0]], "bbox": [float(v) for v in row[1:5]], "score": 1.0}
        for name, rows in _objects(found, to).items()
        for row in rows
        if not row[-1]
    ]
    return coco_metrics(truth.ground_truth(), results)["AP"]


@pytest.fixture
def tiny(coco_folder, content):
    """The COCO folder with the same stem in two folders and one more class that no object has."""
    shutil.copy(coco_folder / "images" / "a.png", coco_folder / "images" / "deep" / "a.png")
    content["images"].append({"id": 500, "file_name": "deep/a.png", "height": 60, "width": 80})
    content["annotations"].append(
        {"id": 90, "image_id": 500, "category_id": 1, "bbox": [0.01, 0.37, 33.33, 44.44], "area": 9, "iscrowd": 0}
    )
    content["categories"].append({"id": 5, "name": "nobody has it"})
    (coco_folder / "instances.json").write_text(json.dumps(content), encoding="utf-8")
    return DetectionDataset(coco_folder / "images", coco_folder / "instances.json", name="tiny", split="val")


@pytest.mark.parametrize("to", FOLDERS)
def test_a_small_set_comes_back_as_it_was(tiny, tmp_path, to):
    back = _check_round_trip(tiny, to, tmp_path)
    assert _perfect_ap(tiny, back, to) == pytest.approx(1.0)


@pytest.mark.parametrize("to", FOLDERS)
def test_real_images_come_back_as_they_were(shared_data, tmp_path, to):
    root = shared_data / "coco158"
    dataset = DetectionDataset(
        root / "val2017", root / "annotations" / "instances_val2017.json", name="coco158", split="val"
    )
    back = _check_round_trip(dataset, to, tmp_path)
    assert _perfect_ap(dataset, back, to) == pytest.approx(1.0)


def test_coco_to_coco_keeps_every_number(tiny, tmp_path):
    convert({"val": tiny}, tmp_path / "out", to="coco")
    back = DetectionDataset(
        tmp_path / "out" / "val", tmp_path / "out" / "annotations" / "instances_val.json", name="back", split="val"
    )
    assert back.ground_truth() == tiny.ground_truth()


def test_what_a_format_does_not_hold_is_counted(tiny, tmp_path):
    lost = convert({"val": tiny}, tmp_path / "out", to="yolo")
    said = {text.partition(":")[0]: count for text, count in lost.items() if count}
    assert said["crowd regions left out"] == 1
    assert said["category ids not kept"] == 3  # of 1, 5, 18 and 90 the first stays
    assert said["areas not kept"] == 3


def test_outlines_are_counted_without_parsing(tmp_path):
    file = tmp_path / "a.json"
    record = '{"id": 1, "segmentation" : [[1, 2]]}, {"segmentation": []}, {"segmentation": {"counts": [1]}},'
    file.write_text(record * 50)
    assert module._count_outlines(file) == 100


@pytest.mark.parametrize(("images", "same"), [("link", True), ("copy", False)])
def test_images_are_linked_or_copied(tiny, tmp_path, images, same):
    convert({"val": tiny}, tmp_path / "out", to="voc", images=images)
    old, new = tiny.image_file(0), tmp_path / "out" / "JPEGImages" / tiny.file_names[0]
    assert (old.stat().st_ino == new.stat().st_ino) is same
    assert old.read_bytes() == new.read_bytes()


def test_annotations_alone_can_be_converted(tiny, tmp_path):
    convert({"val": tiny}, tmp_path / "out", to="csv", images="none")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["classes.txt", "val.csv"]


def test_a_folder_that_holds_something_is_left_alone(tiny, tmp_path):
    (tmp_path / "out").mkdir()
    convert({"val": tiny}, tmp_path / "out", to="csv")  # an empty one is fine
    with pytest.raises(ConfigError, match="not an empty folder"):
        convert({"val": tiny}, tmp_path / "out", to="csv")


def test_missing_images_are_told_before_anything_is_written(tiny, tmp_path):
    for name in ("grey.png", "empty.png"):
        (tiny.images_root / name).unlink()
    with pytest.raises(DataError, match=r"image 3 'empty.png'.*image 1 'grey.png'"):
        convert({"val": tiny}, tmp_path / "out", to="voc")
    assert not (tmp_path / "out").exists()


def test_names_that_would_be_read_back_as_others_are_refused(coco_folder, content, write_annotations, tmp_path):
    content["categories"][0]["name"] = " toothbrush"
    content["images"][0]["file_name"] = "a.gif"
    dataset = DetectionDataset(None, write_annotations(content), name="odd", split="val")
    with pytest.raises(DataError, match=r"class ' toothbrush', image 'a.gif'"):
        convert({"val": dataset}, tmp_path / "out", to="voc", images="none")


def test_an_interrupted_conversion_leaves_nothing(tiny, tmp_path):
    def stop() -> None:
        raise KeyboardInterrupt

    before = sorted(tmp_path.iterdir())
    with pytest.raises(KeyboardInterrupt):
        convert({"val": tiny}, tmp_path / "out", to="voc", advance=stop)
    assert sorted(tmp_path.iterdir()) == before
