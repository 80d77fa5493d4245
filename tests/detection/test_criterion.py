"""The criterion: which anchors reach which loss, in which space, in which precision."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torchvision.ops import box_iou

from retina.boxes import decode_boxes, encode_boxes
from retina.detection.criterion import Criterion
from retina.detection.losses import box_pairs
from retina.detection.losses.box import BoxLoss, L1Loss, SmoothL1Loss
from retina.detection.losses.box_pairs import BoxPairs
from retina.detection.losses.classification import ClassificationLoss, FocalLoss
from retina.detection.losses.focal_family import QualityFocalLoss, SoftmaxFocalLoss, VarifocalLoss
from retina.detection.losses.overlap import CIoULoss, EIoULoss, FocalEIoULoss, GIoULoss
from retina.detection.losses.self_normalised import GHMCLoss
from retina.detection.losses.weighted import BoxLossSum
from retina.structures import AnchorTargets, Predictions

IMAGES, ANCHORS, CLASSES = 2, 6, 3
BOX_LOSSES = [L1Loss, SmoothL1Loss, GIoULoss, CIoULoss, EIoULoss, FocalEIoULoss]


def targets_of(positive: list[int]) -> AnchorTargets:
    count = len(positive)
    anchors = torch.tensor([[10.0, 10.0, 42.0, 42.0]]).repeat(count, 1) + torch.arange(count)[:, None]
    boxes = torch.tensor([[14.0, 8.0, 40.0, 50.0]]).repeat(count, 1) + torch.arange(count)[:, None]
    return AnchorTargets(
        torch.tensor(positive, dtype=torch.int64),
        torch.arange(count) % CLASSES,
        boxes,
        anchors,
        torch.tensor([4], dtype=torch.int64),
    )


def random_predictions(seed: int = 0) -> Predictions:
    generator = torch.Generator().manual_seed(seed)
    return Predictions(
        torch.randn(IMAGES, ANCHORS, CLASSES, generator=generator),
        torch.randn(IMAGES, ANCHORS, 4, generator=generator) * 0.2,
        [(2, 3)],
    )


class Recording(BoxLoss):
    """Keeps what it was given, as codes and as boxes."""

    def per_box(self, pairs: BoxPairs) -> Tensor:
        self.seen = (*pairs.codes, *pairs.boxes)
        self.autocast = torch.is_autocast_enabled(pairs.deltas.device.type)
        return pairs.code_errors.sum(dim=1)


def test_losses_are_sums_over_the_batch_and_the_weight_is_applied_to_the_box():
    predictions, targets = random_predictions(), targets_of([1, 5, 9])
    losses = Criterion(FocalLoss(), L1Loss(weight=3.0))(predictions, targets)
    assert set(losses) == {"classification", "box"}
    assert all(loss.dtype == torch.float32 and loss.shape == () for loss in losses.values())
    logits = predictions.logits.reshape(IMAGES * ANCHORS, CLASSES)
    torch.testing.assert_close(losses["classification"], FocalLoss()(logits, targets))
    # Anchor 9 is anchor 3 of the second image.
    deltas = torch.stack([predictions.deltas[0, 1], predictions.deltas[0, 5], predictions.deltas[1, 3]])
    codes = encode_boxes(targets.positive_boxes, targets.positive_anchors)
    torch.testing.assert_close(losses["box"], 3.0 * (deltas - codes).abs().sum())


@pytest.mark.parametrize("kind", BOX_LOSSES)
def test_deltas_of_every_anchor_and_of_the_positive_ones_give_the_same_loss(kind):
    dense, targets = random_predictions(), targets_of([1, 5, 9])
    index = targets.positive_index
    sparse = replace(dense, deltas=dense.deltas.flatten(0, 1)[index], anchor_index=index)
    criterion = Criterion(FocalLoss(), kind())
    assert criterion(dense, targets)["box"].item() > 0
    torch.testing.assert_close(criterion(sparse, targets), criterion(dense, targets))


def test_a_box_loss_sees_codes_and_boxes_of_the_positive_anchors():
    predictions, targets = random_predictions(), targets_of([2, 7])
    deltas = predictions.deltas.flatten(0, 1)[[2, 7]]
    recording = Recording()
    Criterion(FocalLoss(), recording)(predictions, targets)
    expected = (
        deltas,
        encode_boxes(targets.positive_boxes, targets.positive_anchors),
        decode_boxes(deltas, targets.positive_anchors),
        targets.positive_boxes,
    )
    torch.testing.assert_close(recording.seen, expected)


@pytest.mark.parametrize("kind", BOX_LOSSES)
def test_predictions_that_encode_their_targets_have_no_box_loss(kind):
    targets = targets_of([0, 3, 11])
    deltas = encode_boxes(targets.positive_boxes, targets.positive_anchors)
    predictions = replace(random_predictions(), deltas=deltas, anchor_index=targets.positive_index)
    loss = Criterion(FocalLoss(), kind())(predictions, targets)["box"]
    assert loss.item() == pytest.approx(0.0, abs=1e-5)


@pytest.mark.parametrize("dense", [True, False], ids=["dense", "sparse"])
@pytest.mark.parametrize("box", [*(kind() for kind in BOX_LOSSES), FocalEIoULoss(normalise_weights=True)], ids=repr)
def test_without_positives_the_box_loss_is_zero_and_every_parameter_has_a_gradient(box, dense):
    head = nn.Linear(5, 4)
    features = torch.randn(IMAGES, ANCHORS, 5)
    deltas = head(features) if dense else head(features.flatten(0, 1)[:0])
    predictions = replace(random_predictions(), deltas=deltas, anchor_index=None if dense else torch.arange(0))
    losses = Criterion(FocalLoss(), box)(predictions, targets_of([]))
    assert losses["box"].item() == 0
    assert losses["classification"].item() > 0
    losses["box"].backward()
    for parameter in head.parameters():
        assert parameter.grad is not None
        assert parameter.grad.abs().max() == 0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_losses_are_computed_in_float32_also_inside_autocast(dtype):
    predictions = random_predictions()
    low = replace(predictions, logits=predictions.logits.to(dtype), deltas=predictions.deltas.to(dtype))
    recording = Recording()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = Criterion(FocalLoss(), recording)(low, targets_of([1, 5]))
    assert recording.autocast is False
    assert [seen.dtype for seen in recording.seen] == [torch.float32] * 4
    assert [loss.dtype for loss in losses.values()] == [torch.float32, torch.float32]


@pytest.mark.parametrize("kind", BOX_LOSSES)
def test_whole_batch_is_the_sum_of_its_images(kind):
    predictions, targets = random_predictions(), targets_of([1, 5, 9])
    criterion = Criterion(FocalLoss(), kind())
    assert criterion.additive
    first = replace(_rows(targets, slice(0, 2), shift=0), ignored_index=targets.ignored_index)
    second = replace(_rows(targets, slice(2, 3), shift=ANCHORS), ignored_index=targets.ignored_index[:0])
    whole = criterion(predictions, targets)
    parts = [
        criterion(replace(predictions, logits=predictions.logits[i : i + 1], deltas=predictions.deltas[i : i + 1]), t)
        for i, t in enumerate((first, second))
    ]
    for name, value in whole.items():
        torch.testing.assert_close(parts[0][name] + parts[1][name], value)


def _rows(targets: AnchorTargets, rows: slice, *, shift: int) -> AnchorTargets:
    return replace(
        targets,
        positive_index=targets.positive_index[rows] - shift,
        positive_labels=targets.positive_labels[rows],
        positive_boxes=targets.positive_boxes[rows],
        positive_anchors=targets.positive_anchors[rows],
    )


def test_ignored_anchors_reach_no_loss():
    predictions, targets = random_predictions(), targets_of([1, 5])
    predictions.logits.requires_grad_()
    predictions.deltas.requires_grad_()
    sum(Criterion(FocalLoss(), EIoULoss())(predictions, targets).values()).backward()
    assert predictions.logits.grad[0, 4].abs().max() == 0  # the ignored anchor
    assert predictions.logits.grad.flatten(0, 1)[[0, 1, 2, 3, 5]].abs().min() > 0
    has_box_gradient = predictions.deltas.grad.flatten(0, 1).abs().amax(dim=1) > 0
    assert has_box_gradient.nonzero().flatten().tolist() == [1, 5]  # the positive anchors


def test_the_criterion_is_additive_only_where_both_losses_are():
    assert Criterion(FocalLoss(), FocalEIoULoss()).additive is True
    assert Criterion(FocalLoss(), FocalEIoULoss(normalise_weights=True)).additive is False


@pytest.mark.parametrize("deltas", [[0, 0, 1e4, 1e4], [0, 0, -1e4, -1e4], [1e5, -1e5, 0, 0], [0, 0, -80, 1e4]], ids=str)
@pytest.mark.parametrize("kind", BOX_LOSSES)
def test_wild_deltas_of_an_untrained_network_have_a_finite_loss_and_gradient(kind, deltas):
    wild = torch.tensor([deltas], dtype=torch.float32, requires_grad=True)
    predictions = replace(random_predictions(), deltas=wild, anchor_index=torch.tensor([3]))
    loss = Criterion(FocalLoss(), kind())(predictions, targets_of([3]))["box"]
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(wild.grad).all()


@pytest.mark.parametrize("kind", BOX_LOSSES)
@pytest.mark.parametrize("box", [[20, 10, 20, 40], [20, 10, 40, 10], [20, 20, 20, 20]], ids=str)
def test_an_object_without_width_or_height_has_a_finite_loss_and_gradient(kind, box):
    targets = replace(targets_of([3]), positive_boxes=torch.tensor([box], dtype=torch.float32))
    deltas = torch.zeros(1, 4, requires_grad=True)
    predictions = replace(random_predictions(), deltas=deltas, anchor_index=torch.tensor([3]))
    loss = Criterion(FocalLoss(), kind())(predictions, targets)["box"]
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(deltas.grad).all()


@pytest.mark.parametrize("gamma", [-1.0, float("inf"), float("nan")])
def test_an_impossible_focal_gamma_is_refused(gamma):
    with pytest.raises(ValueError, match=rf"focal_gamma must be at least 0, got {gamma}"):
        Criterion(FocalLoss(), L1Loss(), focal_gamma=gamma)


class RecordingScores(ClassificationLoss):
    """Keeps the overlaps that it was given."""

    needs_iou = True

    def forward(self, logits: Tensor, targets: AnchorTargets, iou: Tensor) -> Tensor:
        self.iou = iou
        return logits.sum()


@pytest.mark.parametrize("box", [L1Loss(), GIoULoss()], ids=repr)
def test_a_loss_that_asks_for_overlaps_gets_those_of_the_predicted_boxes_without_a_gradient(box):
    predictions, targets = random_predictions(), targets_of([1, 5, 9])
    predictions.deltas.requires_grad_()
    recording = RecordingScores()
    Criterion(recording, box)(predictions, targets)
    boxes = decode_boxes(predictions.deltas.detach().flatten(0, 1)[[1, 5, 9]], targets.positive_anchors)
    torch.testing.assert_close(recording.iou, box_iou(boxes, targets.positive_boxes).diagonal())
    assert not recording.iou.requires_grad


@pytest.mark.parametrize("loss", [QualityFocalLoss(), VarifocalLoss()], ids=repr)
def test_scores_that_learn_overlaps_leave_the_boxes_alone(loss):
    predictions, targets = random_predictions(), targets_of([1, 5])
    predictions.logits.requires_grad_()
    predictions.deltas.requires_grad_()
    value = Criterion(loss, L1Loss())(predictions, targets)["classification"]
    value.backward()
    assert predictions.logits.grad.abs().max() > 0
    assert predictions.deltas.grad is None


@pytest.mark.parametrize("loss", [QualityFocalLoss(), GHMCLoss(), SoftmaxFocalLoss()], ids=repr)
def test_without_positives_every_classification_loss_is_finite(loss):
    losses = Criterion(loss, L1Loss(), focal_gamma=2.0)(random_predictions(), targets_of([]))
    assert torch.isfinite(losses["classification"])
    assert losses["box"].item() == 0


def test_a_sum_in_both_spaces_gets_codes_and_boxes_each_made_once(monkeypatch):
    predictions, targets = random_predictions(), targets_of([1, 5, 9])
    made: list[str] = []
    for name in ("encode_boxes", "decode_boxes"):
        function = getattr(box_pairs, name)
        monkeypatch.setattr(
            box_pairs, name, lambda *boxes, name=name, function=function: made.append(name) or function(*boxes)
        )
    both = BoxLossSum({"codes": L1Loss(weight=2.0), "overlap": GIoULoss(weight=0.5)}, weight=3.0)
    value = Criterion(QualityFocalLoss(), both)(predictions, targets)["box"]
    assert sorted(made) == ["decode_boxes", "encode_boxes"]
    single = [Criterion(FocalLoss(), box)(predictions, targets)["box"] for box in (L1Loss(), GIoULoss())]
    torch.testing.assert_close(value, 3.0 * (2.0 * single[0] + 0.5 * single[1]))


@pytest.mark.parametrize("loss", [FocalLoss(), SoftmaxFocalLoss()], ids=repr)
def test_boxes_are_weighed_by_the_focal_factor_of_their_class_over_its_mean(loss):
    predictions, targets = random_predictions(), targets_of([1, 5, 9])
    predictions.logits.requires_grad_()
    criterion = Criterion(loss, L1Loss(weight=2.0), focal_gamma=1.5)
    value = criterion(predictions, targets)["box"]
    logits = predictions.logits.detach().flatten(0, 1)[[1, 5, 9]]
    scores = logits.softmax(dim=1) if loss.scores == "softmax" else logits.sigmoid()
    weights = (1 - scores[torch.arange(3), targets.positive_labels]) ** 1.5
    codes = encode_boxes(targets.positive_boxes, targets.positive_anchors)
    distances = (predictions.deltas.flatten(0, 1)[[1, 5, 9]] - codes).abs().sum(dim=1)
    torch.testing.assert_close(value, 2.0 * 3 * (weights * distances).sum() / weights.sum())
    assert not value.requires_grad, "the scores learn nothing from it"
    assert criterion.additive is False


def test_a_focal_gamma_of_zero_changes_no_value():
    predictions, targets = random_predictions(), targets_of([1, 5, 9])
    expected = Criterion(FocalLoss(), GIoULoss())(predictions, targets)
    torch.testing.assert_close(Criterion(FocalLoss(), GIoULoss(), focal_gamma=0.0)(predictions, targets), expected)


def test_running_numbers_of_a_loss_are_part_of_the_criterions_state():
    criterion = Criterion(GHMCLoss(bins=3), L1Loss())
    criterion(random_predictions(), targets_of([1, 5]))
    state = criterion.state_dict()
    assert list(state) == ["classification.bin_counts"]
    assert state["classification.bin_counts"].sum() == (IMAGES * ANCHORS - 1) * CLASSES
    assert Criterion(FocalLoss([0.1, 0.2, 0.3]), L1Loss(), focal_gamma=1.0).state_dict() == {}
