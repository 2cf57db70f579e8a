"""Pixels: from RGB pictures to what an image encoder takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mmedge.documents import Document
from mmedge.errors import MmedgeError
from mmedge.processors.image import MAX_PIXELS, Picture, Pixels, load_image
from mmedge.spans import timed


class ImageSettings(Document):
    """How pixels become an encoder's input: what a ``preprocessor_config.json`` says, every default resolved."""

    shortest_edge: int | None = None
    """Resize so that the shorter side has this many pixels."""
    resize: tuple[int, int] | None = None
    """Or resize to exactly (height, width)."""
    crop: tuple[int, int] | None = None
    """Then cut (height, width) out of the middle; what is missing is black."""
    resample: int = 3
    """Pillow's number of the filter: 0 nearest, 1 Lanczos, 2 bilinear, 3 bicubic, 4 box, 5 Hamming."""
    scale: float = 1 / 255
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)

    @classmethod
    def from_preprocessor(cls, config: Mapping[str, Any]) -> ImageSettings:
        """Read a checkpoint's ``preprocessor_config.json`` (of the kinds in ``KINDS``, and those that work like CLIP's).

        Raises:
            MmedgeError: it asks for a step that this processor does not have.
        """
        kind = str(config.get("image_processor_type") or config.get("feature_extractor_type") or config.get("processor_class") or "")
        known = next((defaults for name, defaults in KINDS.items() if kind.lower().startswith(name)), CLIP)
        given = {**known, **{key: value for key, value in config.items() if value is not None}}
        size, crop = given["size"], given.get("crop_size")
        padded = given.get("do_pad") and not (isinstance(size, dict) and "height" in size)  # pictures of one size have nothing to fill
        if padded or given.get("do_thumbnail") or given.get("do_reduce_labels"):
            raise MmedgeError(f"the image processor {kind or 'of this checkpoint'} pads its pictures, which mmedge does not", "use a CLIP or SigLIP checkpoint")
        shortest, exact = None, None
        if given["do_resize"]:
            if isinstance(size, int):
                shortest, exact = (size, None) if known is CLIP else (None, (size, size))
            elif "shortest_edge" in size and not size.get("longest_edge"):
                shortest = int(size["shortest_edge"])
            elif "height" in size and "width" in size:
                exact = (int(size["height"]), int(size["width"]))
            else:
                raise MmedgeError(f"the image processor's size {size} is of a kind mmedge does not know", "use shortest_edge, or height and width")
        cut = None
        if given.get("do_center_crop") and crop is not None:
            cut = (crop, crop) if isinstance(crop, int) else (int(crop["height"]), int(crop["width"]))
        normalised = given["do_normalize"]
        return cls(
            shortest_edge=shortest,
            resize=exact,
            crop=cut,
            resample=int(given["resample"]),
            scale=float(given["rescale_factor"]) if given["do_rescale"] else 1.0,
            mean=_three(given["image_mean"]) if normalised else (0.0, 0.0, 0.0),
            std=_three(given["image_std"]) if normalised else (1.0, 1.0, 1.0),
        )


CLIP: dict[str, Any] = {
    "size": {"shortest_edge": 224},
    "crop_size": {"height": 224, "width": 224},
    "resample": 3,
    "do_resize": True,
    "do_center_crop": True,
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": (0.48145466, 0.4578275, 0.40821073),
    "image_std": (0.26862954, 0.26130258, 0.27577711),
}
"""What CLIP's image processor does where its file is silent (Radford et al. 2021)."""

SIGLIP: dict[str, Any] = {**CLIP, "size": {"height": 224, "width": 224}, "do_center_crop": False, "image_mean": (0.5, 0.5, 0.5), "image_std": (0.5, 0.5, 0.5)}
"""What SigLIP's does (Zhai et al. 2023)."""

BLIP: dict[str, Any] = {**CLIP, "size": {"height": 384, "width": 384}, "do_center_crop": False}
VIT: dict[str, Any] = {**SIGLIP, "resample": 2}
DEIT: dict[str, Any] = {**SIGLIP, "size": {"height": 256, "width": 256}, "do_center_crop": True}

KINDS: dict[str, dict[str, Any]] = {"siglip": SIGLIP, "blip": BLIP, "vit": VIT, "trocr": VIT, "deit": DEIT, "beit": SIGLIP}
"""By how the name of the image processor begins: what transformers' own does where its file is silent."""


def _three(value: float | Sequence[float]) -> tuple[float, float, float]:
    red, green, blue = [float(value)] * 3 if isinstance(value, (int, float)) else map(float, value)
    return red, green, blue


class ImageProcessor:
    """Resize, crop, rescale and normalise, with Pillow's filters: equal, bit for bit, to transformers' Pillow-based processors."""

    def __init__(self, settings: ImageSettings) -> None:
        self.settings = settings
        # A pixel has 256 values: the arithmetic is done once for each, in the precision and order of transformers.
        levels = (np.arange(256, dtype=np.float64) * settings.scale).astype(np.float32)
        self._levels = [(levels - np.float32(mean)) / np.float32(std) for mean, std in zip(settings.mean, settings.std)]

    @timed("processors")
    def __call__(self, pictures: Sequence[Picture]) -> NDArray[np.float32]:
        """Pictures of any sizes -> float32 [B, 3, H, W]. Raises MmedgeError as ``load_image``, and where pictures stay of different sizes."""
        prepared = [self._prepare(load_image(picture)) for picture in pictures]
        if len({pixels.shape for pixels in prepared}) > 1:
            raise MmedgeError("the pictures have different sizes and this processor does not crop them", "give one picture at a time")
        batch = np.empty((len(prepared), 3, *prepared[0].shape[:2]), np.float32)
        for index, pixels in enumerate(prepared):
            for channel, levels in enumerate(self._levels):
                np.take(levels, pixels[:, :, channel], out=batch[index, channel], mode="clip")
        return batch

    def _prepare(self, pixels: Pixels) -> Pixels:
        settings = self.settings
        height, width = pixels.shape[:2]
        if settings.shortest_edge is not None:
            short, long = min(height, width), max(height, width)
            other = int(settings.shortest_edge * long / short)
            target = (settings.shortest_edge, other) if height <= width else (other, settings.shortest_edge)
        else:
            target = settings.resize or (height, width)
        if target[0] * target[1] > MAX_PIXELS:
            raise MmedgeError(f"a picture of {width} x {height} pixels is too long and narrow", "cut it first")
        if settings.shortest_edge is not None or settings.resize is not None:
            pixels = np.asarray(Image.fromarray(pixels).resize((target[1], target[0]), resample=Image.Resampling(settings.resample)))
        return _centre(pixels, *settings.crop) if settings.crop is not None else pixels


def _centre(pixels: Pixels, height: int, width: int) -> Pixels:
    """Cut out of the middle; smaller pictures get a black frame, whose odd pixel lies above and to the left, as in transformers."""
    have = pixels.shape[:2]
    room = max(height, have[0]), max(width, have[1])
    if room != have:
        framed = np.zeros((*room, 3), np.uint8)
        above, left = -(-(room[0] - have[0]) // 2), -(-(room[1] - have[1]) // 2)
        framed[above : above + have[0], left : left + have[1]] = pixels
        above, left = above + (have[0] - height) // 2, left + (have[1] - width) // 2
        return framed[max(above, 0) : max(above, 0) + height, max(left, 0) : max(left, 0) + width]
    above, left = (have[0] - height) // 2, (have[1] - width) // 2
    return pixels[above : above + height, left : left + width]
