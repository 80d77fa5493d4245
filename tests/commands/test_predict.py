from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from retina.commands.predict import find_images, predict_images
from retina.config.command import call_command
from retina.data.augment import Augment
from retina.data.collate import Collate
from retina.data.dataset import DetectionDataset
from retina.data.samplers import SampleKey
from retina.detection.anchors import AnchorGenerator
from retina.detection.assign import Assigner
from retina.detection.postprocess import PostProcess
from retina.detector import Detector
from retina.drawing.colours import class_color
from retina.errors import ConfigError, DataError, RetinaError
from retina.evaluation.evaluate import Evaluator
from retina.models.backbones.resnet import ResNet
from retina.models.retinanet import build_retinanet
from retina.settings import ImageSettings
from retina.structures import Detections, Predictions
from tests.jobs import CPU


class Nothing(nn.Module):
    """A network that looks at nothing; the stub post-processing below says what is found."""

    def forward(self, images, box_cells=None) -> Predictions:
        assert not self.training
        return Predictions(torch.zeros(1, 1, 2), torch.zeros(1, 1, 4), [(1, 1)])


def two_boxes(predictions: Predictions, anchors: torch.Tensor, sizes: torch.Tensor, **_) -> list[Detections]:
    """Find the right half of every image, and weakly the lower half, in pixels of the network's input."""
    height, width = sizes[0].tolist()
    boxes = torch.tensor([[width / 2, 0, width, height], [0, height / 2, width, height]])
    return [Detections(boxes, torch.tensor([0.75, 0.125]), torch.tensor([1, 0]))]


def detector_of(model: nn.Module, assigner: Assigner, postprocess, image: ImageSettings, names, ids) -> Detector:
    return Detector(
        model=model.eval(), assigner=assigner, postprocess=postprocess, image=image, class_names=names,
        category_ids=ids, machine=CPU, path=Path("run/checkpoints/best.pt"), dataset={}, config="", statistics={},
    )  # fmt: skip


@pytest.fixture
def predictor() -> Detector:
    image = ImageSettings(short_side=64, long_side=128, reduced_decoding=False)
    one_anchor = Assigner(AnchorGenerator(strides=(8,), scales=(1.0,), aspect_ratios=(1.0,)))
    return detector_of(Nothing(), one_anchor, two_boxes, image, ("cell", "größe"), (3, 7))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two images, one broken file and a text."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, size in (("b.png", (120, 200)), ("å.JPG", (300, 100))):
        encoded = cv2.imencode(".png", np.full((*size, 3), 90, dtype=np.uint8))[1]
        (folder / name).write_bytes(encoded.tobytes())
    (folder / "a_broken.jpg").write_bytes(b"not an image")
    (folder / "notes.txt").write_text("no image")
    return folder


def test_a_folder_becomes_pictures_and_a_results_file(predictor, photos, tmp_path):
    out = tmp_path / "deep" / "out"
    summary = predict_images(predictor, find_images(photos), out=out)
    assert {path.name for path in out.iterdir()} == {"b.png", "å.JPG", "detections.json"}
    entries = json.loads((out / "detections.json").read_text(encoding="utf-8"))
    assert len(entries) == summary.num_detections == 4
    assert entries[0] == {
        "image_id": 2,
        "category_id": 7,
        "bbox": pytest.approx([100, 0, 100, 120]),
        "score": 0.75,
        "file_name": "b.png",
        "category_name": "größe",
    }
    assert entries[3]["bbox"] == pytest.approx([0, 150, 100, 150])
    assert [entry["image_id"] for entry in entries] == [2, 2, 3, 3], "numbered in the order of the file names"


def test_the_pictures_show_strong_detections_only(predictor, photos, tmp_path):
    predict_images(predictor, find_images(photos / "b.png"), out=tmp_path / "out", score_threshold=0.3)
    picture = cv2.imread(str(tmp_path / "out" / "b.png"))[:, :, ::-1]
    assert tuple(picture[60, 199]) == class_color(1)
    assert tuple(picture[90, 0]) == (90, 90, 90)
    predict_images(predictor, find_images(photos / "b.png"), out=tmp_path / "out", score_threshold=0.1)
    picture = cv2.imread(str(tmp_path / "out" / "b.png"))[:, :, ::-1]
    assert tuple(picture[90, 0]) == class_color(0)


