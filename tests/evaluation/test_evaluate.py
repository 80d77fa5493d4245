from __future__ import annotations

import contextlib
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from retina import distributed
from retina.boxes import encode_boxes, pairwise_iou
from retina.detection.anchors import AnchorGenerator
from retina.detection.postprocess import PostProcess
from retina.evaluation.coco_metrics import METRIC_NAMES
from retina.evaluation.detect import evaluation_mode, to_coco_results, to_original_frame
from retina.evaluation.evaluate import Evaluator
from retina.machine import Machine
from retina.structures import AnchorTargets, Batch, Detections, ImageBatch, Predictions

CPU = torch.device("cpu")
MACHINE = Machine(CPU, "float32")
# Sizes in the network's input; not quite the same scale on both axes, as after rounding.
CONTENT = {30: (160, 241), 7: (213, 160), 12: (160, 160)}


class PerfectModel(nn.Module):
    """A stand-in for a network that finds every box of ``dataset``; the first pixel tells which image it sees."""

    def __init__(self, dataset, anchors: AnchorGenerator) -> None:
        super().__init__()
        self.dataset, self.anchors = dataset, anchors
        self.modes: list[bool] = []

    def forward(self, images: ImageBatch, box_cells=None) -> Predictions:
        self.modes.append(self.training or torch.is_grad_enabled())
        grid_sizes = self.anchors.grid_sizes(images.pixels.shape[-2:])
        anchors = self.anchors(grid_sizes, CPU)
        logits = torch.full((len(images), len(anchors), 3), -20.0)
        deltas = torch.zeros(len(images), len(anchors), 4)
        for b, image_id in enumerate(images.pixels[:, 0, 0, 0].tolist()):
            index = self.dataset.image_ids.tolist().index(image_id)
            targets = self.dataset.targets(index)
            boxes = targets.boxes * scale(self.dataset.sizes[index], CONTENT[image_id])
            for box, label in zip(boxes, targets.labels, strict=True):
                best = pairwise_iou(box[None], anchors)[0].argmax()
                logits[b, best, label] = 3.0
                deltas[b, best] = encode_boxes(box, anchors[best])
        return Predictions(logits, deltas, grid_sizes)


class CountingCriterion(nn.Module):
    """Sums that a test can foresee: two for each positive anchor, and minus three."""

    def forward(self, predictions: Predictions, targets: AnchorTargets) -> dict[str, torch.Tensor]:
        assert predictions.deltas.ndim == 3
        positives = float(targets.num_positives)
        return {"classification": torch.tensor(2 * positives), "box": torch.tensor(-3.0)}


def scale(size, content) -> torch.Tensor:
    return torch.tensor([content[1] / size[1], content[0] / size[0]]).repeat(2).float()


def batch(dataset, image_ids: list[int], num_positives: int = 0) -> Batch:
    """A padded batch whose pixels hold nothing but the image ids."""
    pixels = torch.zeros(len(image_ids), 3, 224, 256, dtype=torch.uint8)
    pixels[:, 0, 0, 0] = torch.tensor(image_ids)
    indices = [dataset.image_ids.tolist().index(image_id) for image_id in image_ids]
    index, none = torch.arange(num_positives), torch.zeros(0, dtype=torch.int64)
    boxes = torch.zeros(num_positives, 4)
    return Batch(
        images=ImageBatch(pixels, torch.tensor([CONTENT[image_id] for image_id in image_ids])),
        targets=AnchorTargets(index, index, boxes, boxes, none),
        image_ids=image_ids,
        original_sizes=[tuple(dataset.sizes[i].tolist()) for i in indices],
        box_targets=[dataset.targets(i) for i in indices],
    )


@pytest.fixture
def evaluator(dataset) -> Evaluator:
    loader = [batch(dataset, [12, 30], num_positives=3), batch(dataset, [7], num_positives=1)]
    return Evaluator(loader, dataset, PostProcess(), AnchorGenerator(), MACHINE)


def with_fields(evaluator: Evaluator, **changes) -> Evaluator:
    return Evaluator(**{**vars(evaluator), **changes})


def test_a_perfect_model_has_ap_one_and_its_boxes_come_back_in_the_original_frame(evaluator, dataset):
    evaluation = evaluator(PerfectModel(dataset, evaluator.anchors))
    assert evaluation.metrics["AP"] == pytest.approx(1)
    found = {(entry["image_id"], entry["category_id"]): entry["bbox"] for entry in evaluation.results}
    assert set(found) == {(30, 7), (30, 3), (7, 3)}
    assert found[30, 3] == pytest.approx([80.5, 40.25, 60.0, 50.5], abs=1e-3)
    assert found[7, 3] == pytest.approx([5, 8, 20, 20], abs=1e-3)
    assert [entry["image_id"] for entry in evaluation.results] == [30, 30, 7], "in the order of the data set"
    assert len(evaluation.detections[12]) == 0


def test_without_a_criterion_there_are_no_losses(evaluator, dataset):
    metrics = evaluator(PerfectModel(dataset, evaluator.anchors)).metrics
    assert set(metrics) == {*METRIC_NAMES, "per_class"}


