"""The shapes set on disk: its statistics, its format, and that it is made once, whole, whoever asks."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torchvision.ops import box_convert

from retina.boxes import pairwise_iou
from retina.data import shapes
from retina.data.shapes import ShapesFolder, draw_image
from retina.data.shapes_drawing import CLASSES
from retina.errors import DataError

NUM_IMAGES = 200  # a split, where statistics are taken


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> ShapesFolder:
    """A set large enough for statistics."""
    folder = ShapesFolder(
        root=str(tmp_path_factory.mktemp("shapes")), num_train_images=NUM_IMAGES, num_val_images=NUM_IMAGES
    )
    folder.make()
    return folder


@pytest.fixture
def tiny(tmp_path) -> ShapesFolder:
    """A set of a few images, not made yet."""
    return ShapesFolder(root=str(tmp_path / "shapes"), num_train_images=6, num_val_images=3)


def document(folder: ShapesFolder, split: str) -> dict:
    return json.loads((folder.folder / "annotations" / f"instances_{split}2017.json").read_text())


def digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def sides(annotations: list[dict]) -> np.ndarray:
    return np.sqrt([record["bbox"][2] * record["bbox"][3] for record in annotations])


def test_the_defaults_are_those_that_are_promised():
    folder = ShapesFolder()
    assert (folder.image_size, folder.num_val_images, folder.splits) == (256, 200, ("train", "val"))


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_quarter_of_the_boxes_is_small_and_none_is_tiny(made, split):
    annotations = document(made, split)["annotations"]
    assert len(annotations) > 500
    assert 0.20 <= np.mean(sides(annotations) < 32) <= 0.30
    assert min(min(record["bbox"][2:]) for record in annotations) >= 10
    assert sides(annotations).max() > 90


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_tenth_of_the_images_is_empty(made, split):
    content = document(made, split)
    occupied = {record["image_id"] for record in content["annotations"]}
    empty = [image["id"] for image in content["images"] if image["id"] not in occupied]
    assert len(content["images"]) == NUM_IMAGES
    assert 0.07 <= len(empty) / NUM_IMAGES <= 0.13
    assert len({image_id % 10 for image_id in empty}) > 5  # not every tenth: nothing to learn from the order


@pytest.mark.parametrize("split", ["train", "val"])
def test_boxes_overlap_but_never_beyond_the_limit(made, split):
    dataset, overlaps = made.open(split), []
    boxes = box_convert(torch.from_numpy(dataset.boxes), "xywh", "xyxy")
    for start, stop in zip(dataset.offsets[:-1], dataset.offsets[1:], strict=True):
        overlaps += pairwise_iou(boxes[start:stop], boxes[start:stop]).triu(1).flatten().tolist()
    assert max(overlaps) <= 0.4 + 1e-6
    assert sum(value > 0.2 for value in overlaps) >= 8


@pytest.mark.parametrize("split", ["train", "val"])
def test_images_hold_one_to_twelve_objects_of_all_classes_alike(made, split):
    annotations = document(made, split)["annotations"]
    per_image = np.unique([record["image_id"] for record in annotations], return_counts=True)[1]
    assert set(range(3, 9)) <= set(per_image) <= set(range(1, 13))
    ids, counts = np.unique([record["category_id"] for record in annotations], return_counts=True)
    assert ids.tolist() == [kind.category_id for kind in CLASSES]
    assert counts.min() > 0.1 * counts.sum()


def test_the_file_is_a_complete_coco_file(made):
    for split in made.splits:
        content = document(made, split)
        assert set(content) == {"info", "licenses", "images", "annotations", "categories"}
        assert all(set(image) == {"id", "file_name", "height", "width", "license"} for image in content["images"])
        for record in content["annotations"]:
            assert set(record) == {"id", "image_id", "category_id", "bbox", "area", "iscrowd"}
            x, y, width, height = record["bbox"]
            assert min(x, y) >= 0
            assert max(x + width, y + height) <= 256
            assert 0.15 * width * height < record["area"] <= width * height
        assert [(kind["id"], kind["name"]) for kind in content["categories"]] == [
            (kind.category_id, kind.name) for kind in CLASSES
        ]
        files = {path.name for path in (made.folder / f"{split}2017").iterdir()}
        assert files == {image["file_name"] for image in content["images"]}
        assert not any(character in name for name in files for character in "=,")


def test_category_ids_have_gaps_and_do_not_start_at_zero(made):
    ids = made.open("val").category_ids
    assert ids == tuple(sorted(ids))
    assert ids[0] > 1
    assert ids[-1] - ids[0] > len(ids) - 1


def test_no_image_id_stands_in_both_splits(made):
    assert not set(made.open("train").image_ids.tolist()) & set(made.open("val").image_ids.tolist())


def test_the_opened_set_shows_the_drawn_pixels_and_boxes(made):
    for split in made.splits:
        dataset = made.open(split)
        assert dataset.class_names == tuple(kind.name for kind in CLASSES)
        for index in range(12):
            pixels, layout = draw_image(made.seed, split, index, side=256)
            sample = dataset.sample(index)
            assert np.abs(sample.image.astype(int) - pixels).mean() < 6  # JPEG; a swap of colours would give 30
            drawn = [
                (figure.label, box)
                for figure, box in zip(layout.figures, layout.boxes, strict=True)
                if figure.label is not None
            ]
            assert sample.targets.labels.tolist() == [label for label, _ in drawn]
            assert sample.targets.boxes.tolist() == [list(map(float, box)) for _, box in drawn]


def test_perfect_detections_score_one_with_pycocotools(made, capsys):
    truth = COCO(str(made.folder / "annotations" / "instances_val2017.json"))
    records = document(made, "val")["annotations"]
    found = [{**{key: record[key] for key in ("image_id", "category_id", "bbox")}, "score": 0.9} for record in records]
    evaluation = COCOeval(truth, truth.loadRes(found), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    assert evaluation.stats[0] == pytest.approx(1.0)
    assert evaluation.stats[3:6] == pytest.approx([1.0, 1.0, 1.0])  # small, medium and large objects are all there


def test_the_same_settings_make_the_same_bytes_and_another_seed_makes_others(tiny, tmp_path):
    again, other = replace(tiny, root=str(tmp_path / "again")), replace(tiny, seed=1)
    for folder in (tiny, again, other):
        folder.make()
    assert len(digests(tiny.folder)) == 6 + 3 + 2
    assert digests(tiny.folder) == digests(again.folder)
    same = digests(tiny.folder).items() & digests(other.folder).items()
    assert not same


def test_training_and_validation_share_no_image(tiny):
    train = [draw_image(0, "train", index, side=256)[0].tobytes() for index in range(5)]
    val = [draw_image(0, "val", index, side=256)[0].tobytes() for index in range(5)]
    assert len({*train, *val}) == 10


def test_an_image_does_not_depend_on_how_many_there_are(tiny, tmp_path):
    longer = replace(tiny, num_train_images=9)
    tiny.make()
    longer.make()
    name = "train2017/000000000006.jpg"
    assert digests(tiny.folder)[name] == digests(longer.folder)[name]


def test_each_setting_and_each_version_of_the_pictures_has_its_own_folder(tiny, monkeypatch):
    changes = [{"num_train_images": 7}, {"num_val_images": 4}, {"image_size": 128}, {"seed": 3}, {}]
    folders = [replace(tiny, **change).folder for change in changes]
    monkeypatch.setattr(shapes, "FORMAT_VERSION", shapes.FORMAT_VERSION + 1)
    folders.append(tiny.folder)
    assert len(set(folders)) == 6
    assert not any(character in folder.name for folder in folders for character in "=,")


def test_other_pictures_need_another_format_version():
    """Where this fails on purpose, raise FORMAT_VERSION and write the boxes of the new pictures here."""
    known = {
        ("train", 2): [[158, 145, 256, 256], [132, 180, 181, 229], [131, 134, 167, 174], [157, 0, 220, 56]],
        ("val", 1): [
            [43, 145, 137, 221],
            [69, 78, 162, 184],
            [160, 115, 201, 157],
            [12, 169, 28, 185],
            [98, 33, 172, 106],
            [223, 84, 256, 122],
        ],
    }
    assert shapes.FORMAT_VERSION == 4
    for (split, index), boxes in known.items():
        layout = draw_image(0, split, index, side=256)[1]
        assert [list(box) for box in layout.boxes] == [pytest.approx(box, abs=1) for box in boxes]


def test_smaller_images_hold_smaller_objects(tiny):
    folder = replace(tiny, image_size=128)
    dataset = folder.open("train")
    assert dataset.sizes.tolist() == [[128, 128]] * 6
    assert sides(document(folder, "train")["annotations"]).max() < 68


def test_the_set_is_drawn_once(tiny, monkeypatch):
    assert not tiny.is_made
    tiny.open("train")
    assert tiny.is_made

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("drawn again")

    monkeypatch.setattr(shapes, "_write_split", refuse)
    assert len(tiny.open("val")) == 3


@pytest.mark.slow
def test_two_processes_at_once_end_with_one_whole_folder(tiny, root):
    program = (
        "import sys, time\n"
        "from retina.data.shapes import ShapesFolder\n"
        "folder = ShapesFolder(root=sys.argv[1], num_train_images=40, num_val_images=20)\n"
        "print('ready', flush=True); sys.stdin.readline()\n"
        "print(len(folder.open('train')), len(folder.open('val')))\n"
    )
    command = [sys.executable, "-c", program, tiny.root]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "cwd": root}
    processes = [subprocess.Popen(command, **pipes) for _ in range(2)]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    for process in processes:
        assert process.communicate(timeout=60)[0] == "40 20\n"
        assert process.returncode == 0
    folder = replace(tiny, num_train_images=40, num_val_images=20)
    assert [path.name for path in Path(tiny.root).iterdir()] == [folder.folder.name]
    assert len(digests(folder.folder)) == 40 + 20 + 2


def test_who_comes_second_uses_the_folder_of_the_first(tiny, monkeypatch):
    write_split = shapes._write_split

    def overtaken(folder: Path, split: str, **settings: int) -> None:
        write_split(folder, split, **settings)
        (tiny.folder / "annotations").mkdir(parents=True, exist_ok=True)
        (tiny.folder / "annotations" / f"{split}.json").write_text("of the first")

    monkeypatch.setattr(shapes, "_write_split", overtaken)
    tiny.make()
    assert set(digests(tiny.folder)) == {"annotations/train.json", "annotations/val.json"}
    assert os.listdir(tiny.root) == [tiny.folder.name]


def test_an_unfinished_folder_of_a_killed_process_is_not_taken_for_the_set(tiny):
    leftover = Path(tiny.root) / f".{tiny.folder.name}.1234-abcd.partial"
    (leftover / "train2017").mkdir(parents=True)
    (leftover / "train2017" / "000000000001.jpg").write_bytes(b"half an ima")
    assert not tiny.is_made
    assert len(tiny.open("train")) == 6


def test_a_stop_while_drawing_leaves_nothing_behind(tiny, monkeypatch):
    write_split = shapes._write_split

    def stopped(folder: Path, split: str, **settings: int) -> None:
        write_split(folder, split, **settings)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(shapes, "_write_split", stopped)
        with pytest.raises(KeyboardInterrupt):
            tiny.make()
    assert os.listdir(tiny.root) == []
    assert len(tiny.open("val")) == 3


def test_a_root_that_cannot_be_written_is_told_with_the_setting_to_change(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match=r"cannot be written: .*file") as caught:
        ShapesFolder(root=str(tmp_path / "file")).open("train")
    assert "Not a directory" in caught.value.why
    assert "dataset.root=" in caught.value.fix


def test_a_split_that_is_not_there_is_told_before_anything_is_drawn(tiny):
    with pytest.raises(DataError, match=r"'shapes' has no split 'test'; it has train, val"):
        tiny.open("test")
    assert not tiny.is_made


@pytest.mark.parametrize(
    ("setting", "value"), [("num_train_images", 0), ("num_val_images", 0), ("image_size", 127), ("seed", -1)]
)
def test_a_setting_out_of_range_is_named_with_its_bound(setting, value):
    with pytest.raises(ValueError, match=rf"{setting} must be at least \d+, got {value}"):
        ShapesFolder(**{setting: value})
