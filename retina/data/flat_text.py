"""Many texts in one buffer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np


class FlatText(Sequence[str]):
    """A list of texts that loader processes share.

    A Python list would be copied page by page into every process, since reading counts references.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        encoded = [text.encode("utf-8", "surrogateescape") for text in texts]
        self._offsets = np.cumsum([0, *map(len, encoded)], dtype=np.int64)
        self._buffer = np.frombuffer(b"".join(encoded), dtype=np.uint8)

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(f"text {index} of {len(self)}")
        first, last = self._offsets[index % len(self)], self._offsets[index % len(self) + 1]
        return self._buffer[first:last].tobytes().decode("utf-8", "surrogateescape")
