"""Rescaling and normalising: a pixel has 256 values, so the arithmetic is done once for each."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mmedge.processors.image import Pixels


class Levels:
    """(value x scale - mean) / std, in the precision and order of transformers' Pillow-based processors: equal to theirs, bit for bit."""

    def __init__(self, scale: float, mean: Sequence[float], std: Sequence[float]) -> None:
        values = (np.arange(256, dtype=np.float64) * scale).astype(np.float32)
        self._channels = [(values - np.float32(m)) / np.float32(s) for m, s in zip(mean, std)]

    def __call__(self, pixels: Pixels) -> NDArray[np.float32]:
        """uint8 [H, W, 3] -> float32 [3, H, W]."""
        out = np.empty((3, *pixels.shape[:2]), np.float32)
        for index, levels in enumerate(self._channels):
            np.take(levels, pixels[:, :, index], out=out[index], mode="clip")
        return out


def numbers(config: dict[str, object]) -> tuple[float, tuple[float, float, float], tuple[float, float, float]]:
    """(scale, mean, std) as a ``preprocessor_config.json`` with every default filled in means them."""
    scale = float(config["rescale_factor"]) if config["do_rescale"] else 1.0  # type: ignore[arg-type]
    if not config["do_normalize"]:
        return scale, (0.0,) * 3, (1.0,) * 3
    return scale, _three(config["image_mean"]), _three(config["image_std"])


def _three(value: object) -> tuple[float, float, float]:
    red, green, blue = [float(value)] * 3 if isinstance(value, (int, float)) else map(float, value)  # type: ignore[call-overload]
    return red, green, blue
