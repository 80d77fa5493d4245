from __future__ import annotations

import copy
import os
import pickle
from pathlib import Path
from urllib.error import URLError

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torchvision.models._utils import IntermediateLayerGetter
from torchvision.ops import FrozenBatchNorm2d

from retina.errors import ConfigError
from retina.models.backbones.resnet import ResNet
from retina.models.retinanet import build_retinanet
from retina.settings import resolve_norm

STAGES = {"layer2": "c3", "layer3": "c4", "layer4": "c5"}
NORM_LAYERS = {
    "frozen_bn": FrozenBatchNorm2d,
    "bn": nn.BatchNorm2d,
    "sync_bn": nn.SyncBatchNorm,
    "gn": nn.GroupNorm,
}
NETWORKS = {
    "resnet18": {"depth": 18},
    "resnet34": {"depth": 34},
    "resnet50": {"depth": 50},
    "resnet101": {"depth": 101},
    "resnet152": {"depth": 152},
    "resnext50_32x4d": {"depth": 50, "groups": 32, "width_per_group": 4},
    "resnext101_32x8d": {"depth": 101, "groups": 32, "width_per_group": 8},
    "resnext101_64x4d": {"depth": 101, "groups": 64, "width_per_group": 4},
    "wide_resnet50_2": {"depth": 50, "width_per_group": 128},
}


def torchvisions(name: str, seed: int = 0, **settings) -> nn.Module:
    """Torchvision's network with random weights and batch statistics that differ from channel to channel."""
    torch.manual_seed(seed)
    network = torchvision.models.get_model(name, weights=None, **settings)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.0)
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
    return network


def pixels(height: int = 64, width: int = 96) -> Tensor:
    return torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def resnet18_file(tmp_path) -> Path:
    path = tmp_path / "resnet18.pth"
    torch.save(torchvisions("resnet18").state_dict(), path)
    return path


@pytest.fixture
def weights_folder(tmp_path, monkeypatch) -> Path:
    """Torch's folder of fetched weights, empty, on a machine without a network."""

    def no_network(url: str, *_: object, **__: object) -> None:
        raise URLError(f"[Errno -3] Temporary failure in name resolution ({url})")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", no_network)
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


@pytest.mark.parametrize("name", NETWORKS)
def test_every_depth_and_width_has_torchvisions_names_and_shapes(name):
    with torch.device("meta"):
        ours, theirs = ResNet(**NETWORKS[name]), torchvision.models.get_model(name, weights=None)
    expected = {key: value.shape for key, value in theirs.state_dict().items() if not key.startswith("fc.")}
    assert {key: value.shape for key, value in ours.state_dict().items()} == expected
    assert ours.name == name


