from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor
from torchvision.models.detection import RetinaNet as TorchvisionRetinaNet
from torchvision.models.detection._utils import BoxCoder

from retina.boxes import encode_boxes
from retina.detection.anchors import AnchorGenerator
from retina.detection.postprocess import PostProcess, rows_that_may_exceed
from retina.structures import AnchorTargets, Detections, Predictions

CANVAS = (96, 128)
GENERATOR = AnchorGenerator()
GRID = GENERATOR.grid_sizes(CANVAS)
ANCHORS = GENERATOR(GRID)
FULL = torch.tensor([CANVAS])
FLOATS = [torch.float64, torch.float32, torch.float16, torch.bfloat16]
NOTHING = -20.0  # a logit far below every threshold


def random_predictions(num_images: int, num_classes: int, *, seed: int, mean: float = -3.0) -> Predictions:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(num_images, len(ANCHORS), num_classes, generator=generator) + mean
    deltas = torch.randn(num_images, len(ANCHORS), 4, generator=generator) * 0.5
    return Predictions(logits, deltas, GRID)


def predict_boxes(boxes: list[list[float]], labels: list[int], logits: list[float], first_anchor: int = 100):
    """Predictions of one image that say exactly these objects, each at an anchor of its own."""
    index = torch.arange(first_anchor, first_anchor + len(boxes))
    all_logits = torch.full((1, len(ANCHORS), 3), NOTHING)
    all_logits[0, index, torch.tensor(labels)] = torch.tensor(logits)
    deltas = torch.zeros(1, len(ANCHORS), 4)
    deltas[0, index] = encode_boxes(torch.tensor(boxes), ANCHORS[index])
    return Predictions(all_logits, deltas, GRID)


def torchvisions_detections(
    settings: PostProcess, predictions: Predictions, sizes: list[tuple[int, int]]
) -> list[dict[str, Tensor]]:
    """Torchvision's detections without the boxes that clipping left empty, which it keeps: nothing suppresses them."""
    cells = [rows * columns * GENERATOR.num_per_cell for rows, columns in GRID]
    network = SimpleNamespace(
        score_thresh=settings.score_threshold,
        topk_candidates=settings.candidates_per_level,
        nms_thresh=settings.nms_iou,
        detections_per_img=100_000,
        box_coder=BoxCoder(weights=(1.0, 1.0, 1.0, 1.0)),
    )
    outputs = {
        "cls_logits": list(predictions.logits.split(cells, dim=1)),
        "bbox_regression": list(predictions.deltas.split(cells, dim=1)),
    }
    anchors = [list(ANCHORS.split(cells)) for _ in sizes]
    found = TorchvisionRetinaNet.postprocess_detections(network, outputs, anchors, sizes)
    whole = [(image["boxes"][:, 2:] > image["boxes"][:, :2]).all(dim=1) for image in found]
    return [
        {name: values[kept][: settings.max_detections] for name, values in image.items()}
        for image, kept in zip(found, whole, strict=True)
    ]


@pytest.mark.parametrize(
    "settings",
    [
        PostProcess(),
        PostProcess(candidates_per_level=50, max_detections=300),
        PostProcess(score_threshold=0.3, nms_iou=0.3),
        PostProcess(score_threshold=0.0, max_detections=20),
    ],
    ids=str,
)
def test_detections_are_torchvisions_on_random_outputs(settings):
    predictions = random_predictions(2, 5, seed=0)
    sizes = [CANVAS, (80, 110)]
    expected = torchvisions_detections(settings, predictions, sizes)
    found = settings(predictions, ANCHORS, torch.tensor(sizes))
    assert len(found) == 2
    for ours, theirs in zip(found, expected, strict=True):
        assert len(ours) >= 20
        torch.testing.assert_close(ours.scores, theirs["scores"])
        torch.testing.assert_close(ours.boxes, theirs["boxes"], rtol=1e-5, atol=1e-3)
        assert torch.equal(ours.labels, theirs["labels"])


