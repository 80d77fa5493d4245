from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn
from torchvision.models.detection import RetinaNet_ResNet50_FPN_Weights
from torchvision.models.detection.transform import GeneralizedRCNNTransform

from retina.detection.anchors import AnchorGenerator
from retina.errors import ConfigError
from retina.models.backbones.backbone import WeightReport
from retina.models.backbones.resnet import ResNet
from retina.models.retinanet import RetinaNet, build_retinanet
from retina.structures import BoxCells, ImageBatch


def small(**settings) -> RetinaNet:
    """A RetinaNet on a ResNet-18 with narrow heads and random weights, always the same ones."""
    torch.manual_seed(0)
    backbone = settings.pop("backbone", None) or ResNet(18)
    narrow = {"weights": None, "fpn_channels": 32, "tower_channels": 16, "tower_depth": 2}
    return build_retinanet(**{"num_classes": 3, "num_anchors": 9, "backbone": backbone, **narrow, **settings})


def images(canvas: tuple[int, int], sizes: Sequence[tuple[int, int]], *, padding: int = 0, seed: int = 0) -> ImageBatch:
    """Random uint8 images with channels-last strides, as the loader makes them; ``padding`` is the value beyond."""
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.full((len(sizes), *canvas, 3), padding, dtype=torch.uint8)
    for image, (height, width) in zip(pixels, sizes, strict=True):
        image[:height, :width] = torch.randint(256, (height, width, 3), generator=generator, dtype=torch.uint8)
    return ImageBatch(pixels.permute(0, 3, 1, 2), torch.tensor(sizes))


def outputs(model: RetinaNet, batch: ImageBatch) -> tuple[Tensor, Tensor]:
    with torch.no_grad():
        predictions = model.eval()(batch)
    return predictions.logits, predictions.deltas


def test_padding_is_exactly_zero_after_normalisation_whatever_stood_there():
    model, sizes = small(), [(40, 64), (64, 30)]
    normal = model.normalize(images((64, 64), sizes, padding=0))
    assert normal.dtype == torch.float32
    assert not normal[0, :, 40:].any()
    assert not normal[1, :, :, 30:].any()
    assert (normal[0, :, :40] != 0).float().mean() > 0.99
    assert torch.equal(model.normalize(images((64, 64), sizes, padding=255)), normal)


def test_pixels_are_normalised_as_torchvision_does_and_stay_channels_last():
    sizes = [(40, 64), (64, 30)]
    batch = images((64, 64), sizes)
    transform = GeneralizedRCNNTransform(64, 64, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225], _skip_resize=True)
    contents = [image[:, :h, :w].float() / 255 for image, (h, w) in zip(batch.pixels, sizes, strict=True)]
    expected, _ = transform(contents)
    normal = small().normalize(batch)
    torch.testing.assert_close(normal, expected.tensors, rtol=1e-5, atol=1e-5)
    assert normal.is_contiguous(memory_format=torch.channels_last)


def test_what_stands_in_the_padding_does_not_reach_the_outputs():
    model, sizes = small(), [(40, 64), (64, 30)]
    for clean, dirty in zip(
        outputs(model, images((64, 64), sizes)), outputs(model, images((64, 64), sizes, padding=200)), strict=True
    ):
        assert torch.equal(clean, dirty)


