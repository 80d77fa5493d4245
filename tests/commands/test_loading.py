"""What brings images to a run: splits and loaders."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from retina.build import build
from retina.commands import assemble
from retina.commands.assemble import epoch_orders, open_split, open_training_data, resolve_sampling, train_loader_maker
from retina.errors import DataError
from retina.settings import RunSettings
from tests.jobs import as_job, job, tree_of


@pytest.mark.parametrize(
    ("is_main", "expected"), [(True, ["open val", "barrier"]), (False, ["barrier", "open val"])], ids=["main", "other"]
)
def test_the_main_rank_opens_a_data_set_first(monkeypatch, is_main, expected):
    happened: list[str] = []
    monkeypatch.setattr(assemble.distributed, "is_main", lambda: is_main)
    monkeypatch.setattr(assemble.distributed, "barrier", lambda: happened.append("barrier"))
    folder = SimpleNamespace(open=lambda split: happened.append(f"open {split}") or "dataset")
    assert open_split(folder, "val") == "dataset"
    assert happened == expected


def test_the_other_ranks_do_not_wait_for_a_data_set_that_cannot_be_opened(monkeypatch):
    happened: list[str] = []
    monkeypatch.setattr(assemble.distributed, "barrier", lambda: happened.append("barrier"))

    def fail(split: str) -> None:
        raise DataError(f"no {split}")

    with pytest.raises(DataError):
        open_split(SimpleNamespace(open=fail), "val")
    assert happened == ["barrier"]


# The training data


def test_a_share_of_the_training_images_is_opened_and_evaluation_sees_all(small):
    run, sections = job("train", *small, "dataset.fraction=0.25")
    folder = build(sections["dataset"])
    share, whole = open_training_data(run, folder), open_split(folder, "train")
    assert (len(share), len(whole)) == (3, 12)
    assert any("9 images, left out by dataset.fraction=0.25" in note for note in share.notes)
    assert len(open_split(folder, "val")) == 4
    run, _ = job("train", *small, "dataset.fraction=0.25", "dataset.fraction_seed=5")
    again = open_training_data(run, folder)
    assert set(again.image_ids.tolist()) != set(share.image_ids.tolist())


def test_a_configuration_that_knows_no_share_means_all(small):
    tree = tree_of("train", *small)
    del tree["dataset"]["fraction"], tree["dataset"]["fraction_seed"], tree["sampling"]
    run, sections = as_job("train", tree)
    dataset = open_training_data(run, build(sections["dataset"]))
    assert len(dataset) == 12
    assert epoch_orders(sections, RunSettings(), dataset).length == 12
    assert resolve_sampling(sections, 4) == {}


def test_groups_of_similar_images_keep_the_batch_size_that_the_run_began_with():
    run, sections = job("train", "sampling=aspect_ratio", "train.batch_size=6")
    begun = resolve_sampling(sections, run.train.batch_size)
    assert begun["group_size"] == 6
    assert resolve_sampling({"sampling": begun}, 2)["group_size"] == 6
    assert "group_size" not in resolve_sampling(job("train", "sampling=uniform")[1], 6)


@pytest.mark.parametrize("name", ["uniform", "aspect_ratio", "repeat_factor", "class_balanced"])
def test_every_sampling_is_built_and_handed_to_the_loader(small, monkeypatch, name):
    more = ["sampling.threshold=0.9"] if name == "repeat_factor" else []
    run, sections = job("train", *small, f"sampling={name}", "image.multi_scale=[48, 64]", *more)
    dataset = open_training_data(run, build(sections["dataset"]))
    orders = epoch_orders(sections, run, dataset)
    assert (orders.length > 12) == (name == "repeat_factor")
    assigner = SimpleNamespace()
    seen = {}
    monkeypatch.setattr(
        assemble, "build_train_loader", lambda *parts, **settings: seen.update(settings, sampler=parts[3])
    )
    machine = SimpleNamespace(device=SimpleNamespace(type="cpu"))
    length = SimpleNamespace(num_images=100, images_per_epoch=12)
    train_loader_maker(sections, run, dataset, assigner, machine, length, orders=orders)(8)
    sampler = seen["sampler"]
    assert (sampler.start, sampler.batch_size, sampler.orders.length) == (8, 4, orders.length)
    assert sampler.sizes == ((48, 64), (64, 64))
    assert seen["on_bad_image"] == dataset.on_bad_image