def test_perfect_predictions_come_back_as_the_boxes_they_encode():
    boxes, labels = [[10.0, 12.0, 50.0, 40.0], [60.0, 20.0, 90.0, 80.0], [5.0, 60.0, 30.0, 90.0]], [2, 0, 1]
    (found,) = PostProcess()(predict_boxes(boxes, labels, [3.0, 2.0, 1.0]), ANCHORS, FULL)
    torch.testing.assert_close(found.boxes, torch.tensor(boxes), rtol=0, atol=1e-4)
    assert found.labels.tolist() == labels
    torch.testing.assert_close(found.scores, torch.tensor([3.0, 2.0, 1.0]).sigmoid())


def test_many_anchors_that_find_one_object_leave_one_detection():
    box = [10.0, 12.0, 50.0, 40.0]
    scores = [0.1 * k for k in range(20)]
    (found,) = PostProcess()(predict_boxes([box] * 20, [1] * 20, scores), ANCHORS, FULL)
    assert len(found) == 1
    torch.testing.assert_close(found.boxes, torch.tensor([box]), rtol=0, atol=1e-4)
    torch.testing.assert_close(found.scores, torch.tensor([1.9]).sigmoid())


def test_suppression_is_within_a_class_only():
    box, shifted = [10.0, 10.0, 50.0, 50.0], [14.0, 10.0, 54.0, 50.0]  # IoU 36 / 44
    same = predict_boxes([box, shifted], [1, 1], [1.0, 2.0])
    different = predict_boxes([box, shifted], [1, 2], [1.0, 2.0])
    (found,) = PostProcess()(same, ANCHORS, FULL)
    torch.testing.assert_close(found.boxes, torch.tensor([shifted]), rtol=0, atol=1e-4)
    (found,) = PostProcess()(different, ANCHORS, FULL)
    assert found.labels.tolist() == [2, 1]
    (found,) = PostProcess(nms_iou=0.9)(same, ANCHORS, FULL)
    assert len(found) == 2


def test_boxes_are_clipped_to_the_content_and_dropped_in_the_padding():
    boxes = [[-10.0, -5.0, 30.0, 40.0], [70.0, 50.0, 120.0, 90.0], [102.0, 10.0, 120.0, 30.0]]
    predictions = predict_boxes(boxes, [0, 1, 2], [3.0, 2.0, 1.0])
    (found,) = PostProcess()(predictions, ANCHORS, torch.tensor([[80, 100]]))
    expected = torch.tensor([[0.0, 0.0, 30.0, 40.0], [70.0, 50.0, 100.0, 80.0]])
    torch.testing.assert_close(found.boxes, expected, rtol=0, atol=1e-4)


def test_the_threshold_itself_is_not_above_the_threshold():
    half = predict_boxes([[10.0, 10.0, 40.0, 40.0], [60.0, 10.0, 90.0, 40.0]], [0, 1], [0.0, 0.01])
    (found,) = PostProcess(score_threshold=0.5)(half, ANCHORS, FULL)
    assert found.labels.tolist() == [1]
    (found,) = PostProcess(score_threshold=1.0)(half, ANCHORS, FULL)
    assert len(found) == 0


def test_the_candidates_of_a_level_do_not_crowd_out_another_level():
    # Two objects on P3, the better one at every one of 60 anchors; one weak object on P7.
    strong = predict_boxes([[10.0, 10.0, 40.0, 40.0]] * 60, [0] * 60, [5.0] * 60)
    weak = predict_boxes([[20.0, 20.0, 120.0, 90.0]], [1], [-2.0], first_anchor=len(ANCHORS) - 5)
    logits = torch.maximum(strong.logits, weak.logits)
    (found,) = PostProcess(candidates_per_level=2)(
        Predictions(logits, strong.deltas + weak.deltas, GRID), ANCHORS, FULL
    )
    assert found.labels.tolist() == [0, 1]


def test_at_most_the_asked_number_is_kept_and_the_best_come_first():
    predictions = random_predictions(1, 5, seed=3, mean=0.0)
    (everything,) = PostProcess(max_detections=10_000)(predictions, ANCHORS, FULL)
    (few,) = PostProcess(max_detections=7)(predictions, ANCHORS, FULL)
    assert len(everything) > 100
    assert (everything.scores.diff() <= 0).all()
    torch.testing.assert_close(few.boxes, everything.boxes[:7])


