"""The commands as a user types them, each in its own process: what they print, write and exit with."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import cv2
import pytest

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def smoke_run(root, tmp_path_factory):
    """What `python train.py experiment=smoke` said, and its run directory."""
    folder = tmp_path_factory.mktemp("smoke")
    done = subprocess.run(
        [sys.executable, "train.py", "experiment=smoke", f"dataset.root={folder / 'shapes'}",
         "dataset.num_train_images=8", "dataset.num_val_images=3", f"run_dir={folder / 'mine'}",
         "model.fpn_channels=32", "model.tower_channels=32", "postprocess.score_threshold=0.001"],
        cwd=root, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=250,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done, folder / "mine"


def test_a_smoke_run_says_what_it_does_and_what_to_do_next(smoke_run):
    done, run = smoke_run
    assert done.stderr == ""
    for part in ("train     8 images", "val       3 images", "4 steps of 2 images", "step 4/4", "eval/AP",
                 "best of the run", f"python evaluate.py ckpt={run}"):  # fmt: skip
        assert part in done.stdout, part
    assert (run / "checkpoints" / "last.pt").is_file()


def test_a_run_is_evaluated_by_its_directory(smoke_run, command):
    _, run = smoke_run
    trained = json.loads((run / "eval" / "val" / "metrics.json").read_text())
    done = command("evaluate.py", f"ckpt={run}", "workers=1")
    assert (done.returncode, done.stderr) == (0, "")
    metrics = json.loads((run / "eval" / "val" / "metrics.json").read_text())
    assert metrics == {name: value for name, value in trained.items() if not name.startswith("loss")}
    assert f"written to {run / 'eval' / 'val'}" in done.stdout


def test_pictures_are_predicted_and_drawn(smoke_run, command, tmp_path):
    _, run = smoke_run
    source = next((run.parent / "shapes").glob("*/val2017"))
    done = command("tools/predict.py", f"ckpt={run}", f"source={source}", f"out={tmp_path / 'out'}",
                   "score_threshold=0")  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    names = sorted(path.name for path in source.iterdir())
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted([*names, "detections.json"])
    entries = json.loads((tmp_path / "out" / "detections.json").read_text())
    assert {entry["file_name"] for entry in entries} == set(names)
    drawn, plain = cv2.imread(str(tmp_path / "out" / names[0])), cv2.imread(str(source / names[0]))
    assert drawn.shape == plain.shape
    assert (abs(drawn.astype(int) - plain) > 60).any(), "nothing was drawn"


def test_a_results_file_gets_the_official_numbers(shared_data, command, tmp_path):
    folder = shared_data / "cocoeval100"
    done = command(
        "evaluate.py",
        f"detections={folder / 'instances_val2014_fakebbox100_results.json'}",
        f"annotations={folder / 'instances_val2014_100.json'}",
        f"run_dir={tmp_path}",
    )
    assert (done.returncode, done.stderr) == (0, "")
    # Of COCO's own evaluation, from the README beside the files.
    official = {
        "AP": 0.5045806987249628, "AP50": 0.6969727247299577, "AP75": 0.5729816669904824,
        "APs": 0.5856257209410443, "APm": 0.5193996948036719, "APl": 0.5013978986347466,
        "AR1": 0.38681277964578054, "AR10": 0.5936795762842003, "AR100": 0.595352982877607,
        "ARs": 0.6398109626113442, "ARm": 0.5664205978994309, "ARl": 0.5642905982905982,
    }  # fmt: skip
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert {name: metrics[name] for name in official} == pytest.approx(official, abs=1e-9, rel=0)
    assert len(metrics["per_class"]) == 80


def test_the_standard_recipe_trains_and_evaluates_on_real_coco_files(shared_data, command, tmp_path):
    done = command(
        "train.py", "dataset=coco", f"dataset.root={shared_data / 'coco158'}", "model.weights=null",
        "model.backbone.depth=18", "model.fpn_channels=32", "model.tower_channels=32",
        "image.short_side=64", "image.long_side=107", "train.max_steps=2", "train.batch_size=2", "train.workers=1",
        "postprocess.score_threshold=0.001", "eval.num_pictures=1", f"run_dir={tmp_path / 'run'}",
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert "92 images" in done.stdout
    assert "of 80 classes, 9 crowds" in done.stdout
    assert "lr 0.01 @16 -> 0.00125 @2" in done.stdout
    content = json.loads((shared_data / "coco158" / "annotations" / "instances_val2017.json").read_text())
    detections = json.loads((tmp_path / "run" / "eval" / "val" / "detections.json").read_text())
    with_objects = {each["image_id"] for each in content["annotations"]}
    images = {each["id"] for each in content["images"]}
    assert images - with_objects, "the set has images without objects"
    assert {each["image_id"] for each in detections} == images, "they are evaluated too"
    found = {each["category_id"] for each in detections}
    assert found <= {each["id"] for each in content["categories"]}, "the numbers left out of 1..90 do not come back"
    assert max(found) > 80, "the highest of the 80 ids is 90"


def test_without_pretrained_weights_and_a_network_the_command_says_what_to_pass(shared_data, command, tmp_path):
    done = command(
        "train.py", "dataset=coco", f"dataset.root={shared_data / 'coco158'}", f"run_dir={tmp_path / 'run'}",
        TORCH_HOME=str(tmp_path / "nothing"), https_proxy="http://127.0.0.1:9", HTTPS_PROXY="http://127.0.0.1:9",
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.startswith("error: the ImageNet weights of resnet50 could not be fetched")
    assert "model.weights=null" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists(), "the mended command may use the same directory"
