"""Patches: pictures of any shape as a sequence of squares (NaFlex of SigLIP 2, Tschannen et al. 2025; NaViT, Dehghani et al. 2023)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmedge.documents import Document
from mmedge.errors import MmedgeError
from mmedge.processors.image import Picture, load_image
from mmedge.processors.pixels import ImageProcessor, ImageSettings
from mmedge.spans import timed
from mmedge.tensors import Array

NEAR = 1e-5
"""How closely the scale of a picture is sought, as transformers does: the result depends on it."""
LARGEST = 100.0
"""No picture is enlarged by more."""


class PatchSettings(Document):
    """What a ``preprocessor_config.json`` of SigLIP 2 says, every default resolved."""

    patch: int = 16
    """Pixels on each side of a patch."""
    patches: int = 256
    """As many as fit; a picture that has fewer is filled up."""
    resample: int = 2
    """Pillow's number of the filter."""
    scale: float = 1 / 255
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)

    @classmethod
    def from_preprocessor(cls, config: Mapping[str, Any]) -> PatchSettings:
        """Raises MmedgeError: it asks for a step that this processor does not have."""
        if config.get("do_resize") is False:
            raise MmedgeError("this checkpoint's pictures are not resized, and patches then may not fill them", "use a preprocessor_config.json with do_resize")
        # What both kinds share is read by the one that has it.
        known = ImageSettings.from_preprocessor({"resample": 2, **config, "image_processor_type": "siglip", "do_resize": False})
        return cls(
            patch=int(config.get("patch_size") or 16),
            patches=int(config.get("max_num_patches") or 256),
            resample=known.resample,
            scale=known.scale,
            mean=known.mean,
            std=known.std,
        )


class PatchProcessor:
    """Resize to whole patches, keeping the shape; rescale, normalise, cut: equal, bit for bit, to transformers' Siglip2ImageProcessorPil."""

    def __init__(self, settings: PatchSettings) -> None:
        self.settings = settings

    @timed("processors")
    def __call__(self, pictures: Sequence[Picture]) -> dict[str, Array]:
        """Pictures of any sizes.

        Returns:
            ``pixel_values`` float32 [B, patches, patch x patch x 3], row by row, zeros behind the last; ``pixel_attention_mask`` int64 [B, patches], 1 on
            patches of the picture; ``spatial_shapes`` int64 [B, 2], patches from top to bottom and from left to right.

        Raises:
            MmedgeError: as ``load_image``.
        """
        settings = self.settings
        values = np.zeros((len(pictures), settings.patches, settings.patch * settings.patch * 3), np.float32)
        mask, shapes = np.zeros((len(pictures), settings.patches), np.int64), np.empty((len(pictures), 2), np.int64)
        for index, picture in enumerate(pictures):
            cut, shapes[index] = self._cut(load_image(picture))
            values[index, : len(cut)], mask[index, : len(cut)] = cut, 1
        return {"pixel_values": values, "pixel_attention_mask": mask, "spatial_shapes": shapes}

    def _cut(self, pixels: NDArray[np.uint8]) -> tuple[NDArray[np.float32], tuple[int, int]]:
        settings = self.settings
        down, right = fitting(pixels.shape[0], pixels.shape[1], settings.patch, settings.patches)
        target = ImageSettings(
            resize=(down * settings.patch, right * settings.patch), resample=settings.resample, scale=settings.scale, mean=settings.mean, std=settings.std
        )
        planes = ImageProcessor(target)([pixels])[0].reshape(3, down, settings.patch, right, settings.patch)
        return planes.transpose(1, 3, 2, 4, 0).reshape(down * right, -1), (down, right)


def fitting(height: int, width: int, patch: int, patches: int) -> tuple[int, int]:
    """How many patches from top to bottom and from left to right: the largest scale of the picture that needs no more than ``patches``, by bisection."""

    def counts(scale: float) -> tuple[int, int]:
        return max(1, math.ceil(height * scale / patch)), max(1, math.ceil(width * scale / patch))

    low, high = NEAR / 10, LARGEST
    while high - low >= NEAR:
        middle = (low + high) / 2
        down, right = counts(middle)
        low, high = (middle, high) if down * right <= patches else (low, middle)
    return counts(low)