def test_a_file_that_cannot_be_read_is_told_and_the_others_go_on(predictor, photos, tmp_path):
    told = []
    summary = predict_images(predictor, find_images(photos), out=tmp_path / "out", progress=told.append)
    assert summary.num_images == 2
    assert "1 of 3 files could not be read" in str(summary)
    assert "a_broken.jpg" in str(summary)
    assert [("cannot be decoded" in line) for line in told] == [True, False, False]


def test_no_readable_image_at_all_is_an_error(predictor, photos, tmp_path):
    with pytest.raises(DataError, match=r"none of the 1 images can be read: .*a_broken\.jpg"):
        predict_images(predictor, find_images(photos / "a_broken.jpg"), out=tmp_path / "out")


def test_the_images_are_never_overwritten(predictor, photos):
    before = (photos / "b.png").read_bytes()
    with pytest.raises(ConfigError, match="out is the folder of the images"):
        predict_images(predictor, find_images(photos), out=photos / ".." / "photos")
    assert (photos / "b.png").read_bytes() == before


@pytest.mark.parametrize(
    ("source", "message"),
    [("nowhere", "no such file or folder: source=.*nowhere"), ("", "no images in the")],
)
def test_a_source_without_images_is_told(tmp_path, source, message):
    with pytest.raises(RetinaError, match=message):
        find_images(tmp_path / source)


def test_prediction_and_evaluation_find_the_same(tmp_path, annotations_file, instances):
    torch.manual_seed(0)
    generator = np.random.default_rng(0)
    for entry in instances["images"]:
        pixels = generator.integers(0, 256, (entry["height"], entry["width"], 3), dtype=np.uint8)
        cv2.imwrite(str(tmp_path / entry["file_name"]), pixels)
    dataset = DetectionDataset(tmp_path, annotations_file, name="tiny", split="val")
    anchors = AnchorGenerator()
    model = build_retinanet(
        num_classes=3,
        num_anchors=9,
        backbone=ResNet(depth=18, norm="bn"),
        weights=None,
        fpn_channels=16,
        tower_channels=16,
    )
    postprocess = PostProcess(score_threshold=0.0, max_detections=20)
    image = ImageSettings(short_side=90, long_side=160, reduced_decoding=False)  # neither side a multiple of 32
    augment = Augment([], **image.one_size, seed=0)
    samples = [augment.transform(dataset.sample(i), SampleKey(0, i)) for i in range(3)]
    loader = [Collate(Assigner(anchors))([sample]) for sample in samples]
    evaluation = Evaluator(loader=loader, dataset=dataset, postprocess=postprocess, anchors=anchors, machine=CPU)(model)
    predictor = detector_of(model, Assigner(anchors), postprocess, image, "abc", (3, 7, 90))
    for i, image_id in enumerate(dataset.image_ids.tolist()):
        alone, together = predictor(dataset.sample(i).image), evaluation.detections[image_id]
        assert len(alone) == 20
        torch.testing.assert_close(alone.boxes, together.boxes)
        torch.testing.assert_close(alone.scores, together.scores)
        assert alone.labels.tolist() == together.labels.tolist()


def test_the_command_reads_a_checkpoint_and_writes_what_it_finds(predictor, photos, tmp_path, monkeypatch, capsys):
    asked = []

    def load(ckpt: str, *, machine) -> Detector:
        asked.append((ckpt, machine))
        return replace(predictor, category_ids=(1, 2))

    monkeypatch.setattr(Detector, "load", load)
    out = tmp_path / "out"
    words = [f"ckpt={tmp_path}", f"source={photos}", f"out={out}", "device=cpu", "precision=float32"]
    summary = call_command("predict", words)
    assert asked == [(str(tmp_path), CPU)]
    entries = json.loads((out / "detections.json").read_text(encoding="utf-8"))
    assert [entry["category_id"] for entry in entries] == [2, 1, 2, 1]
    assert (summary.out, summary.num_detections) == (out, 4)
    assert "4 detections on 2 images" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["ckpt=null", "source=."], "ckpt must be given"),
        (["ckpt=.", "source=null"], "source must be given"),
        (["ckpt=.", "source=.", "score_threshold=30"], "score_threshold must be between 0 and 1, got 30"),
    ],
)
def test_what_is_missing_is_told_before_a_model_is_loaded(words, message, monkeypatch):
    monkeypatch.setattr(Detector, "load", lambda *_, **__: pytest.fail("loaded"))
    with pytest.raises(ConfigError, match=message):
        call_command("predict", words)
