"""What a RetinaNet asks of a backbone, and the weights it may start from."""

from __future__ import annotations

import pickle
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn
from torchvision.models import get_model_weights

from retina.errors import ConfigError

# Mean and standard deviation of ImageNet's RGB pixels in 0..255, what torchvision's weights were trained on.
IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)

# What torch.load raises on files that were cut off, changed in some bytes or are something else altogether.
_NONSENSE = (ValueError, LookupError, TypeError, AttributeError, AssertionError, struct.error)
_UNREADABLE = (OSError, RuntimeError, EOFError, pickle.UnpicklingError, *_NONSENSE)


class Backbone(Protocol):
    """A module that returns [C3, C4, C5] for ``(B, 3, H, W)`` normalised pixels: one class and one YAML file."""

    out_channels: tuple[int, int, int]  # of C3, C4, C5
    strides: tuple[int, int, int]  # in pixels of the input
    pixel_mean: tuple[float, float, float]  # RGB, 0..255, what its weights were trained on
    pixel_std: tuple[float, float, float]

    def __call__(self, pixels: Tensor) -> list[Tensor]: ...

    def layer_groups(self) -> list[nn.Module]:
        """Return its parts from the input to the output."""
        ...

    def freeze(self, num_groups: int) -> None:
        """Train all but the first ``num_groups`` of the layer groups; the statistics of those stay too."""
        ...

    def load_weights(self, weights: str) -> WeightReport:
        """Load ``imagenet`` (published ones, fetched once and kept) or a file of a state dict.

        Raises:
            ConfigError: the download failed, or the file is missing, damaged or of another network.
        """
        ...


@dataclass(frozen=True)
class WeightReport:
    """What a network took of a state dict, by the names of its tensors."""

    taken: Sequence[str]
    missing: Sequence[str] = ()  # of the network, not in the file
    unexpected: Sequence[str] = ()  # of the file, and by its name the network's
    misshapen: Sequence[str] = ()

    def __str__(self) -> str:
        faults = {"missing": self.missing, "too many": self.unexpected, "of another shape": self.misshapen}
        return ", ".join(f"{len(names)} {fault} (e.g. {names[0]})" for fault, names in faults.items() if names)


def take_weights(network: nn.Module, state: Mapping[str, Tensor], prefixes: Sequence[str]) -> WeightReport:
    """Load ``state`` into ``network`` unless something is missing, unexpected or misshapen; return what it was.

    A file of depth 101 holds every tensor of depth 50, one of batch norm every tensor of group norm: what is left over
    tells them apart. The classifier and what is no backbone may be there: ``prefixes`` are what the names of tensors
    begin with that could be the network's own.
    """
    counters = "num_batches_tracked"  # batch norm's, not frozen batch norm's
    wanted = network.state_dict()
    ours = tuple(f"{name}." for name in prefixes)
    report = WeightReport(
        taken=[name for name in wanted if name in state],
        missing=[name for name in wanted if name not in state and not name.endswith(counters)],
        unexpected=[n for n in state if n.startswith(ours) and n not in wanted and not n.endswith(counters)],
        misshapen=[name for name in wanted if name in state and state[name].shape != wanted[name].shape],
    )
    if not str(report):
        network.load_state_dict({name: state.get(name, value) for name, value in wanted.items()})
    return report


def read_weights(weights: str, name: str) -> dict[str, Tensor]:
    """Return the state dict of ``imagenet``, which is torchvision's for the network called ``name``, or of a file."""
    state = _imagenet_weights(name) if weights == "imagenet" else _file_weights(weights)
    return {key.removeprefix("backbone.").removeprefix("body."): value for key, value in state.items()}


def _imagenet_weights(name: str) -> Mapping[str, Tensor]:
    alternatives = "model.weights=null (train from scratch) or model.weights=<file of a state dict>"
    try:
        weights = get_model_weights(name).IMAGENET1K_V1
    except (ValueError, AttributeError) as error:
        raise ConfigError(f"there are no ImageNet weights for {name}", fix=alternatives) from error
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    try:
        return weights.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except _UNREADABLE as error:
        raise ConfigError(
            f"the ImageNet weights of {name} could not be fetched: {weights.url}",
            why=f"{_first_line(error)}; they are looked for in {folder} first.",
            fix=f"pass {alternatives}, or put a whole {Path(weights.url).name} into that folder.",
        ) from error


def _file_weights(path: str) -> dict[str, Tensor]:
    fix = "pass a file written by torch.save(model.state_dict(), file)"
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        fix = "pass model.weights=null, imagenet or an existing file"
        raise ConfigError(f"model.weights: no such file: {path}", fix=fix) from error
    except _UNREADABLE as error:
        why = f"{_first_line(error)}; only tensors are read, nothing in the file is run."
        raise ConfigError(f"model.weights: cannot be read: {path}", why=why, fix=fix) from error
    for key in ("state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise ConfigError(f"model.weights: holds no state dict: {path}", fix=fix)
    return content


def _first_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]
