"""Short trainings whose every logged number is kept in ``curves.json``.

Four configurations of 20 steps have between them all modules of losses, all norms, both box towers, both optimizers,
the three schedules, mosaic, accumulation and EMA. Two sweeps of 3 steps take every box loss and every class loss.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
import yaml

from tests.golden.commands import metrics_of, must_work, write_golden

COMMON = (
    "dataset=shapes", "dataset.root=shapes", "dataset.num_train_images=16", "dataset.num_val_images=4",
    "dataset.image_size=128", "image.short_side=64", "image.long_side=64", "train.epochs=null", "train.batch_size=4",
    "train.workers=0", "train.precision=float32", "train.device=cpu", "model.fpn_channels=16",
    "model.tower_channels=16", "model.tower_depth=1", "checkpoint.every=0", "eval.every=0", "eval.num_pictures=0",
    "log.every=1",
)  # fmt: skip
PRETRAINED = "model.weights=resnet18.pth"

CURVES: dict[str, tuple[str, ...]] = {
    "sum_accumulated": (
        "loss/classification=focal", "loss/box=sum", "loss.box.terms.giou.weight=0.4",
        "+loss.box.terms.focal_eiou={_target_:retina.detection.losses.box.FocalEIoULoss,gamma:0.7,weight:0.5}",
        "model.norm=gn", "model.box_tower=lazy", "optimizer=sgd", "schedule=multistep", "schedule.warmup=16",
        "train.accumulate=2", "train.ema_decay=null",
    ),
    "mosaic_dense_ema": (
        "loss/classification=quality_focal", "loss/box=siou", "augment=strong", "model.norm=bn",
        "model.box_tower=dense", "optimizer=adamw", "optimizer.lr=0.0003", "schedule=cosine", "schedule.warmup=16",
        "train.ema_decay=0.9",
    ),
    "frozen_running": (
        "loss/classification=ghm_c", "loss/box=wiou_v3", PRETRAINED, "model.norm=frozen_bn", "model.box_tower=lazy",
        "model.backbone.frozen_stages=2", "optimizer=sgd", "schedule=onecycle", "train.ema_decay=null",
    ),
    "softmax_focal_gamma": (
        "loss/classification=softmax_focal", "loss/box=huber", "loss.box.focal_gamma=2.0", "model.norm=gn",
        "model.box_tower=lazy", "augment=standard", "optimizer=adamw", "optimizer.lr=0.0003", "schedule=onecycle",
        "sampling=repeat_factor", "train.ema_decay=0.9",
    ),
}  # fmt: skip

BOX_LOSSES = (
    "l1", "smooth_l1", "huber", "mse", "balanced_l1", "focal_l1", "ghm_r", "iou", "giou", "diou", "ciou", "eiou",
    "focal_eiou", "alpha_iou", "siou", "wiou", "wiou_v3", "l1_eiou", "sum",
)  # fmt: skip
CLASS_LOSSES = (
    "focal", "cross_entropy", "balanced_cross_entropy", "softmax_focal", "quality_focal", "varifocal", "ghm_c",
    "focal_dice", "penalty_reduced_focal",
)  # fmt: skip
SWEEPS: dict[str, tuple[str, ...]] = {"loss/box": BOX_LOSSES, "loss/classification": CLASS_LOSSES}
SWEPT = (
    PRETRAINED, "model.norm=frozen_bn", "model.backbone.frozen_stages=5", "loss/classification=focal", "loss/box=giou",
    "optimizer=sgd", "optimizer.momentum=0", "schedule.warmup=0", "train.ema_decay=null", "train.max_steps=3",
)  # fmt: skip
LOGGED = ("train/loss", "train/loss_classification", "train/loss_box", "train/grad_norm", "train/lr", "eval/loss")


def write_weights(file: Path) -> None:
    """Write weights of a ResNet-18 that look random and compress well: one pattern of 4001 numbers in every tensor.

    Frozen batch norm brings the scale: its variance follows the number of inputs.
    """
    pattern = torch.from_numpy(np.random.default_rng(5).standard_normal(4001).astype("float32"))
    state = torchvision.models.resnet18().state_dict()
    inputs = 1
    for name, value in state.items():
        if value.dim() == 4:
            inputs = value[0].numel()
            state[name] = pattern.repeat(value.numel() // 4001 + 1)[: value.numel()].view_as(value).clone()
        elif name.endswith("running_var"):
            state[name] = torch.full_like(value, inputs * 4 if "bn2" in name or "downsample" in name else inputs / 2)
    torch.save({name: value for name, value in state.items() if not name.startswith("fc.")}, file)


def numbers(run_dir: Path) -> dict[str, list[float]]:
    """Return what was logged at each step, by name."""
    lines = metrics_of(run_dir)
    return {name: [line[name] for line in lines if name in line] for name in LOGGED}


def _without_checkpoints(run_dir: Path) -> Path:
    for file in run_dir.rglob("*.pt"):
        file.unlink()
    return run_dir


def train_curve(name: str, folder: Path, **variables: str) -> dict[str, list[float]]:
    """Train one of ``CURVES`` in ``folder``, which holds ``resnet18.pth``."""
    typed = [*COMMON, "train.max_steps=20", *CURVES[name], f"run_dir={name}"]
    must_work("train.py", *typed, folder=folder, **variables)
    return numbers(_without_checkpoints(folder / name))


def train_sweep(group: str, folder: Path, **variables: str) -> dict[str, dict[str, Any]]:
    """Train every option of a group of losses, in one process; the numbers and the settings of each."""
    section = group.split("/")[1]
    typed = [*COMMON, *(text for text in SWEPT if not text.startswith(f"{group}="))]
    must_work("train.py", "-m", *typed, f"{group}={','.join(SWEEPS[group])}", f"run_dir={section}", folder=folder,
              **variables)  # fmt: skip
    found = {}
    for job, option in enumerate(SWEEPS[group]):
        run_dir = _without_checkpoints(folder / section / str(job))
        config = yaml.safe_load((run_dir / "config.yaml").read_text(encoding="utf-8"))
        found[option] = {"settings": config["loss"][section], "numbers": numbers(run_dir)}
    return found


def make() -> None:
    """Write ``curves.json``."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_weights(folder / "resnet18.pth")
        golden: dict[str, Any] = {curve: train_curve(curve, folder) for curve in CURVES}
        golden |= {group: train_sweep(group, folder) for group in SWEEPS}
    write_golden("curves.json", golden)
