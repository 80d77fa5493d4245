"""What several golden tests need."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.golden.curves import write_weights


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the trainings find their images and weights, made once."""
    folder = tmp_path_factory.mktemp("curves")
    write_weights(folder / "resnet18.pth")
    return folder