@pytest.mark.parametrize("name", ["resnet18", "resnet34", "resnet50", "resnext50_32x4d"])
def test_features_are_torchvisions_c3_c4_c5(name, tmp_path):
    theirs = torchvisions(name).eval()
    torch.save(theirs.state_dict(), tmp_path / "weights.pth")
    ours = ResNet(**NETWORKS[name]).eval()
    ours.load_weights(str(tmp_path / "weights.pth"))
    with torch.no_grad():
        features, expected = ours(pixels()), IntermediateLayerGetter(theirs, STAGES)(pixels())
    for level, feature in enumerate(features):
        stride = 8 * 2**level
        assert feature.shape == (2, ours.out_channels[level], 64 // stride, 96 // stride)
        torch.testing.assert_close(feature, expected[f"c{level + 3}"])
    assert len(features) == 3


@pytest.mark.parametrize("norm", ["frozen_bn", "bn", "sync_bn", "gn"])
def test_every_norm_trains_and_evaluates(norm):
    backbone = ResNet(18, norm=norm)
    assert sum(type(module) is NORM_LAYERS[norm] for module in backbone.modules()) == 20
    for mode in (True, False):
        features = backbone.train(mode)(pixels())
        assert all(feature.isfinite().all() for feature in features)
    sum(feature.mean() for feature in features).backward()
    assert all(parameter.grad is not None for parameter in backbone.parameters())


def test_frozen_batch_norm_leaves_nothing_to_train_in_the_norms():
    assert not [name for name, _ in ResNet(18, norm="frozen_bn").named_parameters() if "bn" in name]


@pytest.mark.parametrize(
    ("frozen_stages", "frozen"),
    [
        (0, set()),
        (1, {"conv1", "bn1"}),
        (2, {"conv1", "bn1", "layer1"}),
        (5, {"conv1", "bn1", "layer1", "layer2", "layer3", "layer4"}),
    ],
)
def test_frozen_stages_neither_get_gradients_nor_move_their_statistics(frozen_stages, frozen):
    backbone = ResNet(18, norm="bn", frozen_stages=frozen_stages)
    before = copy.deepcopy(backbone.state_dict())
    assert backbone.train() is backbone
    features = backbone(pixels())
    if frozen_stages < 5:
        sum(feature.mean() for feature in features).backward()
    for name, parameter in backbone.named_parameters():
        assert (parameter.grad is None) == (name.split(".")[0] in frozen), name
    moved = {name for name, value in backbone.state_dict().items() if not torch.equal(value, before[name])}
    statistics = {name for name, _ in backbone.named_buffers()}
    assert moved == {name for name in statistics if name.split(".")[0] not in frozen}


def test_a_frozen_stage_stays_in_evaluation_mode_also_in_a_copy_and_in_a_larger_module():
    backbone = ResNet(18, frozen_stages=2)
    nn.Sequential(backbone).eval().train()
    for network in (backbone, copy.deepcopy(backbone).eval().train()):
        training = {name.split(".")[0] for name, module in network.named_modules() if module.training and name}
        assert training == {"relu", "maxpool", "layer2", "layer3", "layer4"}


def test_weights_are_read_from_torchvisions_and_our_own_detectors(tmp_path, resnet18_file):
    plain = ResNet(18)
    plain.load_weights(str(resnet18_file))
    state = {name: value for name, value in plain.state_dict().items() if not name.endswith("num_batches_tracked")}
    head = {
        "head.regression_head.bbox_reg.weight": torch.zeros(1),
        "backbone.fpn.inner_blocks.0.0.bias": torch.zeros(1),
    }
    files = {
        "torchvision.pth": {f"backbone.body.{name}": value for name, value in state.items()} | head,
        "last.pt": {"model": {f"backbone.{name}": value for name, value in state.items()}, "step": 7},
        "other.pth": {"state_dict": state},
    }
    for name, content in files.items():
        torch.save(content, tmp_path / name)
        backbone = ResNet(18, norm="frozen_bn")
        backbone.load_weights(str(tmp_path / name))
        for key, value in backbone.state_dict().items():
            assert torch.equal(value, state[key]), (name, key)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"depth": 34}, r"does not fit resnet34 with norm bn: of its tensors 80 missing \(e\.g\. layer1\.2\."),
        (
            {"depth": 50},
            r"does not fit resnet50 with norm bn: of its tensors 165 missing .*, 23 of another shape \(e\.g\. layer",
        ),
        (
            {"depth": 18, "norm": "gn"},
            r"resnet18 with norm gn: of its tensors 40 too many \(e\.g\. bn1\.running_mean\)",
        ),
    ],
)
def test_weights_of_another_network_or_norm_say_what_does_not_fit(resnet18_file, settings, message):
    with pytest.raises(ConfigError, match=message) as error:
        ResNet(**settings).load_weights(str(resnet18_file))
    assert str(resnet18_file) in error.value.what
    assert "model.backbone.depth" in error.value.fix


def test_weights_of_a_deeper_network_do_not_pass_for_those_of_a_shallower_one(tmp_path):
    # Every tensor of a ResNet-18 is in a ResNet-34 under the same name and of the same shape.
    torch.save(torchvisions("resnet34").state_dict(), tmp_path / "resnet34.pth")
    with pytest.raises(ConfigError, match=r"does not fit resnet18 with norm bn: of its tensors 80 too many"):
        ResNet(18).load_weights(str(tmp_path / "resnet34.pth"))


def test_weights_that_do_not_fit_leave_the_network_as_it_was(resnet18_file):
    backbone = ResNet(34)
    before = copy.deepcopy(backbone.state_dict())
    with pytest.raises(ConfigError):
        backbone.load_weights(str(resnet18_file))
    assert all(torch.equal(value, before[name]) for name, value in backbone.state_dict().items())


def test_a_missing_file_of_weights_says_what_to_pass_instead():
    with pytest.raises(ConfigError, match=r"no such file: nowhere\.pth") as error:
        ResNet(18).load_weights("nowhere.pth")
    assert error.value.exit_status == 2
    assert "model.weights=null" in error.value.fix


@pytest.mark.parametrize(
    "content", [b"", b"hello\n", b"<html>not found</html>", b"\x80\x02K\x01\x8d\x12", b"PK\x03\x04junk"]
)
def test_a_file_that_holds_something_else_is_an_error_of_three_lines(tmp_path, content):
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"model\.weights: cannot be read: .*weights\.pth") as error:
        ResNet(18).load_weights(str(path))
    assert len(str(error.value).splitlines()) == 3


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("new_format", [True, False])
def test_a_file_cut_off_or_damaged_anywhere_is_an_error_of_ours(tmp_path, new_format):
    path = tmp_path / "weights.pth"
    torch.save({"a": torch.zeros(3), "b": torch.ones(2, 2)}, path, _use_new_zipfile_serialization=new_format)
    whole = path.read_bytes()
    positions = range(0, len(whole) - 1, len(whole) // 150)
    cut = [whole[:position] for position in positions]
    changed = [whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :] for position in positions]
    with torch.device("meta"):
        backbone = ResNet(18)
    for content in cut + changed:
        path.write_bytes(content)
        with pytest.raises(ConfigError, match=r"cannot be read|holds no state dict|does not fit"):
            backbone.load_weights(str(path))
    assert len(positions) > 100


