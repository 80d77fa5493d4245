"""The commands without their command line: checkpoints on other data, strangers' checkpoints, refused runs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from retina.config.command import call_command
from retina.detector import Detector
from retina.errors import CheckpointError, ConfigError, DataError
from retina.training.checkpoint import load_checkpoint, save_checkpoint
from tests.jobs import CPU

# An untrained network: every anchor's score is about 0.01, so the threshold lets a fixed number of boxes through.
ONE_STEP = (
    "train.max_steps=1",
    "optimizer=sgd",
    "optimizer.momentum=0",
    "postprocess.score_threshold=0",
    "postprocess.max_detections=10",
    "dataset.num_train_images=4",
    "train.ema_decay=0.5",
)


@pytest.fixture(scope="module")
def run_dir(small, tmp_path_factory) -> Path:
    """A run of one step on the shapes."""
    folder = tmp_path_factory.mktemp("runs") / "mine"
    call_command("train", [*small, *ONE_STEP, f"run_dir={folder}"])
    return folder


@pytest.fixture(scope="module")
def state(run_dir) -> dict[str, Any]:
    """What the run's last checkpoint holds."""
    return load_checkpoint(run_dir / "checkpoints" / "last.pt")


@pytest.fixture(scope="module")
def shapes(run_dir) -> Path:
    """The folder of the images that the run was trained on."""
    manifest = json.loads((run_dir / "manifest.json").read_text())
    return Path(manifest["data"]["val"]["annotations"]).parent.parent


@pytest.fixture
def write_annotations(shapes, tmp_path) -> Callable[..., Path]:
    """Write the validation annotations again, with other names and ids of the categories."""

    def write(change: Callable[[int, str], tuple[int, str]], *, more: tuple[Any, ...] = ()) -> Path:
        content = json.loads((shapes / "annotations" / "instances_val2017.json").read_text())
        changed = {each["id"]: change(each["id"], each["name"]) for each in content["categories"]}
        content["categories"] = [*({"id": new, "name": name} for new, name in changed.values()), *more]
        for annotation in content["annotations"]:
            annotation["category_id"] = changed[annotation["category_id"]][0]
        file = tmp_path / "other.json"
        file.write_text(json.dumps(content), encoding="utf-8")
        return file

    return write


def evaluate(*words: str) -> None:
    call_command("evaluate", [*words, "workers=0", "precision=float32", "device=cpu"])


def custom(shapes: Path, annotations: Path) -> list[str]:
    return ["dataset=custom", f"dataset.val.images={shapes / 'val2017'}", f"dataset.val.annotations={annotations}"]


