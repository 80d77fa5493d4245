"""One set of weights and one padded batch through our network and through torchvision's RetinaNet.

Torchvision's anchors are replaced by ours (its own are rounded to whole pixels), its normalisation by the positives of
each image is undone; everything else is its own code: resizing left out, normalising, padding, backbone, pyramid,
heads, matcher, losses, post-processing.

Ours runs once on the plain paths in float32, and once on the fast ones in float64: folded norms and a box tower of a
few cells round differently, and a ReLU or a max-pool at a tie then passes its gradient elsewhere. What float32 adds to
that is bounded at the end.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import get_model
from torchvision.models.detection import RetinaNet as TorchvisionRetinaNet
from torchvision.models.detection.backbone_utils import _resnet_fpn_extractor
from torchvision.ops import FrozenBatchNorm2d, box_iou
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

from benchmarks.peer import OurAnchors, torchvisions_name
from retina.detection.anchors import AnchorGenerator
from retina.detection.assign import Assigner
from retina.detection.criterion import Criterion
from retina.detection.losses.box import L1Loss
from retina.detection.losses.classification import FocalLoss
from retina.detection.postprocess import PostProcess
from retina.evaluation.detect import detect
from retina.models.backbones.resnet import ResNet
from retina.models.retinanet import RetinaNet, build_retinanet
from retina.structures import BoxTargets, ImageBatch

NUM_CLASSES = 5
CANVAS = (128, 192)
SIZES = [(128, 170), (101, 192), (90, 120)]  # the last two are padded below, the first and the last at the right
OBJECTS = [
    ([[10, 20, 70, 90], [60.5, 30.25, 160, 120], [100, 5, 118, 30]], [0, 4, 2]),
    ([[0, 0, 192, 101], [20, 40, 60, 60]], [1, 1]),
    ([], []),
]


@dataclass
class Outcome:
    """What one of the two networks made of the batch."""

    logits: Tensor
    deltas: Tensor
    classification: float  # sums over the batch
    box: float
    gradients: dict[str, Tensor]  # by our names


@dataclass
class Pair:
    ours: RetinaNet
    theirs: TorchvisionRetinaNet
    anchors: AnchorGenerator
    dtype: torch.dtype
    fast: bool


def build_theirs(depth: int, p6_from: str) -> TorchvisionRetinaNet:
    """Torchvision's RetinaNet with weights that make frozen statistics, scores and boxes vary."""
    torch.manual_seed(0)
    resnet = get_model(f"resnet{depth}", weights=None, norm_layer=FrozenBatchNorm2d)
    p6_channels = {"c5": resnet.fc.in_features, "p5": 256}[p6_from]
    body = _resnet_fpn_extractor(resnet, 5, returned_layers=[2, 3, 4], extra_blocks=LastLevelP6P7(p6_channels, 256))
    theirs = TorchvisionRetinaNet(body, NUM_CLASSES, detections_per_img=10_000, _skip_resize=True)
    for module in theirs.modules():
        if isinstance(module, FrozenBatchNorm2d):
            nn.init.uniform_(module.weight, 0.3, 0.7)
            nn.init.normal_(module.bias, std=0.1)
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
    for head in (theirs.head.classification_head, theirs.head.regression_head):
        for module in head.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, std=0.03)
    nn.init.normal_(theirs.head.classification_head.cls_logits.weight, std=0.1)
    nn.init.constant_(theirs.head.classification_head.cls_logits.bias, -3.0)
    theirs.eval()
    theirs.transform.train()  # only then does it leave out the resize, as it was told
    return theirs


@pytest.fixture(
    scope="module",
    params=[(depth, fast) for depth in (50, 18) for fast in (False, True)],
    ids=[f"{net} {path}" for net in ("resnet50, P6 on C5", "resnet18, P6 on P5") for path in ("plain", "fast")],
)
def pair(request) -> Pair:
    depth, fast = request.param
    return build_pair(depth, torch.float64 if fast else torch.float32, fast=fast)


