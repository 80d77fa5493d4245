"""A configuration from a stranger's checkpoint builds nothing but what is listed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from retina.build import build
from retina.config.compose import CONFIGS
from retina.config.saved import is_listed, loss_config_from, model_config_from
from retina.config.sections import as_text
from retina.config.signatures import defined_names
from retina.errors import CheckpointError
from tests.jobs import job, tree_of


@pytest.fixture(scope="module")
def text() -> str:
    """The configuration of an ordinary run, as its checkpoint carries it."""
    return as_text(*job("train"))


def _change(text: str, change: Callable[[dict[str, Any]], object]) -> str:
    tree = yaml.safe_load(text)
    change(tree)
    return yaml.safe_dump(tree)


def test_the_sections_of_an_ordinary_run_come_back(text: str) -> None:
    config = model_config_from(text)
    assert set(config) == {"model", "anchors", "postprocess", "image", "dataset"}
    assert config["model"]["backbone"]["depth"] == 18
    assert config["anchors"]["strides"] == [8, 16, 32, 64, 128]
    assert config["dataset"]["name"] == "shapes"
    assert config["image"] == {"short_side": 256, "long_side": 256, "reduced_decoding": True, "multi_scale": None}


def test_no_pretrained_weights_are_asked_for_but_their_norm_is_kept(text: str) -> None:
    saved = _change(text, lambda tree: tree["model"].update(weights="/somewhere/else.pt", norm="auto"))
    model = model_config_from(saved)["model"]
    assert (model["weights"], model["norm"]) == (None, "frozen_bn")


def test_a_data_set_of_the_user_s_own_is_reduced_to_its_name(text: str) -> None:
    node = {"_target_": "os.system", "name": "mine", "command": "echo"}
    assert model_config_from(_change(text, lambda tree: tree.update(dataset=node)))["dataset"] == {"name": "mine"}


@pytest.mark.parametrize("name", ["voc", "yolo", "csv"])
def test_a_data_set_of_another_format_is_rebuilt(name: str) -> None:
    node = model_config_from(as_text(*job("train", f"dataset={name}", "dataset.root=/data/mine")))["dataset"]
    assert (node["name"], node["root"]) == (name, "/data/mine")
    assert build(node).root == "/data/mine"


def backbone(tree: dict[str, Any], target: str) -> None:
    tree["model"]["backbone"]["_target_"] = target


BAD: list[tuple[str, Callable[[dict[str, Any]], object]]] = [
    ("another target", lambda t: t["model"].update(_target_="os.system")),
    ("through imports", lambda t: t["model"].update(_target_="retina.models.retinanet.torch.hub.load")),
    ("the target of another section", lambda t: t["model"].update(_target_="retina.detection.assign.Assigner")),
    ("a target that is no text", lambda t: t["model"].update(_target_=["x"])),
    ("no target", lambda t: t["model"].pop("_target_")),
    ("a nested target", lambda t: t["model"]["backbone"].update(_target_="os.system")),
    ("a nested listed target", lambda t: t["model"]["backbone"].update(_target_=t["model"]["_target_"])),
    ("a backbone less", lambda t: t["model"].pop("backbone")),
    ("a backbone that is no mapping", lambda t: t["model"].update(backbone="resnet")),
    ("a backbone that is a list", lambda t: t["model"].update(backbone=[t["model"]["backbone"]])),
    ("the kind of a backbone itself", lambda t: backbone(t, "retina.models.backbones.backbone.Backbone")),
    ("a function beside the backbones", lambda t: backbone(t, "retina.models.backbones.backbone.load_pretrained")),
    ("a class beside the backbones", lambda t: backbone(t, "retina.models.backbones.blocks.BasicBlock")),
    ("a backbone through imports", lambda t: backbone(t, "retina.models.backbones.resnet.torch.hub.load")),
    ("a backbone imported elsewhere", lambda t: backbone(t, "retina.models.retinanet.ResNet")),
    ("a backbone of another package", lambda t: backbone(t, "torchvision.models.resnet18")),
    ("a backbone that is not there", lambda t: backbone(t, "retina.models.backbones.resnet.Nowhere")),
    ("a backbone by a path", lambda t: backbone(t, "retina.models.backbones../../../evil.ResNet")),
    ("a member of a backbone", lambda t: backbone(t, "retina.models.backbones.resnet.ResNet.load")),
    ("a backbone of no name", lambda t: backbone(t, "")),
    ("weights of a backbone", lambda t: t["model"]["backbone"].update(weights="evil.pt")),
    ("a partial backbone", lambda t: t["model"]["backbone"].update(_partial_=True)),
    ("a target inside a backbone", lambda t: t["model"]["backbone"].update(depth={"_target_": "os.system"})),
    ("a target in a list", lambda t: t["anchors"].update(strides=[{"_target_": "os.system"}])),
    ("positional arguments", lambda t: t["postprocess"].update(_args_=[1])),
    ("a partial", lambda t: t["postprocess"].update(_partial_=True)),
    ("recursion", lambda t: t["postprocess"].update(_recursive_=False)),
    ("conversion", lambda t: t["model"]["backbone"].update(_convert_="object")),
    ("a reference", lambda t: t["model"].update(weights="${oc.env:HOME}")),
    ("a reference in the image", lambda t: t["image"].update(short_side="${oc.env:HOME}")),
    ("a missing value", lambda t: t["model"].update(norm="???")),
    ("an unknown key", lambda t: t["model"].update(evil=1)),
    ("a wrong type", lambda t: t["model"].update(tower_depth="deep")),
    ("a date", lambda t: t["postprocess"].update(nms_iou=yaml.safe_load("2020-01-01"))),
    ("a name that is none", lambda t: t["model"].update({3: 1})),
    ("a section less", lambda t: t.pop("anchors")),
    ("an image less", lambda t: t.pop("image")),
    ("an unknown image key", lambda t: t["image"].update(_target_="os.system")),
    ("an image out of range", lambda t: t["image"].update(short_side=-1)),
    ("a name that is a number", lambda t: t["dataset"].update(name=5)),
    ("a bad listed data set", lambda t: t["dataset"].update(_args_=[1])),
]


@pytest.mark.parametrize("change", [change for _, change in BAD], ids=[name for name, _ in BAD])
def test_whatever_is_not_plain_and_listed_is_refused(text: str, change: Callable[[dict[str, Any]], object]) -> None:
    with pytest.raises(CheckpointError, match="cannot be used"):
        model_config_from(_change(text, change))


def test_text_that_is_no_configuration_is_refused() -> None:
    for text in ("", "- a", "a: [", "!!python/object/apply:os.system [echo]", "a" * 200_000, "a: &x [1]\nb: *x"):
        with pytest.raises(CheckpointError):
            model_config_from(text)


@pytest.mark.parametrize("section", ["model", "anchors", "dataset", "loss.classification", "loss.box"])
def test_every_class_of_the_configurations_is_listed_where_it_stands_and_nowhere_else(section: str) -> None:
    files = sorted((CONFIGS / section.replace(".", "/")).glob("*.yaml"))
    nodes = [yaml.safe_load(file.read_text(encoding="utf-8")) for file in files]
    targets = {node["_target_"] for node in nodes if "_target_" in node}
    assert targets
    for target in targets:
        found = [name for name in KINDS if is_listed(name, target)]
        assert found == [section], target


def test_the_standard_backbone_is_listed_and_what_else_its_package_defines_is_not() -> None:
    assert is_listed("model.backbone", "retina.models.backbones.resnet.ResNet")
    beside = [f"retina.models.backbones.blocks.{name}" for name in defined_names("retina.models.backbones.blocks")]
    assert beside
    assert not any(is_listed("model.backbone", name) for name in beside)


KINDS = ("model", "model.backbone", "anchors", "postprocess", "dataset", "loss.classification", "loss.box")
UNLISTED = [
    "os.system",
    "retina.detection.losses.box.torch.hub.load",
    "retina.detection.losses.box.BoxLoss",
    "retina.detection.losses.classification.ClassificationLoss",
    "retina.data.folders.DataFolder",
    "retina.detection.losses.weighted.L1Loss",  # only imported there
    "retina.detection.losses",
    "retina.detection.lossesX.L1Loss",
    "",
    None,
    ["retina.detection.losses.box.L1Loss"],
]


@pytest.mark.parametrize("target", UNLISTED, ids=str)
@pytest.mark.parametrize("section", KINDS)
def test_what_is_not_of_the_section_s_kind_or_not_defined_there_is_not_listed(section: str, target: object) -> None:
    assert not is_listed(section, target)


def test_looking_at_a_configuration_imports_none_of_its_classes(root: Path, text: str, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(text, encoding="utf-8")
    code = (
        "import sys; from pathlib import Path; from retina.config.saved import loss_config_from, model_config_from\n"
        f"text = Path({str(tmp_path / 'config.yaml')!r}).read_text(); model_config_from(text); loss_config_from(text)\n"
        "print(sorted({'torch', 'retina.models', 'retina.detection', 'retina.data'} & set(sys.modules)))"
    )
    told = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert told.stdout == "[]\n"


def test_scores_that_are_learned_and_read_in_different_ways_are_refused(text: str) -> None:
    both = _change(text, lambda tree: [tree[name].update(scores="softmax") for name in ("model", "postprocess")])
    assert model_config_from(both)["postprocess"]["scores"] == "softmax"
    one = _change(text, lambda tree: tree["model"].update(scores="softmax"))
    with pytest.raises(CheckpointError) as caught:
        model_config_from(one)
    assert "model.scores is 'softmax' and postprocess.scores 'sigmoid'" in str(caught.value)


# Losses


@pytest.mark.parametrize("box", ["eiou", "l1_eiou", "ghm_r"])
def test_the_losses_of_an_ordinary_run_come_back(box: str) -> None:
    words = [f"loss/box={box}", "loss/classification=ghm_c", "loss.focal_gamma=1.5"]
    loss = loss_config_from(as_text(*job("train", *words)))
    assert loss == tree_of("train", *words)["loss"]
    assert set(loss) == {"classification", "box", "focal_gamma"}


SUM = "retina.detection.losses.weighted.BoxLossSum"
L1 = {"_target_": "retina.detection.losses.box.L1Loss"}
BAD_LOSSES: list[tuple[str, Callable[[dict[str, Any]], object]]] = [
    ("no losses", lambda t: t.pop("loss")),
    ("a loss less", lambda t: t["loss"].pop("box")),
    ("another target", lambda t: t["loss"]["box"].update(_target_="os.system")),
    ("through imports", lambda t: t["loss"]["box"].update(_target_="retina.detection.losses.box.torch.hub.load")),
    ("a loss of the other kind", lambda t: t["loss"]["classification"].update(L1)),
    ("a nested target", lambda t: t["loss"]["classification"].update(alpha={"_target_": "os.system"})),
    ("a nested listed target", lambda t: t["loss"]["classification"].update(alpha=L1)),
    ("terms of what is no sum", lambda t: t["loss"]["box"].update(terms={"l1": L1})),
    ("a bad term", lambda t: t["loss"].update(box={"_target_": SUM, "terms": {"x": {"_target_": "os.system"}}})),
    ("a sum in a sum", lambda t: t["loss"].update(
        box={"_target_": SUM, "terms": {"x": {"_target_": SUM, "terms": {"l1": L1}}}})),
    ("a term that is no loss", lambda t: t["loss"].update(box={"_target_": SUM, "terms": {"x": 3}})),
    ("terms that are a list", lambda t: t["loss"].update(box={"_target_": SUM, "terms": [L1]})),
    ("a partial", lambda t: t["loss"]["box"].update(_partial_=True)),
    ("arguments of a term", lambda t: t["loss"].update(box={"_target_": SUM, "terms": {"x": {**L1, "_args_": [1]}}})),
    ("a reference", lambda t: t["loss"]["box"].update(weight="${oc.env:HOME}")),
    ("a value out of range", lambda t: t["loss"]["box"].update(weight=-1)),
    ("an unknown key", lambda t: t["loss"]["classification"].update(evil=1)),
]  # fmt: skip


@pytest.mark.parametrize("change", [change for _, change in BAD_LOSSES], ids=[name for name, _ in BAD_LOSSES])
def test_a_loss_that_is_not_plain_and_listed_is_refused(text: str, change: Callable[[dict[str, Any]], object]) -> None:
    with pytest.raises(CheckpointError, match="cannot be used"):
        loss_config_from(_change(text, change))


# Former names


def test_classes_of_former_versions_are_found_by_their_present_names(text: str) -> None:
    def as_before(tree: dict[str, Any]) -> None:
        del tree["model"]["backbone"]["_target_"]
        tree["dataset"] = {"_target_": "retina.data.formats.voc.VocFolder", "name": "voc", "root": "/data/voc"}
        tree["loss"] |= {"box": {"_target_": "retina.detection.losses.box.GIoULoss", "weight": 2.0}}

    before = _change(text, as_before)
    found = model_config_from(before)
    assert found["model"]["backbone"]["_target_"] == "retina.models.backbones.resnet.ResNet"
    assert found["dataset"]["_target_"] == "retina.formats.voc.VocFolder"
    assert loss_config_from(before)["box"]["_target_"] == "retina.detection.losses.overlap.GIoULoss"


def test_the_former_setting_of_a_loss_goes_where_it_is_now(text: str) -> None:
    former = _change(text, lambda tree: (tree["loss"].pop("focal_gamma"), tree["loss"]["box"].update(focal_gamma=2.0)))
    loss = loss_config_from(former)
    assert loss["focal_gamma"] == 2.0
    assert "focal_gamma" not in loss["box"]


@pytest.mark.parametrize("value", [None, 1.5])
def test_the_former_setting_inside_a_sum_is_dropped_where_it_is_null_and_told_where_it_is_not(text, value) -> None:
    box = {"_target_": SUM, "terms": {"l1": {**L1, "focal_gamma": value}}}
    former = _change(text, lambda tree: tree["loss"].update(box=box))
    if value is None:
        assert loss_config_from(former)["box"]["terms"]["l1"] == L1
        return
    with pytest.raises(CheckpointError, match=r"no setting loss\.box\.terms\.l1\.focal_gamma") as caught:
        loss_config_from(former)
    assert "loss.focal_gamma" in caught.value.what.replace("loss.box.terms.l1.focal_gamma", "")
