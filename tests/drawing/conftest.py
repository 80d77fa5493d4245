"""The fixtures of the evaluation's tests."""

from __future__ import annotations

from tests.evaluation.conftest import annotations_file, dataset, instances, perfect  # noqa: F401
