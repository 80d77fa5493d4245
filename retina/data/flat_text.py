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
        self.offsets = np.cumsum([0, *map(len, encoded)], dtype=np.int64)  # (n + 1,) where each begins
        self.buffer = np.frombuffer(b"".join(encoded), dtype=np.uint8)  # of the UTF-8 bytes of all

    @classmethod
    def of_arrays(cls, offsets: np.ndarray, buffer: np.ndarray) -> FlatText:
        """Return the texts of two arrays as they are, perhaps mapped from files."""
        flat = cls.__new__(cls)
        flat.offsets, flat.buffer = offsets, buffer
        return flat

    @classmethod
    def join(cls, parts: Sequence[FlatText]) -> FlatText:
        """Return the texts of all ``parts``, one after the other."""
        lengths = [np.diff(part.offsets) for part in parts]
        offsets = np.cumsum(np.concatenate([[0], *lengths]), dtype=np.int64)
        return cls.of_arrays(offsets, np.concatenate([np.zeros(0, np.uint8), *(part.buffer for part in parts)]))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(f"text {index} of {len(self)}")
        first, last = self.offsets[index % len(self)], self.offsets[index % len(self) + 1]
        return self.buffer[first:last].tobytes().decode("utf-8", "surrogateescape")
