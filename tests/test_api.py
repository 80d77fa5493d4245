"""``import retina`` in a program or a notebook."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

import retina
from retina.commands.evaluate import EvaluationResult
from retina.commands.train import TrainingResult
from retina.detector import Detector, NamedDetections
from retina.errors import CheckpointError, ConfigError, DataError, RetinaError

# An untrained network finds something everywhere: ten boxes an image.
ONE_STEP = ("train.max_steps=1", "dataset.num_train_images=4", "postprocess.score_threshold=0",
            "postprocess.max_detections=10", "image.reduced_decoding=false")  # fmt: skip


@pytest.fixture(scope="module")
def run(small, tmp_path_factory) -> TrainingResult:
    """A run of one step."""
    return retina.train(*small, *ONE_STEP, f"run_dir={tmp_path_factory.mktemp('api') / 'run'}")


@pytest.fixture(scope="module")
def detector(run) -> Detector:
    return retina.load(run.run_dir, device="cpu", precision="float32")


@pytest.fixture(scope="module")
def photo(tmp_path_factory) -> Path:
    """Noise, 90 pixels high and 120 wide."""
    path = tmp_path_factory.mktemp("photos") / "photo.png"
    cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8))
    return path


@pytest.fixture(scope="module")
def found(detector, photo) -> NamedDetections:
    return detector(photo)


def test_importing_the_package_imports_nothing_heavy(root) -> None:
    code = "import sys, retina; print({'torch', 'hydra', 'numpy'} & set(sys.modules), sorted(retina.__all__))"
    told = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert told.stdout == "set() ['evaluate', 'load', 'train']\n"


def test_training_returns_where_the_run_is_and_its_numbers(run) -> None:
    assert (run.run_dir / "checkpoints" / "last.pt").is_file()
    assert (run.steps, run.best_step) == (1, 1)
    assert 0 <= run.metrics["AP"] <= 1
    assert run.metrics["AP"] == run.best_metrics["AP"]
    assert "train.max_steps=1" in (run.run_dir / "manifest.json").read_text(), "the manifest has the words"


def test_evaluation_returns_the_numbers_of_the_run(run, tmp_path) -> None:
    words = ("workers=0", "device=cpu", "precision=float32")
    result = retina.evaluate(f"ckpt={run.run_dir}", f"run_dir={tmp_path}", *words)
    assert isinstance(result, EvaluationResult)
    assert result.metrics["AP"] == run.metrics["AP"]
    assert (result.folder / "metrics.json").is_file()


def test_an_image_may_be_a_path_an_array_or_of_pil_and_many_a_list(detector, photo, found) -> None:
    image = Image.open(photo)
    kinds = [str(photo), photo, np.asarray(image.convert("RGB")), image]
    for again in (*map(detector, kinds), *detector(kinds), *detector(tuple(kinds))):
        torch.testing.assert_close(again.boxes, found.boxes)
        torch.testing.assert_close(again.scores, found.scores)
    assert detector([]) == []
    assert len(detector(Image.new("L", (50, 40)))) == 10


def test_detections_have_boxes_in_the_image_s_pixels_and_names(detector, found) -> None:
    assert len(found) == 10
    assert found.scores.tolist() == sorted(found.scores.tolist(), reverse=True)
    assert found.boxes.min() >= 0
    assert (found.boxes[:, 2].max() <= 120) & (found.boxes[:, 3].max() <= 90)
    assert found.names == [detector.class_names[label] for label in found.labels]


def test_strong_detections_are_chosen_by_their_score(found) -> None:
    least = float(found.scores[3])
    strong = found.above(least)
    assert isinstance(strong, NamedDetections)
    assert len(strong) == int((found.scores >= least).sum())
    assert strong.names == found.names[: len(strong)]
    assert len(found.above(1.1)) == 0


def test_detections_become_entries_of_the_coco_format(detector, found) -> None:
    entries = found.to_coco(image_id=7)
    assert len(entries) == 10
    x0, y0, x1, y1 = found.boxes[0].tolist()
    first = entries[0]
    assert first["image_id"] == 7
    assert first["category_id"] == detector.category_ids[found.labels[0]]
    assert first["bbox"] == pytest.approx([x0, y0, x1 - x0, y1 - y0])
    assert (first["score"], first["category_name"]) == (pytest.approx(float(found.scores[0])), found.names[0])


def test_detections_are_drawn_on_the_image_that_was_given(found) -> None:
    before = found.image.copy()
    picture = found.draw(score=0.0)
    assert (picture.shape, picture.dtype) == ((90, 120, 3), np.uint8)
    assert not np.array_equal(picture, before)
    assert np.array_equal(found.draw(score=1.1), before)
    assert np.array_equal(found.image, before), "the stored image is left alone"


def test_detections_become_those_of_supervision_where_it_is_installed(found, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(ConfigError, match="supervision is not installed") as caught:
        found.to_supervision()
    assert caught.value.fix == "pip install supervision"
    monkeypatch.setitem(sys.modules, "supervision", SimpleNamespace(Detections=lambda **values: values))
    values = found.to_supervision()
    assert (values["xyxy"].shape, values["xyxy"].dtype) == ((10, 4), np.float32)
    assert values["data"]["class_name"].tolist() == found.names


@pytest.mark.parametrize(
    ("call", "kind", "text"),
    [
        (lambda: retina.train("optimizer.lr=fast"), ConfigError, "optimizer.lr must be a number"),
        (lambda: retina.train("--lr=3"), ConfigError, "there is no flag --lr=3"),
        (lambda: retina.train("train.seed=1,2"), ConfigError, "train.seed=1,2 is several values"),
        (lambda: retina.evaluate(), ConfigError, "ckpt must be given"),
        (lambda: retina.load("no/such/run"), RetinaError, "no/such/run"),
        (lambda: retina.load(__file__), CheckpointError, "not a checkpoint"),
    ],
)
def test_a_mistake_is_an_error_with_its_remedy_and_not_the_end_of_the_program(call, kind, text, capsys) -> None:
    with pytest.raises(kind, match=text) as caught:
        call()
    assert isinstance(caught.value, RetinaError)
    assert capsys.readouterr().err == ""


def test_a_file_that_is_no_image_is_told(detector, tmp_path) -> None:
    (tmp_path / "photo.jpg").write_text("no image")
    with pytest.raises(DataError, match=r"photo\.jpg"):
        detector(tmp_path / "photo.jpg")