def test_losses_are_divided_by_the_positives_of_the_whole_data_set(evaluator, dataset):
    metrics = with_fields(evaluator, criterion=CountingCriterion())(PerfectModel(dataset, evaluator.anchors)).metrics
    assert metrics["loss_classification"] == pytest.approx((6 + 2) / 4)
    assert metrics["loss_box"] == pytest.approx((-3 - 3) / 4)
    assert metrics["loss"] == pytest.approx(0.5)


def test_the_model_is_evaluated_without_gradients_and_left_as_it_was(evaluator, dataset):
    model = PerfectModel(dataset, evaluator.anchors)
    model.frozen = nn.BatchNorm2d(3)
    model.train()
    model.frozen.eval()
    evaluator(model)
    assert model.modes == [False, False]
    assert (model.training, model.frozen.training) == (True, False)


def test_the_mode_is_restored_after_an_error():
    model = nn.Dropout().train()

    def fail() -> None:
        with evaluation_mode(model):
            assert not model.training
            raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        fail()
    assert model.training


def test_only_the_network_runs_in_the_autocast_context(evaluator, dataset):
    entered = []

    @contextlib.contextmanager
    def autocast():
        entered.append(True)
        yield
        entered.append(False)

    class OutsideAutocast(CountingCriterion):
        def forward(self, predictions, targets):
            assert entered[-1] is False
            return super().forward(predictions, targets)

    machine = SimpleNamespace(device=CPU, autocast=autocast)
    with_fields(evaluator, criterion=OutsideAutocast(), machine=machine)(PerfectModel(dataset, evaluator.anchors))
    assert entered == [True, False] * 2


def test_two_ranks_give_what_one_gives_and_a_repeated_image_counts_once(evaluator, dataset, monkeypatch):
    model = PerfectModel(dataset, evaluator.anchors)
    criterion = CountingCriterion()
    alone = with_fields(evaluator, criterion=criterion)(model)
    shares: list = []

    def remember(share):
        shares.append(share)
        return [share]

    # The second rank sees one image, the first one the others; image 7 is seen by both.
    second = with_fields(evaluator, loader=evaluator.loader[1:], criterion=criterion)
    monkeypatch.setattr(distributed, "gather_objects", remember)
    with pytest.raises(ValueError, match="the loader gave 1 images and the data set has 3; not predicted: 30, 12"):
        second(model)
    first_loader = [batch(dataset, [12, 30, 7], num_positives=3)]
    monkeypatch.setattr(distributed, "gather_objects", lambda share: [share, shares[0]])
    together = with_fields(evaluator, loader=first_loader, criterion=criterion)(model)
    assert together.results == alone.results
    assert together.metrics == alone.metrics


def test_other_ranks_leave_the_numbers_to_the_main_rank(evaluator, dataset, monkeypatch):
    monkeypatch.setattr(distributed, "is_main", lambda: False)
    evaluation = evaluator(PerfectModel(dataset, evaluator.anchors))
    assert (evaluation.metrics, evaluation.results) == ({}, [])


def test_a_model_that_finds_nothing_has_ap_zero(evaluator, dataset):
    strict = with_fields(evaluator, postprocess=PostProcess(score_threshold=0.99))
    evaluation = strict(PerfectModel(dataset, evaluator.anchors))
    assert (evaluation.metrics["AP"], evaluation.results) == (0, [])


def test_anchors_are_made_once_for_each_canvas(evaluator, dataset):
    made = []

    def anchors(grid_sizes, device):
        made.append(grid_sizes)
        return AnchorGenerator()(grid_sizes, device)

    with_fields(evaluator, anchors=anchors)(PerfectModel(dataset, evaluator.anchors))
    assert len(evaluator.loader) == 2
    assert len(made) == 1


def detections(*boxes: list[float]) -> Detections:
    count = len(boxes)
    return Detections(torch.tensor(boxes).reshape(-1, 4), torch.linspace(0.9, 0.5, count), torch.arange(count))


def test_each_axis_has_its_own_scale_and_boxes_end_at_the_image():
    found = to_original_frame(detections([10, 10, 50, 20], [-4, -4, 210, 120]), (100, 200), (50, 50))
    # x is scaled by 50 / 200, y by 50 / 100.
    assert found.boxes.tolist() == [[2.5, 5, 12.5, 10], [0, 0, 50, 50]]


def test_boxes_survive_the_way_to_the_network_and_back():
    boxes = torch.tensor([[3.25, 7.5, 400.0, 299.0], [0.0, 0.0, 640.0, 480.0]])
    content, original = (801, 1067), (480, 640)
    resized = boxes * scale(original, content)
    back = to_original_frame(Detections(resized, torch.ones(2), torch.zeros(2, dtype=torch.int64)), content, original)
    torch.testing.assert_close(back.boxes, boxes.double(), rtol=1e-6, atol=1e-4)


def test_results_have_cocos_boxes_and_ids_in_full_precision():
    (first, second) = to_coco_results(detections([1.1, 2, 4, 8], [0, 0, 1, 1]), 42, (3, 90))
    assert first["image_id"] == 42
    assert (first["category_id"], second["category_id"]) == (3, 90)
    assert first["bbox"] == [torch.tensor(1.1).item(), 2, (torch.tensor(4.0) - torch.tensor(1.1)).item(), 6]
    assert first["score"] == torch.tensor(0.9).item()


def test_no_detections_are_no_results():
    assert to_coco_results(detections(), 1, (1,)) == []
