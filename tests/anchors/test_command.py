"""``tools/anchors.py`` from the command line to the files, on drawn images."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from retina.anchors.command import network_boxes
from retina.build import build
from retina.config.command import run_command
from retina.config.compose import CONFIGS
from retina.data.dataset import DetectionDataset
from retina.settings import ImageSettings
from tests.jobs import job


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Wide and small objects on 20 + 8 small images, two of them crowds."""
    root = tmp_path_factory.mktemp("wide")
    (root / "images").mkdir()
    for split, count in (("train", 20), ("val", 8)):
        rng = np.random.default_rng(count)
        images, annotations = [], []
        for index in range(count):
            name, (height, width) = f"{split}{index}.png", (90, 120) if index % 2 else (120, 90)
            Image.fromarray(np.full((height, width, 3), 120, dtype=np.uint8)).save(root / "images" / name)
            images.append({"id": index + 1, "file_name": name, "height": height, "width": width})
            for _ in range(6):
                side = np.exp(rng.normal([2.9, 1.7], 0.2))
                x, y = rng.uniform(0, [width, height] - side)
                annotations.append({"id": len(annotations) + 1, "image_id": index + 1, "category_id": 1 + _ % 2,
                                    "bbox": [x, y, *side], "area": float(side.prod()), "iscrowd": 0})  # fmt: skip
        for crowd in annotations[:2]:
            crowd["iscrowd"] = 1
        classes = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]
        (root / f"{split}.json").write_text(
            json.dumps({"images": images, "annotations": annotations, "categories": classes})
        )
    return root


def overrides(folder: Path, out: Path, *more: str, splits: tuple[str, ...] = ("train", "val")) -> list[str]:
    return [
        "dataset=custom", "image.short_side=180", "image.long_side=240", f"out={out}", "fit.num_pictures=2",
        *(f"dataset.{split}.images={folder}/images" for split in splits),
        *(f"dataset.{split}.annotations={folder}/{split}.json" for split in splits), *more,
    ]  # fmt: skip


def run(*arguments: str) -> int:
    return run_command("anchors", arguments)


def test_every_data_set_composes_without_a_mistake() -> None:
    for dataset in ("shapes", "coco", "bccd"):
        settings, sections = job("anchors", f"dataset={dataset}")
        assert (settings.fit.search, sections["dataset"]["name"]) == (True, dataset)


def test_the_file_and_the_group_of_the_same_name_do_not_meet() -> None:
    settings, sections = job("anchors", "anchors=small")
    assert sections["anchors"]["base_scale"] == 2.0
    assert settings.fit.goal == "iou"


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_better_anchors_are_written_and_training_takes_them(folder, tmp_path, capsys) -> None:
    out = tmp_path / "found"
    assert run(*overrides(folder, out)) == 0
    shown = capsys.readouterr().out
    assert "note: 2 crowd regions, neither objects nor background" in shown
    assert "The fitted anchors fit better: mean IoU with the best anchor +" in shown
    report = json.loads((out / "anchors_report.json").read_text())
    for split, boxes in (("train", 118), ("val", 46)):
        before, after = report["splits"][split]["before"]["all"], report["splits"][split]["after"]["all"]
        assert before["boxes"] == after["boxes"] == boxes
        assert after["mean_iou"] > before["mean_iou"] + 0.05
    assert not report["verdict"]["keep"]
    _, sections = job("train", "dataset=bccd", "anchors=fitted", folders=(CONFIGS, out))
    fitted = build(sections["anchors"]).anchors
    assert list(fitted.aspect_ratios) == report["anchors"]["after"]["aspect_ratios"]
    assert fitted.num_per_cell == 9
    text = (out / "anchors" / "fitted.yaml").read_text()
    assert text.startswith("# python train.py dataset=custom --config-dir")
    assert "# Anchors fitted to custom train, sides 180/240 px." in text
    pictures = {path.name for path in out.glob("*.png")}
    assert pictures > {"sizes.png", "shapes.png"}
    assert len(pictures) == 4


def test_only_the_report_is_written_without_the_search(folder, tmp_path, capsys) -> None:
    assert run(*overrides(folder, tmp_path, "fit.search=false", "fit.num_pictures=0")) == 0
    report = json.loads((tmp_path / "anchors_report.json").read_text())
    assert set(report["splits"]["train"]) == {"before"}
    assert not (tmp_path / "anchors").exists()
    assert "verdict" not in report
    assert "fitting to" not in capsys.readouterr().out


def test_without_val_a_fifth_of_the_images_judges(folder, tmp_path, capsys) -> None:
    assert run(*overrides(folder, tmp_path, "fit.num_pictures=0", splits=("train",))) == 0
    shown = capsys.readouterr().out
    assert "on one in 5 train images, held out" in shown
    fitted = int(re.search(r"fitting to (\d+) of 118 boxes", shown)[1])
    assert 118 - 4 * 6 <= fitted <= 118 - 4 * 4


