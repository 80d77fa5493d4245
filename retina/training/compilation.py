"""torch.compile for the parts of the network whose work depends on the size of the images only."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import nn

# The box subnet is not among them: it computes another number of cells in every step.
COMPILED_PARTS = ("backbone", "fpn", "class_subnet")


def compile_parts(model: nn.Module, *, backend: str | Callable[..., Any] = "inductor") -> None:
    """Compile the parts of ``model`` in place when they are first called; names of parameters stay."""
    for name in COMPILED_PARTS:
        model.get_submodule(name).compile(backend=backend)


def without_compilation() -> AbstractContextManager[None]:
    """Return a context in which compiled parts run as written: evaluation has other image sizes, and few steps."""
    return torch.compiler.set_stance("force_eager")