def read(folder: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    return tuple(json.loads((folder / f"{name}.json").read_text()) for name in ("metrics", "detections"))


def test_a_checkpoint_is_evaluated_on_its_own_data_with_its_averaged_weights(run_dir, tmp_path, capsys):
    written = read(run_dir / "eval" / "val")
    evaluate(f"ckpt={run_dir}", f"run_dir={tmp_path / 'again'}")
    metrics, detections = read(tmp_path / "again" / "eval" / "val")
    assert len(detections) == 4 * 10
    assert detections == written[1]
    # Training's evaluation has the validation loss besides.
    assert metrics == {name: value for name, value in written[0].items() if not name.startswith("loss")}
    told = capsys.readouterr().out
    assert f"{run_dir / 'checkpoints' / 'best.pt'} on 4 images of shapes val" in told
    assert f"written to {tmp_path / 'again' / 'eval' / 'val'}" in told


def test_another_split_has_a_folder_of_its_own(run_dir):
    evaluate(f"ckpt={run_dir / 'checkpoints' / 'last.pt'}", "split=train")
    assert len(read(run_dir / "eval" / "train")[1]) == 4 * 10


def test_a_split_that_the_data_set_does_not_have_is_told(run_dir):
    with pytest.raises(DataError, match="has no split 'test'"):
        evaluate(f"ckpt={run_dir}", "split=test")


def test_a_checkpoint_that_was_copied_is_evaluated_where_it_lies(run_dir, tmp_path):
    for file in (run_dir / "checkpoints").glob("best.pt*"):
        shutil.copy(file, tmp_path)
    evaluate(f"ckpt={tmp_path / 'best.pt'}")
    assert read(tmp_path / "eval" / "val") == read_without_losses(run_dir / "eval" / "val")


def read_without_losses(folder: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    metrics, detections = read(folder)
    return {name: value for name, value in metrics.items() if not name.startswith("loss")}, detections


def test_category_ids_of_another_data_set_are_written_back_by_the_names_of_the_classes(
    run_dir, state, shapes, write_annotations
):
    # Other ids with gaps, in the reverse order, and one class more than the detector knows.
    new_id = {old: 90 - 7 * number for number, old in enumerate(state["category_ids"])}
    file = write_annotations(lambda old, name: (new_id[old], name), more=({"id": 53, "name": "zebra"},))
    evaluate(f"ckpt={run_dir}", *custom(shapes, file), "dataset.name=others")
    metrics, detections = read(run_dir / "eval" / "others-val")
    own_metrics, own_detections = read(run_dir / "eval" / "val")
    assert detections == [{**entry, "category_id": new_id[entry["category_id"]]} for entry in own_detections]
    assert len({entry["category_id"] for entry in detections}) > 1
    by_name, own_by_name = ({each["name"]: each["AP"] for each in m["per_class"]} for m in (metrics, own_metrics))
    assert by_name == {**own_by_name, "zebra": None}
    assert metrics["AR100"] == pytest.approx(own_metrics["AR100"])


def test_a_data_set_with_other_class_names_is_refused(run_dir, shapes, write_annotations):
    file = write_annotations(lambda old, name: (old, "blood cell" if name == "red circle" else name))
    with pytest.raises(ConfigError, match="detects classes that .* does not have: red circle") as caught:
        evaluate(f"ckpt={run_dir}", *custom(shapes, file))
    assert caught.value.exit_status == 2
    assert "blood cell" in caught.value.why
    assert not (run_dir / "eval" / "custom-val").exists()


def test_a_results_file_is_scored_without_a_model(shapes, tmp_path, capsys):
    annotations = shapes / "annotations" / "instances_val2017.json"
    perfect = [
        {"image_id": each["image_id"], "category_id": each["category_id"], "bbox": each["bbox"], "score": 1.0}
        for each in json.loads(annotations.read_text())["annotations"]
    ]
    (tmp_path / "results.json").write_text(json.dumps(perfect), encoding="utf-8")
    evaluate(f"detections={tmp_path / 'results.json'}", f"annotations={annotations}", f"run_dir={tmp_path / 'out'}")
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert (metrics["AP"], metrics["AR100"]) == (1.0, 1.0)
    assert f"written to {tmp_path / 'out' / 'metrics.json'}" in capsys.readouterr().out


def test_a_predictor_finds_in_a_picture_what_the_evaluation_found(run_dir, state, shapes):
    detector = Detector.load(run_dir, machine=CPU)
    assert not detector.model.training
    assert (detector.class_names, detector.category_ids) == (state["class_names"], state["category_ids"])
    images = json.loads((shapes / "annotations" / "instances_val2017.json").read_text())["images"]
    # 128 px for an input of 64: decoded at half the size, as evaluation does.
    path = shapes / "val2017" / images[2]["file_name"]
    stored, seen = detector.read(path)
    assert (stored.shape, seen.shape) == ((128, 128, 3), (64, 64, 3))
    found = detector(path)
    expected = [entry for entry in read(run_dir / "eval" / "val")[1] if entry["image_id"] == images[2]["id"]]
    assert len(found) == len(expected) == 10
    torch.testing.assert_close(found.scores, torch.tensor([entry["score"] for entry in expected]))
    assert [detector.category_ids[label] for label in found.labels] == [entry["category_id"] for entry in expected]
    corners = torch.tensor([entry["bbox"][:2] for entry in expected], dtype=torch.float64)
    torch.testing.assert_close(found.boxes[:, :2], corners, atol=1e-3, rtol=0)


# A stranger's checkpoint


def changed_config(change: Callable[[dict[str, Any]], object]) -> Callable[[dict[str, Any]], object]:
    def apply(state: dict[str, Any]) -> None:
        tree = yaml.safe_load(state["config"])
        change(tree)
        state["config"] = yaml.safe_dump(tree)

    return apply


@pytest.fixture
def stranger(state) -> dict[str, Any]:
    """A checkpoint to be changed: as the run's, but without its weights."""
    return {**deepcopy({name: state[name] for name in ("config", "class_names", "category_ids")}),
            "model": {}, "ema": None}  # fmt: skip


CODE = {"_target_": "os.system", "command": "touch {marker}"}
HOSTILE: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "another model": (changed_config(lambda t: t.update(model=CODE)), "os.system"),
    "code in the post-processing": (changed_config(lambda t: t["postprocess"].update(nms_iou=CODE)), "not allowed"),
    "yaml that builds": (lambda s: s.update(config="!!python/object/apply:os.system ['touch {marker}']"), "not YAML"),
    "a configuration that is no text": (lambda s: s.update(config=7), "not a mapping"),
    "classes that are no texts": (lambda s: s.update(class_names=[1] * 6), "classes in the checkpoint"),
    "fewer ids than classes": (lambda s: s["category_ids"].pop(), "classes in the checkpoint"),
    "no classes": (lambda s: s.pop("class_names"), "lacks 'class_names'"),
    "weights of another network": (lambda s: s["model"].update(weight=torch.zeros(3)), "do not fit"),
    "an average without weights": (lambda s: s.update(ema={}), "do not fit"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("command", ["evaluate", "predict"])
def test_a_strangers_checkpoint_is_refused_and_runs_nothing(stranger, tmp_path, name, command):
    change, message = HOSTILE[name]
    change(stranger)
    if isinstance(stranger["config"], str):
        stranger["config"] = stranger["config"].replace("{marker}", str(tmp_path / "marker"))
    save_checkpoint(tmp_path / "stranger.pt", stranger)
    (tmp_path / "photo.png").touch()
    more = [] if command == "evaluate" else [f"source={tmp_path / 'photo.png'}", f"out={tmp_path / 'out'}"]
    with pytest.raises(CheckpointError, match=message) as caught:
        call_command(command, [f"ckpt={tmp_path / 'stranger.pt'}", *more])
    assert caught.value.exit_status == 3
    assert not (tmp_path / "marker").exists()


def test_a_data_set_of_an_unlisted_kind_is_asked_for(state, tmp_path):
    stranger = dict(state)
    changed_config(lambda tree: tree.update(dataset={"_target_": "mine.Dataset", "name": "mine"}))(stranger)
    save_checkpoint(tmp_path / "stranger.pt", stranger)
    with pytest.raises(ConfigError, match="trained on a data set 'mine' of a kind that is not rebuilt") as caught:
        evaluate(f"ckpt={tmp_path / 'stranger.pt'}")
    assert "dataset=<name>" in caught.value.fix


def test_settings_of_the_command_are_named_as_they_are_typed(run_dir):
    with pytest.raises(ConfigError, match="^error: precision=fp16 needs a GPU"):
        call_command("evaluate", [f"ckpt={run_dir}", "device=cpu", "precision=fp16"])


# Runs that are refused before anything is made


def test_a_batch_that_cannot_be_split_is_refused_with_the_nearest_that_can(small, tmp_path):
    overrides = [*small, "train.batch_size=8", "train.accumulate=3", f"run_dir={tmp_path / 'run'}"]
    with pytest.raises(ConfigError, match=r"train\.batch_size=8 cannot be divided by 1 ranks x train\.acc") as caught:
        call_command("train", overrides)
    assert caught.value.fix == "train.batch_size=9"
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "change",
    [lambda old, name: (old, f"{name}s"), lambda old, name: (old + 1000, name)],
    ids=["other names", "other ids"],
)
def test_training_and_validation_with_different_categories_are_refused(
    small, shapes, write_annotations, tmp_path, change
):
    dataset = [
        "dataset=custom",
        "recipe=shapes",
        f"dataset.train.images={shapes / 'train2017'}",
        f"dataset.train.annotations={shapes / 'annotations' / 'instances_train2017.json'}",
        f"dataset.val.images={shapes / 'val2017'}",
        f"dataset.val.annotations={write_annotations(change)}",
    ]
    others = [override for override in small if not override.startswith("dataset")]
    with pytest.raises(ConfigError, match="have different categories") as caught:
        call_command("train", [*others, *dataset, f"run_dir={tmp_path / 'run'}"])
    assert "red circle" in str(caught.value)
    assert not (tmp_path / "run").exists()
