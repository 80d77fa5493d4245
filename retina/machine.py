"""How the network computes here: device, precision, gradient scaling, compilation."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from retina.errors import ConfigError

_DTYPES = {"float32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

# Their work depends on the size of the images only; the box subnet computes another number of cells in every step.
COMPILED_PARTS = ("backbone", "fpn", "class_subnet")


@dataclass(frozen=True)
class Machine:
    """Where and in what precision the network runs."""

    device: torch.device
    precision: str  # float32, bf16 or fp16

    @classmethod
    def resolve(cls, device: str | torch.device, precision: str, *, prefix: str = "") -> Machine:
        """Return what the settings ``device`` and ``precision`` mean here; errors name ``<prefix>device``."""
        if isinstance(device, str):
            device = torch.device(resolve_device_type(device, setting=f"{prefix}device"))
        return cls(device, resolve_precision(precision, device, setting=f"{prefix}precision"))

    def autocast(self) -> AbstractContextManager[None]:
        """Return a context in which the network runs in the precision."""
        dtype = _DTYPES[self.precision]
        return torch.autocast(self.device.type, dtype=dtype, enabled=dtype is not torch.float32)

    def gradient_scaler(self) -> torch.amp.GradScaler:
        """Return the loss scaler: at work in fp16 only, else one that passes everything through.

        Source: Micikevicius et al. 2018, Mixed Precision Training, section 3.2.
        """
        return torch.amp.GradScaler(self.device.type, enabled=self.precision == "fp16")


def resolve_device_type(device: str, *, setting: str = "train.device") -> str:
    """Return what ``auto`` means here: ``cuda`` where torch sees a GPU, else ``cpu``; errors name ``setting``."""
    available = torch.cuda.is_available()
    if device == "cuda" and not available:
        raise ConfigError(
            f"{setting}=cuda, but torch sees no GPU",
            why=f"torch {torch.__version__} was built for CUDA {torch.version.cuda}; no device answers.",
            fix=f"{setting}=cpu, or install a driver that fits",
        )
    return "cuda" if available and device != "cpu" else "cpu"


def resolve_precision(precision: str, device: torch.device, *, setting: str = "train.precision") -> str:
    """Return what ``auto`` means: bf16 where the hardware has it natively, else float32; errors name ``setting``."""
    if precision == "fp16" and device.type == "cpu":
        raise ConfigError(
            f"{setting}=fp16 needs a GPU",
            why="half precision is not native on a CPU and its gradients underflow.",
            fix=f"{setting}=auto",
        )
    if precision != "auto":
        return precision
    if device.type == "cuda":
        native = torch.cuda.get_device_capability(device) >= (8, 0)
    else:
        native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return "bf16" if native else "float32"


def compile_parts(model: nn.Module, *, backend: str | Callable[..., Any] = "inductor") -> None:
    """Compile the parts of ``model`` in place when they are first called; names of parameters stay."""
    for name in COMPILED_PARTS:
        model.get_submodule(name).compile(backend=backend)


def without_compilation() -> AbstractContextManager[None]:
    """Return a context in which compiled parts run as written: evaluation has other image sizes, and few steps."""
    return torch.compiler.set_stance("force_eager")
