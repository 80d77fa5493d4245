from __future__ import annotations

import copy
from typing import get_args

import pytest
import torch

from retina import machine as machine_module
from retina.errors import ConfigError
from retina.machine import (
    COMPILED_PARTS,
    Machine,
    compile_parts,
    resolve_device_type,
    resolve_precision,
    without_compilation,
)
from retina.models.backbones.resnet import ResNet
from retina.models.retinanet import RetinaNet, build_retinanet
from retina.settings import Precision
from retina.structures import BoxCells, ImageBatch

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.fixture
def gpu(monkeypatch):
    """Say whether there is a GPU."""
    return lambda present: monkeypatch.setattr(torch.cuda, "is_available", lambda: present)


@pytest.fixture
def cpu_with(monkeypatch):
    """Say what the CPU computes natively."""

    def set_up(*, avx512_bf16: bool = False, amx: bool = False) -> None:
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512_bf16)
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)

    return set_up


@pytest.mark.parametrize(
    ("device", "present", "found"),
    [("auto", True, "cuda"), ("auto", False, "cpu"), ("cpu", True, "cpu"), ("cuda", True, "cuda")],
)
def test_auto_takes_the_gpu_where_there_is_one(gpu, device, present, found):
    gpu(present)
    assert resolve_device_type(device) == found


@pytest.mark.parametrize("setting", ["train.device", "device"])
def test_a_gpu_that_is_not_there_is_told_by_the_setting_that_asked_for_it(gpu, setting):
    gpu(False)
    with pytest.raises(ConfigError, match=f"error: {setting}=cuda, but torch sees no GPU") as caught:
        resolve_device_type("cuda", setting=setting)
    assert caught.value.fix.startswith(f"{setting}=cpu")


@pytest.mark.parametrize(
    ("features", "found"), [({}, "float32"), ({"avx512_bf16": True}, "bf16"), ({"amx": True}, "bf16")]
)
def test_auto_on_a_cpu_is_bf16_only_where_it_is_native(cpu_with, features, found):
    cpu_with(**features)
    assert resolve_precision("auto", CPU) == found


@pytest.mark.parametrize(("capability", "found"), [((7, 5), "float32"), ((8, 0), "bf16"), ((9, 0), "bf16")])
def test_auto_on_a_gpu_is_bf16_from_ampere_on(monkeypatch, capability, found):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert resolve_precision("auto", CUDA) == found


@pytest.mark.parametrize("chosen", ["float32", "bf16"])
def test_what_is_chosen_is_taken_also_where_it_is_slow(cpu_with, chosen):
    cpu_with()
    assert resolve_precision(chosen, CPU) == chosen


def test_fp16_needs_a_gpu():
    assert resolve_precision("fp16", CUDA) == "fp16"
    with pytest.raises(ConfigError, match=r"error: train\.precision=fp16 needs a GPU") as caught:
        resolve_precision("fp16", CPU)
    assert caught.value.fix == "train.precision=auto"
    with pytest.raises(ConfigError, match=r"error: precision=fp16 needs a GPU"):
        resolve_precision("fp16", CPU, setting="precision")


def test_every_precision_but_auto_has_a_type():
    assert set(get_args(Precision)) - {"auto"} == set(machine_module._DTYPES)


@pytest.mark.parametrize(("chosen", "dtype"), [("float32", torch.float32), ("bf16", torch.bfloat16)])
def test_the_network_computes_in_the_chosen_precision(chosen, dtype):
    weight = torch.ones(2, 2, requires_grad=True)
    with Machine(CPU, chosen).autocast():
        result = weight @ weight
    assert result.dtype == dtype
    result.sum().backward()
    assert weight.grad.dtype == torch.float32


@pytest.mark.parametrize("chosen", ["float32", "bf16"])
def test_gradients_are_scaled_in_fp16_only(chosen):
    scaler = Machine(CPU, chosen).gradient_scaler()
    assert not scaler.is_enabled()
    loss = torch.ones(1)
    assert scaler.scale(loss) is loss
    assert scaler.state_dict() == {}
    # Built for the CPU, where it needs no GPU: the choice is what is looked at.
    assert Machine(CPU, "fp16").gradient_scaler().is_enabled()


def test_a_machine_is_resolved_from_the_names_of_device_and_precision(gpu, cpu_with):
    gpu(False)
    cpu_with(amx=True)
    assert Machine.resolve("auto", "auto") == Machine.resolve(CPU, "auto") == Machine(CPU, "bf16")
    with Machine.resolve("cpu", "bf16").autocast():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16


@pytest.mark.parametrize("prefix", ["train.", ""])
def test_mistakes_name_the_setting_with_its_section(gpu, prefix):
    gpu(False)
    with pytest.raises(ConfigError, match=f"error: {prefix}device=cuda, but"):
        Machine.resolve("cuda", "auto", prefix=prefix)
    with pytest.raises(ConfigError, match=f"error: {prefix}precision=fp16 needs a GPU"):
        Machine.resolve("cpu", "fp16", prefix=prefix)


# Compilation


IMAGES = ImageBatch(
    torch.randint(0, 256, (1, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)),
    torch.tensor([[64, 64]]),
)


@pytest.fixture
def model() -> RetinaNet:
    torch.manual_seed(0)
    return build_retinanet(
        num_classes=2,
        num_anchors=9,
        backbone=ResNet(depth=18, norm="frozen_bn"),
        weights="imagenet",
        load_weights=False,
        fpn_channels=16,
        tower_channels=16,
        tower_depth=1,
    )


def outputs_and_gradients(model: RetinaNet) -> tuple[torch.Tensor, ...]:
    predictions = model(IMAGES, BoxCells(torch.tensor([3, 40, 500])))
    (predictions.logits.sin().sum() + predictions.deltas.sin().sum()).backward()
    gradients = tuple(p.grad for p in model.parameters() if p.grad is not None)
    return (predictions.logits.detach(), predictions.deltas.detach(), *gradients)


def test_a_compiled_network_gives_the_same_outputs_gradients_and_names(model):
    plain = copy.deepcopy(model)
    seen: list[int] = []

    def count(graph, inputs):
        seen.append(len(inputs))
        return graph.forward

    compile_parts(model, backend=count)
    for ours, expected in zip(outputs_and_gradients(model), outputs_and_gradients(plain), strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-5)
    assert len(seen) >= len(COMPILED_PARTS), "something was compiled"
    assert list(model.state_dict()) == list(plain.state_dict())


def test_evaluation_and_copies_are_not_compiled(model):
    def refuse(graph, inputs):
        raise AssertionError("compiled after all")

    compile_parts(model, backend=refuse)
    with torch.no_grad(), without_compilation():
        model(IMAGES)
    with torch.no_grad():
        copy.deepcopy(model)(IMAGES)