def test_an_image_has_the_same_outputs_alone_and_beside_another_on_the_same_canvas():
    model = small()
    both = images((64, 96), [(40, 64), (64, 90)])
    alone = ImageBatch(both.pixels[:1], both.sizes[:1])
    for together, single in zip(outputs(model, both), outputs(model, alone), strict=True):
        torch.testing.assert_close(together[:1], single, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("canvas", [(64, 96), (97, 131), (33, 257), (1, 1), (129, 128)])
def test_grid_sizes_are_those_of_the_anchors_on_every_canvas(canvas):
    generator = AnchorGenerator()
    with torch.no_grad():
        predictions = small(tower_depth=0).eval()(images(canvas, [canvas]))
    assert predictions.grid_sizes == generator.grid_sizes(canvas)
    num_anchors = len(generator(predictions.grid_sizes))
    assert predictions.logits.shape == (1, num_anchors, 3)
    assert predictions.deltas.shape == (1, num_anchors, 4)


def test_boxes_at_wanted_cells_are_those_of_the_dense_outputs():
    model, batch = small().eval(), images((64, 96), [(64, 96), (50, 60)])
    with torch.no_grad():
        dense = model(batch)
        wanted = torch.tensor([0, 17, dense.deltas.shape[1] - 1, dense.deltas.shape[1], 2 * dense.deltas.shape[1] - 1])
        sparse = model(batch, box_cells=BoxCells(wanted))
    torch.testing.assert_close(sparse.deltas, dense.deltas.reshape(-1, 4)[wanted])
    torch.testing.assert_close(sparse.deltas[3], dense.deltas[1, 0])
    assert torch.equal(sparse.logits, dense.logits)


@pytest.mark.parametrize("num_wanted", [0, 2])
def test_gradients_reach_every_parameter_also_where_no_box_is_wanted(num_wanted):
    model = small()
    predictions = model(images((64, 64), [(64, 64)]), BoxCells(torch.arange(num_wanted)))
    assert predictions.deltas.shape == (num_wanted, 4)
    (predictions.logits.sum() + predictions.deltas.sum()).backward()
    assert not [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert (model.box_subnet.predict.weight.grad.abs().sum() > 0) == (num_wanted > 0)


def test_channels_last_gives_the_outputs_of_contiguous_memory():
    batch = images((64, 96), [(64, 96), (50, 60)])
    contiguous = outputs(small(), ImageBatch(batch.pixels.contiguous(), batch.sizes))
    channels_last = outputs(small().to(memory_format=torch.channels_last), batch)
    for ours, expected in zip(channels_last, contiguous, strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-5)


def test_scores_start_at_the_prior_and_boxes_at_their_anchors():
    logits, deltas = outputs(small(tower_channels=64, tower_depth=4), images((96, 96), [(96, 96)]))
    assert logits.sigmoid().mean().item() == pytest.approx(0.01, rel=0.02)
    assert deltas.abs().max() < 0.1


def test_the_weights_in_a_file_are_only_what_was_learned():
    names = set(small(backbone=ResNet(18, norm="frozen_bn")).state_dict())
    assert not [name for name in names if "pixel" in name]
    assert {name.split(".")[0] for name in names} == {"backbone", "fpn", "class_subnet", "box_subnet"}
    mean = small(pixel_mean=(0.0, 0.0, 0.0), pixel_std=(1.0, 1.0, 1.0)).normalize(images((8, 8), [(8, 8)]))
    assert mean.max() == images((8, 8), [(8, 8)]).pixels.max()


def test_pretrained_weights_keep_stages_frozen_and_random_ones_do_not(tmp_path):
    torch.save(ResNet(18).state_dict(), tmp_path / "weights.pth")
    pretrained = small(backbone=ResNet(18, frozen_stages=2), weights=str(tmp_path / "weights.pth"))
    scratch = small(backbone=ResNet(18, frozen_stages=2))
    assert not pretrained.train().backbone.bn1.training
    assert scratch.train().backbone.bn1.training
    assert torch.equal(pretrained.backbone.conv1.weight, torch.load(tmp_path / "weights.pth")["conv1.weight"])
    assert not pretrained.backbone.layer1[0].conv1.weight.requires_grad
    assert pretrained.backbone.layer2[0].conv1.weight.requires_grad
    assert all(parameter.requires_grad for parameter in scratch.parameters())


def test_a_network_whose_weights_a_checkpoint_brings_is_frozen_alike_without_reading_a_file():
    model = small(backbone=ResNet(depth=18, frozen_stages=2), weights="nowhere.pth", load_weights=False)
    assert not model.backbone.layer1[0].conv1.weight.requires_grad


def test_the_standard_model_has_as_many_parameters_as_torchvision_publishes_for_its_own():
    with torch.device("meta"):
        model = build_retinanet(
            num_classes=91, num_anchors=9, backbone=ResNet(depth=50, norm="frozen_bn"), weights=None, p6_from="p5"
        )
    published = RetinaNet_ResNet50_FPN_Weights.COCO_V1.meta["num_params"]
    assert sum(parameter.numel() for parameter in model.parameters()) == published


def test_of_a_softmax_the_network_has_one_more_output_an_anchor():
    predictions = small(scores="softmax", prior=0.1).eval()(images((64, 64), [(64, 64)]))
    assert predictions.logits.shape[2] == 4
    assert predictions.logits.softmax(dim=2)[..., -1].mean().item() == pytest.approx(0.9, abs=0.02)


class Halving(nn.Module):
    """A backbone that is no ResNet: three average poolings, trained on pixels of other statistics."""

    out_channels = (3, 3, 3)
    strides = (8, 16, 32)
    pixel_mean, pixel_std = (10.0, 20.0, 30.0), (2.0, 4.0, 8.0)

    def forward(self, pixels: Tensor) -> list[Tensor]:
        return [nn.functional.avg_pool2d(pixels, stride) for stride in self.strides]

    def layer_groups(self) -> list[nn.Module]:
        return []

    def freeze(self, num_groups: int) -> None:
        self.num_frozen = num_groups

    def load_weights(self, weights: str) -> WeightReport:
        self.loaded = weights
        return WeightReport(taken=())


def test_a_backbone_of_another_family_brings_its_width_its_weights_and_the_pixels_they_were_trained_on():
    model = small(backbone=Halving(), weights="its own")
    assert model.backbone.loaded == "its own"
    assert small(backbone=Halving()).backbone.num_frozen == 0, "random weights would stay random"
    predictions = model(images((64, 64), [(64, 64)]))
    assert predictions.grid_sizes == AnchorGenerator().grid_sizes((64, 64))
    white = ImageBatch(torch.full((1, 3, 2, 2), 50, dtype=torch.uint8), torch.tensor([[2, 2]]))
    assert model.normalize(white)[0, :, 0, 0].tolist() == [20.0, 7.5, 2.5]
    assert small(backbone=Halving(), pixel_mean=(50.0, 50.0, 50.0)).normalize(white).abs().max() == 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"scores": "none"}, r"scores must be one of sigmoid, softmax, got 'none'"),
        ({"box_tower": "wide"}, r"box_tower must be one of lazy, dense, got 'wide'"),
        ({"p6_from": "c6"}, r"p6_from must be one of c5, p5, got 'c6'"),
        ({"fpn_channels": 0}, r"fpn_channels must be at least 1, got 0"),
        ({"pixel_std": (1.0, 0.0, 1.0)}, r"pixel_std must be greater than 0, got 0\.0 in it"),
        *[
            ({"prior": prior}, rf"prior must be between 0 and 1, both excluded, got {prior}")
            for prior in (0.0, 1.0, -0.1)
        ],
    ],
)
def test_settings_that_make_no_sense_are_told_with_what_does(settings, message):
    with pytest.raises(ValueError, match=message):
        small(**settings)


def test_a_norm_that_the_backbone_was_not_built_with_is_refused():
    with pytest.raises(ConfigError, match=r"model\.norm=gn, but the backbone was built with norm bn"):
        small(norm="gn")
