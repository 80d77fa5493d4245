"""Torchvision's RetinaNet as the peer does the same work to the same result."""

from __future__ import annotations

import pytest
import torch

from benchmarks.peer import PeerDetection, PeerTrainStep, build_peer, peer_images, peer_targets, torchvisions_name
from retina.benchmark.steps import Detection, without_progress
from retina.detection.postprocess import PostProcess
from retina.training.optimizers import build_sgd

FORMATS = [torch.contiguous_format, torch.channels_last]


def _peer_step(small, memory_format: torch.memory_format) -> PeerTrainStep:
    peer = build_peer(small.model, small.anchors, depth=18, num_classes=5).to(memory_format=memory_format)
    images = peer_images(small.model, small.images, memory_format)
    return PeerTrainStep(peer, without_progress(build_sgd(peer, lr=1.0)), images, peer_targets(small.objects))


@pytest.mark.parametrize("memory_format", FORMATS, ids=str)
def test_both_compute_the_same_loss(small, memory_format) -> None:
    ours, theirs = small.train_step().loss(), _peer_step(small, memory_format).loss()
    assert ours > 0.1
    torch.testing.assert_close(theirs, ours, rtol=1e-4, atol=1e-4)


def test_both_train_the_same_parameters(small) -> None:
    step = _peer_step(small, torch.contiguous_format)
    small.train_step().loss().backward()
    step.loss().backward()
    theirs = {name for name, parameter in step.model.named_parameters() if parameter.grad is not None}
    ours = {torchvisions_name(name) for name, value in small.model.named_parameters() if value.grad is not None}
    assert ours == theirs
    assert 0 < len(ours) < len(list(step.model.parameters()))
    assert step() > 0  # an update with the fused optimizer
    assert all(parameter.grad is None for parameter in step.model.parameters())


def test_batches_of_the_peer_have_the_memory_format_that_was_asked_for(small) -> None:
    for memory_format in FORMATS:
        images = peer_images(small.model, small.images, memory_format)
        assert images.is_contiguous(memory_format=memory_format)
        torch.testing.assert_close(images, small.model.normalize(small.images), rtol=0, atol=0)


def test_both_detect_the_same(small) -> None:
    # A bias that makes some scores pass the threshold.
    torch.nn.init.constant_(small.model.class_subnet.predict.bias, -4.0)
    small.model.eval()
    peer = build_peer(small.model, small.anchors, depth=18, num_classes=5)
    peer.detections_per_img = 10_000  # counts the empty boxes too, which are left out below
    (ours,) = Detection(small.model, PostProcess(max_detections=10_000), small.anchors, small.images)()
    (theirs,) = PeerDetection(peer, peer_images(small.model, small.images, torch.contiguous_format))()
    whole = (theirs["boxes"][:, 2:] > theirs["boxes"][:, :2]).all(dim=1)  # torchvision keeps boxes without area
    assert len(ours) >= 20
    assert abs(len(ours) - int(whole.sum())) <= 2
    torch.testing.assert_close(ours.scores[:20], theirs["scores"][whole][:20], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(ours.boxes[:20], theirs["boxes"][whole][:20], rtol=1e-4, atol=1e-1)


def test_what_torchvision_does_not_have_is_named() -> None:
    with pytest.raises(ValueError, match=r"nothing like neck\.weight"):
        torchvisions_name("neck.weight")
