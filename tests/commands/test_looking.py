"""The loss lab in a run: which images are looked at, and that looking changes nothing."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from retina.build import build
from retina.commands.assemble import build_criterion
from retina.config.command import call_command
from retina.lab import look
from retina.lab.looking import Amount, build_loss_lab, chosen_images
from retina.settings import ImageSettings
from retina.training.checkpoint import load_checkpoint
from tests.jobs import CPU, job

# Batch norm, an average and a loss with a memory: whatever looking could disturb.
RUN = ("model.norm=bn", "train.ema_decay=0.5", "loss/classification=ghm_c", "loss/box=wiou_v3", "train.max_steps=4")


def train(small, folder: Path, *overrides: str) -> dict[str, Any]:
    call_command("train", [*small, *RUN, f"run_dir={folder}", *overrides])
    return load_checkpoint(folder / "checkpoints" / "last.pt")


def tensors(state: Any) -> list[torch.Tensor]:
    if isinstance(state, torch.Tensor):
        return [state]
    inner = state.values() if isinstance(state, dict) else state if isinstance(state, list | tuple) else ()
    return [tensor for value in inner for tensor in tensors(value)]


every_panel = look.panel_classes


def quick_panels() -> list[type[look.Look]]:
    """Those that take no time to draw, with what they read and with the numbers that are asked for."""
    return [kind for kind in every_panel() if kind.name in ("cumulative_loss", "hardest", "gradient_shares", "scores",
                                                            "positives")]  # fmt: skip


@pytest.fixture(scope="module")
def folders(small, tmp_path_factory) -> dict[str, Path]:
    """The same run without a look, with a look at every second step, and the latter in two parts."""
    top = tmp_path_factory.mktemp("looking")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(look, "panel_classes", quick_panels)
        train(small, top / "plain")
        train(small, top / "looked", "log.focal_every=2")
        # The schedule is that of four steps in the first part too.
        train(small, top / "parts", "log.focal_every=2", "train.max_steps=2", "schedule.warmup=0", "schedule=multistep")
    return {name: top / name for name in ("plain", "looked", "parts")}


def test_a_run_that_is_looked_at_ends_with_the_same_weights_bit_for_bit(folders) -> None:
    plain, looked = (load_checkpoint(folders[name] / "checkpoints" / "last.pt") for name in ("plain", "looked"))
    for name in ("model", "ema", "optimizer", "criterion", "random"):
        pairs = list(zip(tensors(plain[name]), tensors(looked[name]), strict=True))
        assert len(pairs) >= 2, name
        assert all(torch.equal(*pair) for pair in pairs), name
    assert plain["progress"] == looked["progress"]


def test_a_run_that_was_looked_at_goes_on_as_one_that_was_not(small, folders, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(look, "panel_classes", quick_panels)
    whole = train(small, tmp_path / "whole", "schedule.warmup=0", "schedule=multistep")
    call_command("train", [f"resume={folders['parts']}", "train.max_steps=4"])
    parts = load_checkpoint(folders["parts"] / "checkpoints" / "last.pt")
    for name in ("model", "ema", "criterion"):
        assert all(map(torch.equal, tensors(whole[name]), tensors(parts[name]))), name
    assert {line["step"] for line in lines(folders["parts"]) if "loss_lab/positives_P3" in line} == {2, 4}


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_panels_stand_in_tensorboard_and_their_numbers_in_the_log(folders) -> None:
    events = EventAccumulator(str(folders["looked"] / "tensorboard"), size_guidance={"images": 0, "histograms": 0})
    tags = events.Reload().Tags()
    assert len([tag for tag in tags["images"] if tag.startswith("loss_lab/")]) == 5
    assert set(tags["histograms"]) == {"loss_lab/p_t_positive", "loss_lab/p_t_negative", "loss_lab/p_t_ignored"}
    assert [event.step for event in events.Histograms("loss_lab/p_t_negative")] == [2, 4]
    logged = [line for line in lines(folders["looked"]) if "loss_lab/hardest_1_percent" in line]
    assert [line["step"] for line in logged] == [2, 4]
    shares = [line["loss_lab/gradient_share_classification"] + line["loss_lab/gradient_share_box"] for line in logged]
    assert shares == pytest.approx([1.0] * 2)
    assert "loss_lab" not in (folders["looked"] / "train.log").read_text(), "they are too many to tell"
    assert not any("loss_lab" in name for line in lines(folders["plain"]) for name in line)


def test_images_with_objects_are_spread_over_the_set_and_always_the_same() -> None:
    class Fake:
        offsets = np.array([0, 1, 1, 3, 4, 4, 5])

        def __len__(self) -> int:
            return 6

    assert chosen_images(Fake(), 3).tolist() == [0, 3, 5]
    assert chosen_images(Fake(), 5).tolist() == [0, 1, 2, 3, 5]
    assert chosen_images(Fake(), None).tolist() == chosen_images(Fake(), 99).tolist() == list(range(6))


def test_every_chosen_image_comes_once(small) -> None:
    _, sections = job("train", *small)
    dataset = build(sections["dataset"]).open("val")
    lab = build_loss_lab(
        dataset,
        image=ImageSettings(64, 64),
        assigner=build(sections["anchors"]),
        criterion=build_criterion(sections["loss"]),
        postprocess=build(sections["postprocess"]),
        machine=CPU,
        amount=Amount(3, batch_size=2),
    )
    for _ in range(2):
        ids = [image_id for batch in lab.loader for image_id in batch.image_ids]
        assert sorted(ids) == [int(dataset.image_ids[index]) for index in chosen_images(dataset, 3)]


def test_training_does_not_load_matplotlib_until_a_panel_is_drawn(root) -> None:
    def imports(module: str) -> set[str]:
        file = root.joinpath(*module.split(".")).with_suffix(".py")
        body = ast.parse(file.read_text(encoding="utf-8")).body  # imports inside functions come later
        names = {name.name for node in body if isinstance(node, ast.Import) for name in node.names}
        for node in body:
            if isinstance(node, ast.ImportFrom):
                names |= {node.module, *(f"{node.module}.{name.name}" for name in node.names)}
        return names

    seen, waiting = set(), ["retina.commands.train"]
    while waiting:
        module = waiting.pop()
        if module not in seen and root.joinpath(*module.split(".")).with_suffix(".py").is_file():
            seen.add(module)
            waiting += imports(module)
            assert not {name.split(".")[0] for name in imports(module)} & {"matplotlib", "jinja2"}, module
    assert {"retina.drawing.samples", "retina.training.trainer"} <= seen
    assert not any(module.startswith(("retina.lab", "retina.anchors", "retina.doctor")) for module in seen)