def build_pair(depth: int, dtype: torch.dtype, *, fast: bool) -> Pair:
    p6_from = "c5" if depth == 50 else "p5"
    theirs, anchors = build_theirs(depth, p6_from), AnchorGenerator()
    ours = build_retinanet(
        num_classes=NUM_CLASSES,
        num_anchors=anchors.num_per_cell,
        backbone=ResNet(depth=depth, fold_norm=fast, norm="frozen_bn"),
        weights=None,
        p6_from=p6_from,
        box_tower="lazy" if fast else "dense",
    )
    state = theirs.state_dict()
    assert {torchvisions_name(name) for name in ours.state_dict()} == set(state)
    ours.load_state_dict({name: state[torchvisions_name(name)] for name in ours.state_dict()})
    theirs.anchor_generator = OurAnchors(anchors)
    return Pair(ours.eval().to(dtype), theirs.to(dtype), anchors, dtype, fast)


@pytest.fixture(scope="module")
def batch() -> ImageBatch:
    generator = torch.Generator().manual_seed(1)
    pixels = torch.full((len(SIZES), 3, *CANVAS), 99, dtype=torch.uint8)  # padding must not matter
    for image, (height, width) in zip(pixels, SIZES, strict=True):
        # Blocks of 8 px make features differ from place to place. Noise keeps the max-pool from having to choose
        # between equal pixels, where rounding decides which one gets the gradient.
        blocks = torch.randint(200, (1, 3, height // 8 + 1, width // 8 + 1), generator=generator).float()
        shades = nn.functional.interpolate(blocks, scale_factor=8)[0, :, :height, :width].byte()
        image[:, :height, :width] = shades + torch.randint(56, shades.shape, generator=generator, dtype=torch.uint8)
    return ImageBatch(pixels, torch.tensor(SIZES))


def objects(position: int) -> tuple[Tensor, Tensor]:
    boxes, labels = OBJECTS[position]
    return torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4), torch.tensor(labels, dtype=torch.int64)


def contents(batch: ImageBatch, dtype: torch.dtype) -> list[Tensor]:
    """The images as torchvision takes them: without padding, floats in 0..1."""
    return [image[:, :h, :w].to(dtype) / 255 for image, (h, w) in zip(batch.pixels, SIZES, strict=True)]


@pytest.fixture(scope="module")
def ours(pair: Pair, batch: ImageBatch) -> Outcome:
    return outcome_of_ours(pair, batch)


def outcome_of_ours(pair: Pair, batch: ImageBatch) -> Outcome:
    targets = Assigner(pair.anchors, assign="window" if pair.fast else "dense")(
        CANVAS, [BoxTargets(*objects(position), torch.zeros(0, 4)) for position in range(len(SIZES))]
    )
    criterion = Criterion(FocalLoss(implementation="fast" if pair.fast else "plain"), L1Loss())
    losses = criterion(pair.ours(batch, targets.box_cells), targets)
    (sum(losses.values()) / targets.num_positives).backward()
    with torch.no_grad():
        predictions = pair.ours(batch)
    gradients = {name: parameter.grad for name, parameter in pair.ours.named_parameters()}
    return Outcome(
        predictions.logits,
        predictions.deltas,
        losses["classification"].item(),
        losses["box"].item(),
        gradients,
    )


@pytest.fixture(scope="module")
def theirs(pair: Pair, batch: ImageBatch) -> Outcome:
    return outcome_of_theirs(pair, batch)


def outcome_of_theirs(pair: Pair, batch: ImageBatch) -> Outcome:
    network = pair.theirs
    images, _ = network.transform(contents(batch, pair.dtype))
    assert images.tensors.shape[-2:] == CANVAS
    features = list(network.backbone(images.tensors).values())
    outputs = network.head(features)
    anchors = network.anchor_generator(images, features)
    classification, box, positives = [], [], 0
    for position in range(len(SIZES)):
        boxes, labels = objects(position)
        one_image = {name: output[position : position + 1] for name, output in outputs.items()}
        losses = network.compute_loss([{"boxes": boxes, "labels": labels}], one_image, anchors[position : position + 1])
        matched = 0
        if len(boxes):
            matched = int((network.proposal_matcher(box_iou(boxes, anchors[position])) >= 0).sum())
        # Torchvision divides the sums of an image by its own positives.
        classification.append(losses["classification"] * max(1, matched))
        box.append(losses["bbox_regression"] * max(1, matched))
        positives += matched
    assert positives > 20
    ((sum(classification) + sum(box)) / positives).backward()
    gradients = dict(network.named_parameters())
    return Outcome(
        outputs["cls_logits"].detach(),
        outputs["bbox_regression"].detach(),
        sum(classification).item(),
        sum(box).item(),
        {name: gradients[torchvisions_name(name)].grad for name, _ in pair.ours.named_parameters()},
    )


def test_logits_and_box_codes_are_torchvisions(ours, theirs):
    assert ours.logits.std() > 0.3
    assert ours.deltas.std() > 0.1
    torch.testing.assert_close(ours.logits, theirs.logits, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(ours.deltas, theirs.deltas, rtol=1e-5, atol=1e-5)


def test_focal_and_l1_sums_are_torchvisions(ours, theirs):
    assert ours.classification == pytest.approx(theirs.classification, rel=1e-5)
    assert ours.box == pytest.approx(theirs.box, rel=1e-5)
    assert min(ours.classification, ours.box) > 1


def test_the_gradients_of_every_parameter_are_torchvisions(ours, theirs):
    assert ours.gradients.keys() == theirs.gradients.keys()
    for name, gradient in ours.gradients.items():
        expected = theirs.gradients[name]
        assert expected.norm() > 0, name
        assert (gradient - expected).norm() <= 1e-4 * expected.norm(), name


@pytest.mark.parametrize("max_detections", [100, 10_000])
def test_detections_are_torchvisions(pair, batch, max_detections):
    with torch.no_grad():
        expected = pair.theirs(contents(batch, pair.dtype))
        postprocess = PostProcess(max_detections=max_detections)
        found, predictions = detect(pair.ours, batch, anchors=pair.anchors, postprocess=postprocess)
    assert predictions.anchor_index is not None, "boxes of the candidates alone"
    for detections, image in zip(found, expected, strict=True):
        # Torchvision also keeps boxes that lie in the padding and are empty once clipped; nothing suppresses those.
        whole = (image["boxes"][:, 2:] > image["boxes"][:, :2]).all(dim=1).nonzero().squeeze(1)[:max_detections]
        boxes, scores, labels = image["boxes"][whole], image["scores"][whole].float(), image["labels"][whole]
        assert len(detections) == len(whole) >= 100
        torch.testing.assert_close(detections.scores, scores, rtol=1e-5, atol=1e-5)
        # Scores a rounding error apart may stand in either order, so each detection looks for its own twin.
        apart = (detections.boxes[:, None] - boxes[None]).abs().amax(dim=-1)
        apart[detections.labels[:, None] != labels[None]] = torch.inf
        twin = apart.argmin(dim=1)
        assert torch.equal(twin.sort().values, torch.arange(len(whole)))
        torch.testing.assert_close(detections.boxes, boxes[twin], rtol=1e-5, atol=1e-2, check_dtype=False)
        torch.testing.assert_close(detections.scores, scores[twin], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("depth", [50, 18])
def test_float32_losses_and_gradients_of_the_fast_paths_stay_near(depth, batch):
    pair = build_pair(depth, torch.float32, fast=True)
    ours, theirs = outcome_of_ours(pair, batch), outcome_of_theirs(pair, batch)
    assert ours.classification == pytest.approx(theirs.classification, rel=1e-4)
    assert ours.box == pytest.approx(theirs.box, rel=1e-4)
    gradient, expected = (
        torch.cat([outcome.gradients[name].flatten() for name in ours.gradients]) for outcome in (ours, theirs)
    )
    assert (gradient - expected).norm() <= 1e-3 * expected.norm()
