"""Pictures of any size as a list of patches: what Qwen-VL models look at (Wang et al. 2024, "naive dynamic resolution")."""

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
from mmedge.processors.image import Picture, load_image
from mmedge.processors.levels import Levels, numbers
from mmedge.spans import timed

LONGEST = 200
"""The most that one side may be longer than the other, as in Qwen's own processor."""

DEFAULTS: dict[str, Any] = {
    "size": {"shortest_edge": 56 * 56, "longest_edge": 28 * 28 * 1280},
    "patch_size": 14,
    "temporal_patch_size": 2,
    "merge_size": 2,
    "resample": 3,
    "do_resize": True,
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": (0.48145466, 0.4578275, 0.40821073),
    "image_std": (0.26862954, 0.26130258, 0.27577711),
}
"""What transformers' Qwen2-VL processor does where a checkpoint's file is silent."""


class QwenSettings(Document):
    """How a picture becomes patches: what a ``preprocessor_config.json`` says, every default resolved."""

    min_pixels: int
    max_pixels: int
    """A picture is made smaller or larger until its area lies between the two."""
    patch: int
    """Side of a patch, in pixels."""
    frames: int
    """A patch of a still picture is repeated so often: the model was made for films."""
    merge: int
    """So many patches in a row and in a column become one token."""
    resample: int
    """Pillow's number of the filter."""
    scale: float
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    @classmethod
    def from_preprocessor(cls, config: Mapping[str, Any], *, max_pixels: int | None = None) -> QwenSettings:
        """Read a checkpoint's settings; ``max_pixels`` lowers theirs. Raises MmedgeError: pictures keep a size that cannot be cut into whole patches."""
        given = {**DEFAULTS, **{key: value for key, value in config.items() if value is not None}}
        size = {**DEFAULTS["size"], **(given["size"] if isinstance(given["size"], dict) else {})}
        smallest, largest = int(given.get("min_pixels") or size["shortest_edge"]), int(given.get("max_pixels") or size["longest_edge"])
        if max_pixels is not None:
            smallest, largest = min(smallest, max_pixels), min(largest, max_pixels)
        if not given["do_resize"]:
            raise MmedgeError("the image processor does not resize: not every picture can be cut into whole patches", "set do_resize in its settings")
        scale, mean, std = numbers(given)
        return cls(
            min_pixels=smallest,
            max_pixels=largest,
            patch=int(given["patch_size"]),
            frames=int(given["temporal_patch_size"]),
            merge=int(given["merge_size"]),
            resample=int(given["resample"]),
            scale=scale,
            mean=mean,
            std=std,
        )


@dataclass(frozen=True, eq=False)
class Patches:
    """One picture."""

    pixels: NDArray[np.float32]
    """[patches, 3 x frames x patch x patch]: blocks of merge x merge patches follow one another row by row, so that each block becomes one token."""
    rows: int
    columns: int
    """Of patches."""


class QwenProcessor:
    """Equal, bit for bit, to transformers' Qwen2VLImageProcessorPil for one picture."""

    def __init__(self, settings: QwenSettings) -> None:
        self.settings = settings
        self._levels = Levels(settings.scale, settings.mean, settings.std)

    @timed("processors")
    def __call__(self, picture: Picture) -> Patches:
        """Raises MmedgeError as ``load_image``, and for a picture more than ``LONGEST`` times longer than wide."""
        settings, side = self.settings, self.settings.patch
        image = Image.fromarray(load_image(picture))
        height, width = smart_resize(image.height, image.width, side * settings.merge, settings.min_pixels, settings.max_pixels)
        pixels = self._levels(np.asarray(image.resize((width, height), resample=Image.Resampling(settings.resample))))
        rows, columns = height // side, width // side
        blocks = pixels.reshape(3, rows // settings.merge, settings.merge, side, columns // settings.merge, settings.merge, side)
        patches = blocks.transpose(1, 4, 2, 5, 0, 3, 6)[:, :, :, :, :, None]
        repeated = np.broadcast_to(patches, (*patches.shape[:5], settings.frames, side, side))
        return Patches(np.ascontiguousarray(repeated.reshape(rows * columns, -1)), rows, columns)


def smart_resize(height: int, width: int, factor: int, min_pixels: int, max_pixels: int) -> tuple[int, int]:
    """(height, width) divisible by ``factor``, with an area between the bounds where that can be, in about the same ratio.

    Raises MmedgeError: one side is more than ``LONGEST`` times the other.
    """
    if max(height, width) / min(height, width) > LONGEST:
        raise MmedgeError(f"a picture of {width} x {height} pixels is too long and narrow", f"cut it: one side may be {LONGEST} times the other at most")
    high, wide = round(height / factor) * factor, round(width / factor) * factor
    if high * wide > max_pixels:
        ratio = math.sqrt(height * width / max_pixels)
        return max(factor, math.floor(height / ratio / factor) * factor), max(factor, math.floor(width / ratio / factor) * factor)
    if high * wide < min_pixels:
        ratio = math.sqrt(min_pixels / (height * width))
        return math.ceil(height * ratio / factor) * factor, math.ceil(width * ratio / factor) * factor
    return high, wide
