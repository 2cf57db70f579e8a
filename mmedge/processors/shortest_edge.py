"""Pictures that keep their shape: one length for the shorter side, whole patches on both, the smaller of a batch filled up (ViLT, Kim et al. 2021)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mmedge.documents import Document
from mmedge.errors import MmedgeError
from mmedge.processors.image import Picture, Pixels, load_image
from mmedge.processors.levels import Levels, numbers
from mmedge.spans import timed

LONGEST = 1333 / 800
"""The longer side is at most so many times the shorter side's goal: what COCO's pictures need."""

VILT: dict[str, Any] = {
    "size": {"shortest_edge": 384},
    "size_divisor": 32,
    "resample": 3,
    "do_resize": True,
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": (0.5, 0.5, 0.5),
    "image_std": (0.5, 0.5, 0.5),
}
"""What ViLT's image processor does where its file is silent."""


class ShortestEdgeSettings(Document):
    """What a ``preprocessor_config.json`` of ViLT says, every default resolved."""

    shortest_edge: int | None
    """None: pictures stay as large as they are."""
    divisor: int
    resample: int
    scale: float
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    @classmethod
    def from_preprocessor(cls, config: Mapping[str, Any]) -> ShortestEdgeSettings:
        """Raises MmedgeError: it resizes in another way."""
        given = {**VILT, **{key: value for key, value in config.items() if value is not None}}
        size = given["size"]
        edge = size.get("shortest_edge") if isinstance(size, dict) else size
        if given["do_resize"] and not isinstance(edge, int):
            raise MmedgeError(f"the image processor's size {size} is of a kind mmedge does not know", "use shortest_edge, as ViLT's checkpoints do")
        scale, mean, std = numbers(given)
        resize = edge if given["do_resize"] else None
        return cls(shortest_edge=resize, divisor=int(given["size_divisor"]), resample=int(given["resample"]), scale=scale, mean=mean, std=std)


class ShortestEdgeProcessor:
    """Equal, bit for bit, to transformers' Pillow-based processor."""

    def __init__(self, settings: ShortestEdgeSettings) -> None:
        self.settings = settings
        self._levels = Levels(settings.scale, settings.mean, settings.std)

    @timed("processors")
    def __call__(self, pictures: Sequence[Picture]) -> dict[str, NDArray[Any]]:
        """Pictures of any sizes -> ``pixel_values`` float32 [B, 3, H, W], zeros below and to the right, and ``pixel_mask`` int64 [B, H, W], 1 on the picture.

        Raises:
            MmedgeError: as ``load_image``; a picture so long and narrow that its shorter side vanishes.
        """
        prepared = [self._levels(self._resize(load_image(picture))) for picture in pictures]
        height, width = (max(one.shape[axis] for one in prepared) for axis in (1, 2))
        values, mask = np.zeros((len(prepared), 3, height, width), np.float32), np.zeros((len(prepared), height, width), np.int64)
        for index, one in enumerate(prepared):
            values[index, :, : one.shape[1], : one.shape[2]] = one
            mask[index, : one.shape[1], : one.shape[2]] = 1
        return {"pixel_values": values, "pixel_mask": mask}

    def _resize(self, pixels: Pixels) -> Pixels:
        settings, (height, width) = self.settings, pixels.shape[:2]
        if settings.shortest_edge is None:
            return pixels
        rows, columns = _target(height, width, settings.shortest_edge, settings.divisor)
        if not rows or not columns:
            raise MmedgeError(f"a picture of {width} x {height} pixels is too long and narrow", "cut it first")
        return np.asarray(Image.fromarray(pixels).resize((columns, rows), resample=Image.Resampling(settings.resample)))


def _target(height: int, width: int, shortest: int, divisor: int) -> tuple[int, int]:
    """In transformers' order of operations: each rounding may move a picture by one patch."""
    scale = shortest / min(height, width)
    rows, columns = (float(shortest), scale * width) if height < width else (scale * height, float(shortest))
    longest = int(LONGEST * shortest)
    if max(rows, columns) > longest:
        scale = longest / max(rows, columns)
        rows, columns = scale * rows, scale * columns
    return int(rows + 0.5) // divisor * divisor, int(columns + 0.5) // divisor * divisor
