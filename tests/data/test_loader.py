from __future__ import annotations

import os
import signal
from collections import Counter
from itertools import islice
from multiprocessing.reduction import ForkingPickler

import albumentations as A
import cv2
import pytest
import torch

from retina.data.augment import Augment
from retina.data.collate import Collate
from retina.data.dataset import DetectionDataset
from retina.data.loader import AugmentedImages, build_eval_loader, build_train_loader, suggested_workers
from retina.data.samplers import EvalBatchSampler, KeyedBatchSampler, SampleKey
from retina.data.sampling import AspectRatio, RepeatFactor
from retina.data.transforms.color import ColorMatrix
from retina.data.transforms.crops import ScaleCrop
from retina.errors import DataError, OutOfMemoryError
from retina.structures import AnchorTargets, Batch, BoxTargets


def assign_first_box(canvas, targets) -> AnchorTargets:
    """Stands in for the detection package: the first box of every image is positive at anchor 0 of that image."""
    some = [(position, t) for position, t in enumerate(targets) if len(t.boxes)]
    boxes = torch.cat([torch.zeros(0, 4), *(t.boxes[:1] for _, t in some)])
    labels = torch.cat([torch.zeros(0, dtype=torch.int64), *(t.labels[:1] for _, t in some)])
    index = torch.tensor([position * 100 for position, _ in some], dtype=torch.int64)
    return AnchorTargets(index, labels, boxes, boxes.clone(), torch.zeros(0, dtype=torch.int64))


@pytest.fixture
def dataset(coco_folder) -> DetectionDataset:
    return DetectionDataset(coco_folder / "images", coco_folder / "instances.json", name="tiny", split="train")


def train_loader(dataset, *, workers: int, start: int = 0, images=None, on_bad_image="error", **ranks):
    transforms = [A.HorizontalFlip(p=0.5), ScaleCrop(p=0.5), ColorMatrix(p=0.8)]
    return build_train_loader(
        dataset,
        Augment(transforms, short_side=64, long_side=96, seed=3),
        Collate(assign_first_box),
        KeyedBatchSampler(images or len(dataset), batch_size=4, seed=3, start=start, **ranks),
        workers=workers,
        pin_memory=False,
        on_bad_image=on_bad_image,
    )


def eval_loader(dataset, *, workers: int):
    return build_eval_loader(
        dataset,
        Augment([], short_side=64, long_side=96, seed=0),
        Collate(assign_first_box),
        EvalBatchSampler(dataset.sizes, batch_size=4),
        workers=workers,
        pin_memory=False,
    )


def assert_equal(first: Batch, second: Batch) -> None:
    assert torch.equal(first.images.pixels, second.images.pixels)
    assert first.images.pixels.stride() == second.images.pixels.stride()
    assert torch.equal(first.images.sizes, second.images.sizes)
    assert first.image_ids == second.image_ids
    assert first.original_sizes == second.original_sizes
    for name in ("positive_index", "positive_labels", "positive_boxes", "positive_anchors", "ignored_index"):
        assert torch.equal(getattr(first.targets, name), getattr(second.targets, name))
    for ours, theirs in zip(first.box_targets, second.box_targets, strict=True):
        for name in ("boxes", "labels", "crowd_boxes"):
            assert torch.equal(getattr(ours, name), getattr(theirs, name))


def test_batches_of_two_processes_equal_those_of_none_bit_for_bit(dataset):
    alone = list(islice(train_loader(dataset, workers=0), 9))
    together = list(islice(train_loader(dataset, workers=2), 9))
    for first, second in zip(alone, together, strict=True):
        assert_equal(first, second)
    assert len({id for batch in alone for id in batch.image_ids}) == 6


def test_a_resumed_loader_goes_on_with_the_same_batches(dataset):
    whole = list(islice(train_loader(dataset, workers=0), 6))
    resumed = list(islice(train_loader(dataset, workers=2, start=12), 3))
    for first, second in zip(whole[3:], resumed, strict=True):
        assert_equal(first, second)


def test_evaluation_can_be_gone_through_again_with_the_same_processes(dataset):
    loader = eval_loader(dataset, workers=2)
    first, second = list(loader), list(loader)
    assert sorted(id for batch in first for id in batch.image_ids) == [1, 3, 7, 12, 40, 99]
    assert len(loader) == 2
    for ours, theirs in zip(first, second, strict=True):
        assert_equal(ours, theirs)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_mistake_in_a_loader_process_arrives_with_all_its_parts(dataset, coco_folder, workers):
    (coco_folder / "images" / "b.png").unlink()
    with pytest.raises(DataError) as caught:
        list(eval_loader(dataset, workers=workers))
    error = caught.value
    assert type(error) is DataError
    assert error.what.startswith("image 7 'b.png' cannot be read (No such file or directory)")
    assert error.why == "the annotation file lists it"
    assert error.fix.startswith("put the file into")
    assert error.exit_status == 2
    assert str(error).count("\n") == 2
    assert "Traceback" not in str(error)
    assert "in read_image" in error.__notes__[0] or "in image_path" in error.__notes__[0]


