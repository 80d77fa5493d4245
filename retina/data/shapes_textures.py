"""Backgrounds of the shapes set: muted, textured, and of other families for validation than for training."""

from __future__ import annotations

import colorsys
from collections.abc import Callable
from functools import lru_cache

import cv2
import numpy as np
from numpy.random import Generator

Texture = Callable[[Generator, int], np.ndarray]  # (rng, side) -> (side, side) float32 in [0, 1]


def draw_background(rng: Generator, texture: Texture, *, side: int) -> np.ndarray:
    """Return ``(side, side, 3)`` uint8 RGB: ``texture`` in two muted colours with a few thin strokes across it."""
    light = 0.75 * texture(rng, side) + 0.25 * value_noise(rng, side)
    background = cv2.applyColorMap((light * 255).astype(np.uint8), _muted_palette(rng))
    for _ in range(rng.integers(0, 4)):
        corners = rng.integers(0, side, (rng.integers(2, 5), 1, 2), dtype=np.int32)
        colour = tuple(int(value) for value in rng.integers(30, 226, 3))
        cv2.polylines(background, [corners], False, colour, int(rng.integers(1, 3)), cv2.LINE_AA)
    return background


def value_noise(rng: Generator, side: int) -> np.ndarray:
    """Clouds: random grids of three sizes, enlarged and added."""
    coarsest = int(rng.integers(3, 7))
    field = np.zeros((side, side), np.float32)
    for octave in range(3):
        field += _enlarged(rng, side, rows=coarsest * 3**octave, columns=coarsest * 3**octave) * 0.5**octave
    return _stretched(field)


def stripes(rng: Generator, side: int) -> np.ndarray:
    """Parallel waves of any direction."""
    along, _ = _turned_grid(side, rng.uniform(0, np.pi))
    return 0.5 + 0.5 * np.sin(along * np.float32(2 * np.pi * rng.uniform(3, 20)))


def streaks(rng: Generator, side: int) -> np.ndarray:
    """Brushed metal or wood: noise drawn out in one direction."""
    field = _enlarged(rng, side, rows=int(rng.integers(40, 90)), columns=int(rng.integers(3, 8)))
    return _stretched(field.T if rng.random() < 0.5 else field)


def gradient(rng: Generator, side: int) -> np.ndarray:
    """A slope with grain."""
    along, _ = _turned_grid(side, rng.uniform(0, 2 * np.pi))
    return _stretched(along + 0.25 * _enlarged(rng, side, rows=64, columns=64))


def checker(rng: Generator, side: int) -> np.ndarray:
    """A board, turned; its edges are soft."""
    along, across = _turned_grid(side, rng.uniform(0, np.pi / 2))
    frequency = np.float32(2 * np.pi * rng.uniform(2, 8))
    return np.clip(0.5 + 2.0 * np.sin(along * frequency) * np.sin(across * frequency), 0, 1)


def ripples(rng: Generator, side: int) -> np.ndarray:
    """Rings around a point that may lie outside the image."""
    along, across = _turned_grid(side, 0.0)
    x, y = rng.uniform(-0.3, 1.3, 2).astype(np.float32)
    # Not cv2.magnitude: its last bits depend on where the array lies in memory, and pictures are to be repeatable.
    distance = np.sqrt((along - x) ** 2 + (across - y) ** 2)
    return 0.5 + 0.5 * np.sin(distance * np.float32(2 * np.pi * rng.uniform(4, 16)))


def marble(rng: Generator, side: int) -> np.ndarray:
    """Waves bent by clouds."""
    along, _ = _turned_grid(side, rng.uniform(0, np.pi))
    bent = along * np.float32(rng.uniform(3, 8)) + 2.0 * _enlarged(rng, side, rows=6, columns=6)
    return 0.5 + 0.5 * np.sin(bent * np.float32(2 * np.pi))


# What is learned about backgrounds must carry over: no family stands on both sides.
TEXTURES: dict[str, tuple[Texture, ...]] = {
    "train": (value_noise, stripes, streaks, gradient),
    "val": (checker, ripples, marble),
}


def _muted_palette(rng: Generator) -> np.ndarray:
    """Return a ``(256, 1, 3)`` uint8 RGB table between a darker and a lighter colour of low saturation."""
    dark = colorsys.hsv_to_rgb(rng.random(), rng.uniform(0, 0.35), rng.uniform(0.15, 0.5))
    light = colorsys.hsv_to_rgb(rng.random(), rng.uniform(0, 0.35), rng.uniform(0.5, 0.9))
    table = np.linspace(np.multiply(dark, 255), np.multiply(light, 255), 256)
    return table.astype(np.uint8)[:, None]


def _enlarged(rng: Generator, side: int, *, rows: int, columns: int) -> np.ndarray:
    """Return smooth ``(side, side)`` noise in about [0, 1] with ``rows`` x ``columns`` bumps."""
    return cv2.resize(rng.random((rows, columns), np.float32), (side, side), interpolation=cv2.INTER_CUBIC)


def _stretched(field: np.ndarray) -> np.ndarray:
    low, high = float(field.min()), float(field.max())
    return (field - low) / max(high - low, 1e-6)


def _turned_grid(side: int, angle: float) -> tuple[np.ndarray, np.ndarray]:
    """Return two ``(side, side)`` coordinates in image sides, along and across ``angle``."""
    x, y = _grid(side)
    cosine, sine = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    return x * cosine + y * sine, y * cosine - x * sine


@lru_cache(maxsize=2)
def _grid(side: int) -> tuple[np.ndarray, np.ndarray]:
    ticks = np.arange(side, dtype=np.float32) / side
    x, y = np.meshgrid(ticks, ticks)
    return x, y
