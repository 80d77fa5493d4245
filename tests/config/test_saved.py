"""A configuration from a stranger's checkpoint builds nothing but what is listed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import yaml

from retina.config.saved import loss_config_from, model_config_from
from retina.config.sections import as_text
from retina.errors import CheckpointError
from tests.jobs import job


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
    config = compose_config("train", [f"dataset={name}", "dataset.root=/data/mine"]).config
    node = model_config_from(OmegaConf.to_yaml(config, resolve=True))["dataset"]
    assert (node["name"], node["root"]) == (name, "/data/mine")
    assert isinstance(listed_target("dataset", node["_target_"]), type)


BAD: list[tuple[str, Callable[[dict[str, Any]], object]]] = [
    ("another target", lambda t: t["model"].update(_target_="os.system")),
    ("through imports", lambda t: t["model"].update(_target_="retina.models.retinanet.torch.hub.load")),
    ("the target of another section", lambda t: t["model"].update(_target_="retina.detection.assign.Assigner")),
    ("a target that is no text", lambda t: t["model"].update(_target_=["x"])),
    ("no target", lambda t: t["model"].pop("_target_")),
    ("a nested target", lambda t: t["model"]["backbone"].update(_target_="os.system")),
    ("a nested listed target", lambda t: t["model"]["backbone"].update(_target_=t["model"]["_target_"])),
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


def test_every_listed_name_leads_to_what_is_defined_there() -> None:
    names = [(section, name) for section, targets in [*ALLOWED_TARGETS.items(), *LOSS_TARGETS.items()]
             for name in targets]  # fmt: skip
    assert len(names) >= 30
    for section, name in names:
        found = listed_target(section, name)
        assert f"{found.__module__}.{found.__qualname__}" == name


def test_a_listed_name_that_was_replaced_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("retina.detection.postprocess.PostProcess", print)
    with pytest.raises(CheckpointError, match="not defined there"):
        listed_target("postprocess", "retina.detection.postprocess.PostProcess")


def test_a_name_of_another_section_is_refused() -> None:
    with pytest.raises(CheckpointError, match="not listed"):
        listed_target("model", "retina.detection.postprocess.PostProcess")


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
    config = compose_config("train", [f"loss/box={box}", "loss/classification=ghm_c"]).config
    loss = loss_config_from(OmegaConf.to_yaml(config, resolve=True))
    assert loss == OmegaConf.to_container(config.loss, resolve=True)
    assert set(loss) == {"classification", "box"}


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