def test_a_mistake_of_ours_in_a_loader_process_keeps_its_type(dataset):
    def broken(canvas, targets):
        raise ZeroDivisionError("ours")

    loader = build_eval_loader(
        dataset,
        Augment([], short_side=64, long_side=96, seed=0),
        Collate(broken),
        EvalBatchSampler(dataset.sizes, batch_size=4),
        workers=1,
        pin_memory=False,
    )
    with pytest.raises(ZeroDivisionError, match="ours"):
        list(loader)


def test_a_loader_process_that_is_killed_is_told_without_a_traceback(dataset):
    def killed(canvas, targets):
        os.kill(os.getpid(), signal.SIGKILL)  # as the system does when memory runs out

    loader = build_eval_loader(
        dataset,
        Augment([], short_side=64, long_side=96, seed=0),
        Collate(killed),
        EvalBatchSampler(dataset.sizes, batch_size=4),
        workers=1,
        pin_memory=False,
    )
    with pytest.raises(OutOfMemoryError, match="a loader process ended unexpectedly") as caught:
        list(loader)
    assert "train.workers=0" in str(caught.value)


class Inspecting:
    """A collate that writes down how its process is set up, in place of image ids."""

    def __call__(self, samples):
        batch = Collate(assign_first_box)(samples)
        ignores = int(signal.getsignal(signal.SIGINT) is signal.SIG_IGN)
        state = [torch.get_num_threads(), cv2.getNumThreads(), ignores, os.getpid()]
        return Batch(batch.images, batch.targets, state, batch.original_sizes, batch.box_targets)


def test_processes_have_one_thread_and_leave_ctrl_c_to_the_main_process(dataset):
    loader = build_eval_loader(
        dataset,
        Augment([], short_side=64, long_side=96, seed=0),
        Inspecting(),
        EvalBatchSampler(dataset.sizes, batch_size=2),
        workers=2,
        pin_memory=False,
    )
    states = [batch.image_ids for batch in loader]
    assert len(states) == 3
    assert all(state[:3] == [1, 1, 1] for state in states), states  # OpenCV calls "no threads" one thread
    assert os.getpid() not in {state[3] for state in states}


def test_boxes_go_between_processes_by_value_not_by_shared_memory_files():
    targets = BoxTargets(torch.rand(3, 4), torch.tensor([1, 2, 3]), torch.zeros(0, 4))
    content = bytes(ForkingPickler.dumps(targets))
    assert b"rebuild_storage" not in content
    back = ForkingPickler.loads(content)
    assert torch.equal(back.boxes, targets.boxes)
    assert torch.equal(back.labels, targets.labels)
    assert back.crowd_boxes.shape == (0, 4)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_batches_are_the_same_however_processes_are_started(dataset, method):
    loader = train_loader(dataset, workers=1)
    loader.multiprocessing_context = method
    for first, second in zip(islice(loader, 3), islice(train_loader(dataset, workers=0), 3), strict=True):
        assert_equal(first, second)


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_batches_say_which_images_others_stand_in_for(dataset, coco_folder, workers):
    (coco_folder / "images" / "b.png").write_bytes(b"damaged")
    batches = list(islice(train_loader(dataset, workers=workers, on_bad_image="skip"), 6))  # 24 images, 4 epochs
    said = [reason for batch in batches for reason in batch.replaced]
    assert len(said) == 4
    assert len(set(said)) == 1
    assert said[0].startswith("image 7 'b.png' cannot be decoded: ")
    ids = [id for batch in batches for id in batch.image_ids]
    assert 7 not in ids
    assert len(ids) == 24
    for first, second in zip(batches, islice(train_loader(dataset, workers=0, on_bad_image="skip"), 6), strict=True):
        assert_equal(first, second)


def test_ranks_share_the_images_of_every_epoch_between_them(dataset):
    sampling = RepeatFactor(threshold=0.5).orders(dataset)
    for orders in (len(dataset), sampling, AspectRatio(group_size=4).orders(dataset)):
        length = orders if isinstance(orders, int) else orders.length
        ids: list[int] = []
        for rank in range(2):
            loader = train_loader(dataset, workers=0, images=orders, rank=rank, world_size=2)
            ids += [id for batch in islice(loader, length) for id in batch.image_ids]  # 4 epochs
        counts = Counter(ids)
        assert set(counts) == {1, 3, 7, 12, 40, 99}
        assert sum(counts.values()) == 4 * length
        assert length > 6 or set(counts.values()) == {4}


def test_an_augmented_image_is_a_function_of_its_key(dataset):
    images = AugmentedImages(dataset, Augment([A.HorizontalFlip(p=0.5)], short_side=64, long_side=96, seed=0))
    results = [images[SampleKey(epoch, 0)].image for epoch in range(12)]
    assert len({result.tobytes() for result in results}) == 2
    assert (images[SampleKey(0, 0)].image == results[0]).all()


def test_on_a_small_cpu_the_network_keeps_the_cores(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(2)), raising=False)
    assert suggested_workers("cpu", 1) == 0
    assert suggested_workers("cuda", 1) == 2
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(64)), raising=False)
    assert suggested_workers("cpu", 2) == 4
    assert suggested_workers("cuda", 1) == 8
    assert suggested_workers("cuda", 16) == 4