def test_no_score_above_the_threshold_is_no_detection():
    predictions = random_predictions(3, 4, seed=4, mean=NOTHING)
    found = PostProcess()(predictions, ANCHORS, torch.tensor([CANVAS] * 3))
    assert [len(detections) for detections in found] == [0, 0, 0]
    assert found[0].boxes.shape == (0, 4)
    assert (found[0].scores.dtype, found[0].labels.dtype) == (torch.float32, torch.int64)


def test_outputs_that_are_not_numbers_are_no_detections():
    predictions = predict_boxes([[10.0, 10.0, 40.0, 40.0], [60.0, 10.0, 90.0, 40.0]], [0, 1], [2.0, math.nan])
    predictions.deltas[0, 100] = math.nan
    (found,) = PostProcess()(predictions, ANCHORS, FULL)
    assert len(found) == 0


def test_half_precision_outputs_give_float32_detections():
    predictions = random_predictions(1, 3, seed=5)
    half = Predictions(predictions.logits.bfloat16(), predictions.deltas.bfloat16(), GRID)
    whole = Predictions(half.logits.float(), half.deltas.float(), GRID)
    (found,), (expected,) = (PostProcess()(outputs, ANCHORS, FULL) for outputs in (half, whole))
    assert isinstance(found, Detections)
    assert (found.boxes.dtype, found.scores.dtype) == (torch.float32, torch.float32)
    torch.testing.assert_close(found.scores, expected.scores)


def test_outputs_of_other_anchors_name_both_sides():
    predictions = random_predictions(1, 3, seed=6)
    with pytest.raises(ValueError, match=r"must be those of 1 images of 7 anchors"):
        PostProcess()(predictions, ANCHORS[:7], FULL)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"score_threshold": 1.5}, r"score_threshold must be between 0 and 1, got 1\.5"),
        ({"nms_iou": -0.1}, r"nms_iou must be between 0 and 1, got -0\.1"),
        ({"nms_iou": math.nan}, r"nms_iou must be between 0 and 1, got nan"),
        ({"candidates_per_level": 0}, r"candidates_per_level must be at least 1, got 0"),
        ({"max_detections": 0}, r"max_detections must be at least 1, got 0"),
    ],
)
def test_a_setting_out_of_range_is_told_by_its_name(values, message):
    with pytest.raises(ValueError, match=message):
        PostProcess(**values)


def test_deltas_of_the_candidates_alone_give_the_detections_of_all_deltas():
    predictions, settings = random_predictions(2, 4, seed=8, mean=-4.0), PostProcess(candidates_per_level=50)
    candidates = settings.candidates(predictions.logits, GRID)
    wanted = candidates.box_cells().anchor_index
    assert 0 < len(wanted) < predictions.logits.shape[1]
    sparse = Predictions(predictions.logits, predictions.deltas_of(wanted), GRID, wanted)
    sizes = torch.tensor([CANVAS, (64, 100)])
    for found, expected in zip(
        settings(sparse, ANCHORS, sizes, candidates), settings(predictions, ANCHORS, sizes), strict=True
    ):
        assert len(expected) > 0
        assert torch.equal(found.boxes, expected.boxes)
        assert torch.equal(found.scores, expected.scores)
        assert torch.equal(found.labels, expected.labels)


def test_the_cells_of_candidates_and_positive_anchors_are_listed_once_each():
    predictions = random_predictions(2, 3, seed=9)
    candidates = PostProcess().candidates(predictions.logits, GRID)
    positives = torch.tensor([0, int(candidates.anchor_index[0]), 2 * len(ANCHORS) - 1])
    empty = torch.zeros(3, 4)
    targets = AnchorTargets(positives, torch.zeros(3, dtype=torch.int64), empty, empty, positives[:0])
    wanted = candidates.box_cells(targets).anchor_index.tolist()
    assert wanted == sorted({*candidates.anchor_index.tolist(), *positives.tolist()})


