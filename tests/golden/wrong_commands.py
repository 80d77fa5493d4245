"""Commands with something wrong in them; what each of them tells on stderr is kept in ``wrong_commands.json``."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import yaml

from tests.golden.commands import ROOT, run_command, write_golden

CUSTOM = [
    "train.py", "dataset=custom", "dataset.root={tmp}", "dataset.train.images=images", "dataset.val.images=images",
    "dataset.val.annotations=good.json", "model.weights=null", "train.device=cpu", "train.workers=0",
    "run_dir={tmp}/run",
]  # fmt: skip

# None of these gets so far that torch is imported.
EARLY: list[list[str]] = [
    # What is misspelled, of the wrong type or out of range.
    ["train.py", "lr=0.1"],
    ["train.py", "dataset=coc"],
    ["train.py", "loss/box=zzz"],
    ["train.py", "optimizer.lr=nan"],
    ["train.py", "train.batch_size=2.5"],
    ["train.py", "train.epochs=inf"],
    ["train.py", "eval.split=tset"],
    ["train.py", "schedule.warmup=soon"],
    ["train.py", "augment=strong", "augment.until=-2days"],
    ["train.py", "train.workers=[1]", "image.multi_scale=many"],
    ["train.py", "checkpoint.every=soon", "eval.every=-1"],
    ["train.py", "train.precision=float16", "train.device=tpu"],
    ["train.py", "postprocess.nms_iou=1.5", "anchors.positive_iou=2"],
    # What is a section, a group, there already or not there at all.
    ["train.py", "loss.box=eiou"],
    ["train.py", "box=eiou"],
    ["train.py", "model.backbone=50"],
    ["train.py", "model=5"],
    ["train.py", "+optimizer.lr=5"],
    ["train.py", "+train.foo=1"],
    ["train.py", "+model.foo=1"],
    ["train.py", "+experiment=smoke"],
    ["train.py", "~optimizer.lr"],
    ["train.py", "dataset=custom"],
    ["train.py", "augment.transforms.5.p=1"],
    # What cannot be read, or is several values.
    ["train.py", "--lr=1"],
    ["train.py", "optimizer.lr==2"],
    ["train.py", "optimizer.lr=1,2"],
    ["train.py", "-m", "train.seed=1,2", "optimizer.lr=0.1,fast"],
    ["train.py", "dataset.root=${oc.env:GOLDEN_NOT_SET}"],
    ["train.py", "dataset.root=${no.such.setting}"],
    ["train.py", "-cd", "{tmp}/nowhere", "experiment=mine"],
    # Several at once.
    ["train.py", "model.backbone.depht=50", "optimizer.lr=fast"],
    ["train.py", "dataset=coc", "recipe=null", "foo=1", "optimizer.lr=-1", "train.batch_size=0", "coco", "seed=x"],
    # Classes by name.
    ["train.py", "loss.classification._target_=retina.nowhere.Loss"],
    # Losses.
    ["train.py", "loss.box.focal_gamma=-1"],
    ["train.py", "loss/box=sum", "+loss.box.terms.l1.focal_gamma=1"],
    ["train.py", "loss/box=sum", "loss.box.terms.giou.weight=-1", "loss.box.terms.l2.weight=1"],
    # Going on.
    ["train.py", "resume={tmp}/nowhere"],
    ["train.py", "resume={tmp}/empty"],
    ["train.py", "resume={tmp}/saved", "optimizer=adamw"],
    ["train.py", "resume={tmp}/saved", "optimizer.momentun=0.5", "train.max_steps=0"],
    ["train.py", "resume={tmp}/saved", "-m", "train.seed=1,2"],
    ["train.py", "resume={tmp}/saved", "run_dir={tmp}/other"],
    ["train.py", "resume={tmp}/saved/checkpoints/last.pt"],
    ["train.py", "resume={tmp}/unreadable"],
    # The other commands.
    ["evaluate.py"],
    ["evaluate.py", "ckpt={tmp}/nowhere"],
    ["evaluate.py", "ckpt=.", "model=retinanet_r18"],
    ["evaluate.py", "ckpt=.", "batchsize=2", "device=tpu"],
    ["evaluate.py", "detections={tmp}/good.json"],
    ["evaluate.py", "ckpt=.", "detections={tmp}/good.json", "annotations={tmp}/good.json"],
    ["evaluate.py", "ckpt=.", "dataset=custom", "split=test"],
    ["tools/predict.py"],
    ["tools/predict.py", "ckpt=.", "source=.", "score_threshold=2"],
    ["tools/anchors.py", "fit.goal=area", "fit.num_scales=0"],
    ["tools/anchors.py", "save_as=a/b"],
    ["tools/benchmark.py", "benchmark.repeats=0", "benchmark.num_boxs=3"],
    ["tools/convert_dataset.py"],
    ["tools/convert_dataset.py", "from=pascal", "to=coco", "out=x"],
    ["tools/convert_dataset.py", "from=voc", "to=darknet", "out=x", "images=move"],
    ["tools/doctor.py", "doctor.images=some", "doctor.splits=[train,tset]"],
    ["tools/download.py"],
    ["tools/download.py", "dataset=bccd"],
    ["tools/download.py", "dataset=voc", "year=2010", "retries=-1"],
    ["tools/loss_lab.py", "loss/box=zzz", "split=all"],
    ["tools/show_batch.py", "batches=0", "epoch=1", "start=4"],
]  # fmt: skip

# These look at data or checkpoints first, which takes seconds.
LATE: list[list[str]] = [
    ["train.py", "train.batch_size=4", "train.accumulate=3"],
    [*CUSTOM, "dataset.train.annotations=nowhere.json"],
    [*CUSTOM, "dataset.train.annotations=cut_off.json"],
    [*CUSTOM, "dataset.train.annotations=bad_box.json", "dataset.on_bad_box=error"],
    ["train.py", "run_dir={tmp}/saved", "dataset.root={tmp}/shapes"],
    ["evaluate.py", "ckpt={tmp}/saved"],
]  # fmt: skip


def prepare(folder: Path) -> None:
    """Write what the commands look for: annotation files, a saved run without a usable checkpoint."""
    (folder / "images").mkdir(parents=True)
    (folder / "empty").mkdir()
    good: dict[str, Any] = {
        "images": [{"id": 17, "file_name": "a.jpg", "width": 64, "height": 48}],
        "annotations": [
            {"id": 880011, "image_id": 17, "category_id": 3, "bbox": [1, 2, 30, 20], "iscrowd": 0, "area": 600}
        ],
        "categories": [{"id": 3, "name": "cat"}],
    }  # fmt: skip
    (folder / "good.json").write_text(json.dumps(good), encoding="utf-8")
    (folder / "cut_off.json").write_text(json.dumps(good)[:-60], encoding="utf-8")
    good["annotations"][0]["bbox"] = [1, 2, -30, 20]
    (folder / "bad_box.json").write_text(json.dumps(good), encoding="utf-8")
    shown = run_command("train.py", "optimizer=sgd", "train.max_steps=4", "--cfg", "job", folder=folder).stdout
    for name, text in (("saved", shown), ("unreadable", "train: {seed: [1, 2\n")):
        (folder / name / "checkpoints").mkdir(parents=True)
        (folder / name / "checkpoints" / "last.pt").write_text("no checkpoint", encoding="utf-8")
        (folder / name / "config.yaml").write_text(text, encoding="utf-8")
    assert yaml.safe_load(shown)["train"]["max_steps"] == 4


def told(command: list[str], folder: Path) -> dict[str, Any]:
    """Return the exit status and stderr of a command that is started in ``folder``, without places of this machine."""
    done = run_command(*(part.replace("{tmp}", str(folder)) for part in command), folder=folder / "empty")
    text = done.stderr.replace(str(folder), "{tmp}").replace(str(ROOT), "{root}")
    return {"status": done.returncode, "stderr": text.splitlines()}


def make() -> None:
    """Write ``wrong_commands.json``."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve() / "work"
        prepare(folder)
        golden = {" ".join(command): told(command, folder) for command in [*EARLY, *LATE]}
    write_golden("wrong_commands.json", golden)
