"""Pictures cut into square tiles, with the whole picture as the last one: what Idefics3 and SmolVLM look at (Laurencon et al. 2024)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mmedge.documents import Document
from mmedge.errors import MmedgeError
from mmedge.processors.image import Picture, Pixels, load_image
from mmedge.processors.levels import Levels, numbers
from mmedge.spans import timed

LARGEST_SIDE = 4096
"""No picture is made longer than this before it is cut."""

DEFAULTS: dict[str, Any] = {
    "size": {"longest_edge": 4 * 364},
    "max_image_size": {"longest_edge": 364},
    "resample": 1,
    "do_resize": True,
    "do_image_splitting": True,
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": (0.5, 0.5, 0.5),
    "image_std": (0.5, 0.5, 0.5),
}
"""What transformers' processors of Idefics3 and SmolVLM do where a checkpoint's file is silent."""


class TileSettings(Document):
    """How a picture becomes tiles: what a ``preprocessor_config.json`` says, every default resolved."""

    side: int
    """Of a tile, in pixels."""
    longest_edge: int | None
    """Resize so that the longer side has this many pixels before cutting; None: leave the size."""
    split: bool
    """Cut into tiles; otherwise the whole picture is the only one."""
    resample: int
    """Pillow's number of the filter."""
    scale: float
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    @classmethod
    def from_preprocessor(cls, config: Mapping[str, Any], *, split: bool | None = None) -> TileSettings:
        """Read a checkpoint's settings; ``split`` overrides theirs. Raises MmedgeError: sizes of a kind that Idefics3 does not have."""
        given = {**DEFAULTS, **{key: value for key, value in config.items() if value is not None}}
        longest, side = (given[key].get("longest_edge") if isinstance(given[key], dict) else None for key in ("size", "max_image_size"))
        if not longest or not side:
            raise MmedgeError(
                f"the image processor's size {given['size']} or max_image_size {given['max_image_size']} has no longest_edge", "use Idefics3's own settings"
            )
        scale, mean, std = numbers(given)
        return cls(
            side=int(side),
            longest_edge=int(longest) if given["do_resize"] else None,
            split=bool(given["do_image_splitting"]) if split is None else split,
            resample=int(given["resample"]),
            scale=scale,
            mean=mean,
            std=std,
        )


@dataclass(frozen=True, eq=False)
class Tiles:
    """One picture."""

    pixels: NDArray[np.float32]
    """[tiles, 3, side, side]: row by row, then the whole picture."""
    rows: int
    """0 where it was not cut."""
    columns: int


class TileProcessor:
    """Equal, bit for bit, to transformers' Idefics3ImageProcessorPil and SmolVLMImageProcessorPil for one picture."""

    def __init__(self, settings: TileSettings) -> None:
        self.settings = settings
        self._levels = Levels(settings.scale, settings.mean, settings.std)

    @timed("processors")
    def __call__(self, picture: Picture) -> Tiles:
        """Raises MmedgeError as ``load_image``, and where the settings leave a picture too large to cut."""
        image = Image.fromarray(load_image(picture))
        side = self.settings.side
        if self.settings.longest_edge is not None:
            image = self._resize(image, _longest(image.height, image.width, self.settings.longest_edge))
        if not self.settings.split:
            return Tiles(self._normalised([self._resize(image, (side, side))]), 0, 0)
        height, width = _multiples(image.height, image.width, side)
        if height * width > 4 * LARGEST_SIDE * LARGEST_SIDE:
            raise MmedgeError(f"a picture of {image.width} x {image.height} pixels is too long and narrow", "cut it first")
        image = self._resize(image, (height, width))
        rows, columns = height // side, width // side
        if rows * columns == 1:
            return Tiles(self._normalised([image]), 0, 0)
        pixels = np.asarray(image)
        cut = [pixels[side * row : side * (row + 1), side * column : side * (column + 1)] for row in range(rows) for column in range(columns)]
        return Tiles(self._normalised([*cut, self._resize(image, (side, side))]), rows, columns)

    def _resize(self, image: Image.Image, size: tuple[int, int]) -> Image.Image:
        return image.resize((size[1], size[0]), resample=Image.Resampling(self.settings.resample))

    def _normalised(self, tiles: list[Image.Image | Pixels]) -> NDArray[np.float32]:
        return np.stack([self._levels(np.asarray(tile)) for tile in tiles])


def _longest(height: int, width: int, longest: int) -> tuple[int, int]:
    """(height, width): the longer side at ``longest``, the other one even, neither beyond ``LARGEST_SIDE``; rounded as transformers does."""
    ratio = width / height
    if width >= height:
        width, height = longest, int(longest / ratio)
        height += height % 2
    else:
        height, width = longest, int(longest * ratio)
        width += width % 2
    height, width = max(height, 1), max(width, 1)
    ratio = width / height
    if width >= height and width > LARGEST_SIDE:
        width, height = LARGEST_SIDE, int(LARGEST_SIDE / ratio)
    elif height > width and height > LARGEST_SIDE:
        height, width = LARGEST_SIDE, int(LARGEST_SIDE * ratio)
    return max(height, 1), max(width, 1)


def _multiples(height: int, width: int, side: int) -> tuple[int, int]:
    """(height, width) stretched to whole tiles."""
    ratio = width / height
    if width >= height:
        width = math.ceil(width / side) * side
        height = math.ceil(int(width / ratio) / side) * side
    else:
        height = math.ceil(height / side) * side
        width = math.ceil(int(height * ratio) / side) * side
    return height, width