def test_candidates_are_counted_by_image():
    predictions = random_predictions(3, 2, seed=10)
    predictions.logits[1] = NOTHING
    candidates = PostProcess().candidates(predictions.logits, GRID)
    images = candidates.anchor_index // len(ANCHORS)
    assert candidates.counts == images.bincount(minlength=3).tolist()
    assert candidates.counts[1] == 0


def test_scores_of_a_softmax_are_those_of_its_classes():
    predictions = random_predictions(2, 4, seed=5, mean=0.0)
    settings = PostProcess(scores="softmax", score_threshold=0.2, candidates_per_level=10_000)
    found = settings.candidates(predictions.logits, GRID)
    scores = predictions.logits.softmax(dim=2)[..., :3].flatten(0, 1)
    anchor, label = (scores > 0.2).nonzero().unbind(1)
    assert len(anchor) > 500
    assert torch.equal(found.anchor_index, anchor)
    assert torch.equal(found.labels, label)
    torch.testing.assert_close(found.scores, scores[anchor, label])


def test_softmax_detections_are_those_of_a_sigmoid_with_the_same_scores():
    predictions = random_predictions(1, 4, seed=6, mean=0.0)
    same = replace(predictions, logits=predictions.logits.softmax(dim=2)[..., :3].logit())
    (expected,), (found,) = (
        PostProcess(scores=scores)(one, ANCHORS, FULL) for scores, one in (("sigmoid", same), ("softmax", predictions))
    )
    assert len(found) == 100
    torch.testing.assert_close(found.scores, expected.scores)
    torch.testing.assert_close(found.boxes, expected.boxes)
    assert torch.equal(found.labels, expected.labels)


@pytest.mark.parametrize("threshold", [0.0, 1.0])
def test_the_ends_of_the_threshold_hold_for_a_softmax_too(threshold):
    found = PostProcess(scores="softmax", score_threshold=threshold).candidates(torch.zeros(1, len(ANCHORS), 3), GRID)
    assert (len(found.scores) > 0) is (threshold == 0.0)


def test_an_unknown_kind_of_scores_is_refused():
    with pytest.raises(ValueError, match=r"scores must be one of sigmoid, softmax, got 'none'"):
        PostProcess(scores="none")


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("threshold", [-math.inf, -9.2, -2.944, -1e-3, 0.0, 1e-3, 0.7, 5.0, math.inf])
def test_every_row_with_a_value_above_the_threshold_is_found_and_hardly_any_other(dtype, threshold):
    generator = torch.Generator().manual_seed(0)
    logits = (torch.randn(4000, 3, generator=generator) * 3 - 4).to(dtype)
    found = rows_that_may_exceed(logits, threshold)
    wanted = (logits.double() > threshold).any(dim=1).nonzero().squeeze(1)
    assert torch.isin(wanted, found).all()
    lower = threshold - 0.1 - 0.03 * abs(threshold) if math.isfinite(threshold) else threshold
    allowed = (logits.double() >= lower).any(dim=1).nonzero().squeeze(1)
    assert torch.isin(found, allowed).all()


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize(
    ("row", "threshold", "expected"),
    [
        ([-0.0, -8.0], -1.0, True),
        ([0.0, -8.0], -1.0, True),
        ([-0.0, 0.0], 0.0, False),
        ([-math.inf, -math.inf], -3.0, False),
        ([-math.inf, math.inf], 3.0, True),
        ([-math.inf, math.inf], -3.0, True),
        ([-4.0, -6e4], -3.0, False),
        ([-2.0, -6e4], -3.0, True),
        ([1.0, 2.0], 3.0, False),
        ([math.nan, 4.0], 3.0, True),
    ],
)
def test_rows_of_zeros_infinities_and_nan_are_found_where_they_may_exceed(dtype, row, threshold, expected):
    found = rows_that_may_exceed(torch.tensor([row], dtype=dtype), threshold)
    assert found.tolist() == ([0] if expected else [])
