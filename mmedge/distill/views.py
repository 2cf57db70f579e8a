"""Views of a picture: the changes that leave what it shows as it is. The same picture and numbers give the same view."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageEnhance

from mmedge.evaluate.samples import Sample
from mmedge.training import View

DEGREES = 20.0
"""The most that a picture is turned by."""
LEAST = 0.65
"""The smallest part of a side that a crop keeps."""
STRENGTH = 0.35
"""How far brightness, contrast and colour go from 1."""
LIGHTEST = 60
"""Backgrounds have every channel at least so high: what is drawn in black stays visible."""


def view(sample: Sample, number: int, kinds: Sequence[View], seed: int) -> Image.Image:
    """One view of a sample's picture, RGB. Number 0 is the picture as it is.

    Raises:
        Unreadable: the picture cannot be decoded.
    """
    picture = sample.picture()
    if number == 0:
        return picture
    random = np.random.default_rng([seed, number, *sample.key.encode()])
    shown = _masked(sample, picture)
    if "rotate" in kinds:
        shown = shown.rotate(random.uniform(-DEGREES, DEGREES), Image.Resampling.BILINEAR, expand=True)
    if "flip" in kinds and random.random() < 0.5:
        shown = shown.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    ground = tuple(random.integers(LIGHTEST, 256, 3).tolist()) if "background" in kinds and random.random() < 0.5 else (255, 255, 255)
    made = Image.alpha_composite(Image.new("RGBA", shown.size, (*ground, 255)), shown).convert("RGB")
    if "crop" in kinds:
        made = _cropped(made, random)
    if "colour" in kinds:
        for change in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
            made = change(made).enhance(random.uniform(1 - STRENGTH, 1 + STRENGTH))
    return made


def _masked(sample: Sample, picture: Image.Image) -> Image.Image:
    """RGBA: what is transparent in the file still is."""
    content = sample.fields["image"].content
    with Image.open(io.BytesIO(content) if isinstance(content, bytes) else content) as opened:
        if opened.size != picture.size or not ("A" in opened.getbands() or "transparency" in opened.info):
            return picture.convert("RGBA")
        return opened.convert("RGBA")


def _cropped(picture: Image.Image, random: np.random.Generator) -> Image.Image:
    wide, high = (max(1, round(side * random.uniform(LEAST, 1))) for side in picture.size)
    left, top = (int(random.integers(0, side - kept + 1)) for side, kept in zip(picture.size, (wide, high)))
    return picture.crop((left, top, left + wide, top + high))