def test_a_folder_or_a_list_is_no_state_dict(tmp_path):
    with pytest.raises(ConfigError, match=r"model\.weights: cannot be read"):
        ResNet(18).load_weights(str(tmp_path))
    torch.save([torch.zeros(3)], tmp_path / "list.pt")
    with pytest.raises(ConfigError, match=r"model\.weights: holds no state dict: .*list\.pt"):
        ResNet(18).load_weights(str(tmp_path / "list.pt"))


class _RunsCode:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.folder),)


def test_code_in_a_file_of_weights_is_refused_and_not_run(tmp_path, weights_folder):
    folder = tmp_path / "made_by_the_pickle"
    armed = {"conv1.weight": torch.zeros(1), "more": _RunsCode(folder)}
    pickle.loads(pickle.dumps(armed["more"]))
    assert folder.is_dir()  # the trap works where code is run
    folder.rmdir()

    torch.save(armed, tmp_path / "armed.pth")
    with pytest.raises(ConfigError, match=r"model\.weights: cannot be read") as error:
        ResNet(18).load_weights(str(tmp_path / "armed.pth"))
    assert "nothing in the file is run" in error.value.why
    torch.save(armed, weights_folder / "resnet18-f37072fd.pth")
    with pytest.raises(ConfigError, match=r"ImageNet weights of resnet18"):
        ResNet(18).load_weights("imagenet")
    assert not folder.exists()


def test_imagenet_weights_without_a_network_say_what_to_pass_instead(weights_folder, capsys):
    with pytest.raises(ConfigError, match=r"the ImageNet weights of resnet18 could not be fetched: https://") as error:
        ResNet(18).load_weights("imagenet")
    assert error.value.exit_status == 2
    assert "name resolution" in error.value.why
    assert str(weights_folder) in error.value.why
    assert "model.weights=null" in error.value.fix
    assert "model.weights=<file" in error.value.fix
    assert "resnet18-f37072fd.pth" in error.value.fix
    assert len(str(error.value).splitlines()) == 3
    capsys.readouterr()  # torch.hub says that it is fetching


def test_imagenet_weights_that_lie_in_torchs_folder_are_loaded_without_a_network(weights_folder):
    theirs = torchvisions("resnet18").eval()
    torch.save(theirs.state_dict(), weights_folder / "resnet18-f37072fd.pth")
    ours = ResNet(18, norm="frozen_bn").eval()
    ours.load_weights("imagenet")
    with torch.no_grad():
        torch.testing.assert_close(ours(pixels())[2], IntermediateLayerGetter(theirs, STAGES)(pixels())["c5"])


def test_damaged_imagenet_weights_in_torchs_folder_are_named(weights_folder):
    (weights_folder / "resnet18-f37072fd.pth").write_bytes(b"PK\x03\x04 cut off")
    with pytest.raises(ConfigError, match=r"ImageNet weights of resnet18 could not be fetched") as error:
        ResNet(18).load_weights("imagenet")
    assert "a whole resnet18-f37072fd.pth" in error.value.fix


def test_a_network_that_torchvision_has_no_weights_for_is_named():
    with torch.device("meta"):
        backbone = ResNet(50, groups=16, width_per_group=8)
    with pytest.raises(ConfigError, match=r"there are no ImageNet weights for resnext50_16x8d"):
        backbone.load_weights("imagenet")


@pytest.mark.parametrize(
    ("norm", "weights", "resolved"),
    [
        ("auto", "imagenet", "frozen_bn"),
        ("auto", "file.pth", "frozen_bn"),
        ("auto", None, "bn"),
        ("gn", "imagenet", "gn"),
        ("sync_bn", None, "sync_bn"),
    ],
)
def test_auto_is_frozen_batch_norm_with_weights_and_batch_norm_without(norm, weights, resolved):
    assert resolve_norm(norm, weights) == resolved


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ResNet(20), r"depth must be one of 18, 34, 50, 101, 152, got 20"),
        (lambda: ResNet(18, frozen_stages=6), r"frozen_stages must be between 0 and 5, got 6"),
        (lambda: ResNet(18, groups=32), r"groups and width_per_group need a depth of at least 50"),
        (lambda: ResNet(18, norm="auto"), r"norm must be one of frozen_bn, bn, sync_bn, gn, got 'auto'"),
        (lambda: build_retinanet(norm="batch"), r"norm must be one of auto, frozen_bn, .* got 'batch'"),
    ],
)
def test_a_setting_that_is_not_allowed_is_told_with_what_is(make, message):
    with pytest.raises((ConfigError, ValueError), match=message):
        make()