def test_anchors_that_fit_are_kept(folder, tmp_path, capsys) -> None:
    assert run(*overrides(folder, tmp_path / "a", "fit.num_pictures=0")) == 0
    found = json.loads((tmp_path / "a" / "anchors_report.json").read_text())["anchors"]["after"]
    chosen = [f"anchors.{name}={found[name]}" for name in ("base_scale", "scales", "aspect_ratios")]
    capsys.readouterr()
    assert run(*overrides(folder, tmp_path / "b", "fit.num_pictures=0", *chosen)) == 0
    assert "The present anchors fit: " in capsys.readouterr().out
    assert json.loads((tmp_path / "b" / "anchors_report.json").read_text())["verdict"]["keep"]


def test_files_without_objects_to_fit_to_are_refused(folder, tmp_path, capsys) -> None:
    content = json.loads((folder / "train.json").read_text())
    for name, records, why in (
        ("empty", [], "it has no usable annotation"),
        ("crowds", [{**record, "iscrowd": 1} for record in content["annotations"][:3]], "all of its 3 annotations are"),
    ):
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps({**content, "annotations": records}))
        assert run(*overrides(folder, tmp_path / "out", f"dataset.train.annotations={path}")) == 2
        told = capsys.readouterr().err
        assert told.startswith(f"error: there is no object to fit anchors to: {path}")
        assert why in told


def test_a_picture_that_cannot_be_read_is_said_and_left_out(folder, tmp_path, capsys) -> None:
    content = json.loads((folder / "val.json").read_text())
    content["images"][0]["height"], content["images"][0]["width"] = 121, 91
    (tmp_path / "val.json").write_text(json.dumps(content))
    arguments = overrides(folder, tmp_path / "out", f"dataset.val.annotations={tmp_path}/val.json", "fit.search=false")
    assert run(*[text.replace("num_pictures=2", "num_pictures=8") for text in arguments]) == 0
    assert "note: left out of the pictures: image 1 'val0.png' has 90 x 120 pixels" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("fit.goal=ap", "fit.goal must be one of iou, share"),
        ("fit.num_scales=0", "fit.num_scales must be at least 1"),
        ("save_as=a/b", "save_as must be letters, digits, _ and -"),
        ("save_as=small", "save_as=small would overwrite an option of anchors"),
    ],
)
def test_mistakes_are_told(folder, tmp_path, capsys, typed, told) -> None:
    assert run(*overrides(folder, tmp_path, typed)) == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "anchors_report.json").exists()


def test_one_image_cannot_be_fitted_to(folder, tmp_path, capsys) -> None:
    content = json.loads((folder / "train.json").read_text())
    content["images"] = content["images"][2:3]
    content["annotations"] = [record for record in content["annotations"] if record["image_id"] == 3]
    (tmp_path / "one.json").write_text(json.dumps(content))
    arguments = overrides(folder, tmp_path, f"dataset.train.annotations={tmp_path}/one.json", splits=("train",))
    assert run(*arguments) == 2
    assert "anchors cannot be fitted to one image" in capsys.readouterr().err


def test_boxes_are_those_that_training_gives_to_the_assigner(folder) -> None:
    from retina.data.augment import Augment
    from retina.data.collate import Collate

    dataset = DetectionDataset(folder / "images", folder / "train.json", name="wide", split="train")
    image = ImageSettings(short_side=133, long_side=170)
    objects = network_boxes(dataset, image, seed=0)
    augment, seen = Augment([], **image.one_size, seed=0), []
    collate = Collate(lambda canvas, targets: seen.append((canvas, targets[0])))
    for index in range(len(dataset)):
        sample = augment.resize(dataset.sample(index))
        collate([sample])
        canvas, targets = seen[-1]
        mine = objects.image == index
        assert tuple(objects.canvases[index]) == canvas
        torch.testing.assert_close(torch.from_numpy(objects.boxes[mine]), targets.boxes, rtol=1e-5, atol=1e-4)
        assert objects.labels[mine].tolist() == targets.labels.tolist()


def test_training_images_of_several_sizes_have_one_of_them_each(folder) -> None:
    files = [DetectionDataset(None, folder / f"{split}.json", name="wide", split=split) for split in ("train", "val")]
    image = ImageSettings(short_side=96, long_side=400, multi_scale=[96, 192])
    heights = [set(np.min(network_boxes(dataset, image, seed=1).canvases, axis=1).tolist()) for dataset in files]
    assert heights == [{96, 192}, {96}]


def test_boxes_that_the_resize_makes_too_thin_are_left_out(folder, tmp_path, capsys) -> None:
    content = json.loads((folder / "train.json").read_text())
    content["annotations"][5]["bbox"][3] = 0.04
    (tmp_path / "thin.json").write_text(json.dumps(content))
    assert run(*overrides(folder, tmp_path, f"dataset.train.annotations={tmp_path}/thin.json", "fit.search=false",
                          "fit.num_pictures=0")) == 0  # fmt: skip
    assert "note: 1 box is thinner than 0.1 px on the network" in capsys.readouterr().out
