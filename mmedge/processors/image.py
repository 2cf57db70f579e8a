"""Pictures: from anything a user hands over to RGB pixels."""

from __future__ import annotations

import io
import os
import struct
import warnings
import zlib
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from mmedge.errors import MmedgeError
from mmedge.spans import timed

Picture: TypeAlias = "str | os.PathLike[str] | bytes | Image.Image | NDArray[Any]"
Pixels = NDArray[np.uint8]

FORMATS = ("JPEG", "PNG", "BMP", "GIF", "PPM", "WEBP", "TIFF", "TGA", "JPEG2000", "ICO")
"""Pillow's readers that decode pixels and nothing else; PostScript, for one, would start another program."""

MAX_PIXELS = 64_000_000
"""Larger pictures are refused before they are decoded: a few kilobytes may unfold into gigabytes."""

BROKEN = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    KeyError,
    IndexError,
    TypeError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
)
"""What Pillow's readers raise on damaged files."""


@timed("processors")
def load_image(picture: Picture) -> Pixels:
    """Read a picture: a file, its bytes, a Pillow image, or an array.

    Args:
        picture: a path; encoded bytes; a Pillow image; or an array [H, W], [H, W, 1], [H, W, 3] (RGB) or [H, W, 4] (RGBA) of uint8, or of uint16 in its full
            range.

    Returns:
        uint8 [H, W, 3], RGB. Turned as its EXIF orientation says; transparency is laid on white, as transformers does; 16 bits are reduced to 8; of an
        animation, the first frame.

    Raises:
        MmedgeError: no such file, no picture, a damaged one, more than ``MAX_PIXELS`` pixels, an array of another kind.
    """
    if isinstance(picture, np.ndarray):
        return _from_array(picture)
    if isinstance(picture, Image.Image):
        return _from_pillow(picture, "the picture")
    if isinstance(picture, (bytes, bytearray)):
        return _decode(io.BytesIO(picture), "the picture")
    if not isinstance(picture, (str, os.PathLike)):
        raise MmedgeError(f"a {type(picture).__name__} is not a picture", "give a path, the bytes of a file, a Pillow image, or an array")
    path = Path(picture)
    try:
        with open(path, "rb") as file:
            return _decode(file, str(path))
    except OSError as error:
        raise MmedgeError(f"{path} cannot be read: {error.strerror or error}", "name a picture file that exists and that you may read") from error


def _decode(file: Any, name: str) -> Pixels:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns about large pictures and odd metadata; the size is checked here
        try:
            image = Image.open(file, formats=FORMATS)
        except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
            raise _too_large(name) from error
        except UnidentifiedImageError as error:
            raise MmedgeError(f"{name} is not a picture", f"give a file of one of the formats {', '.join(FORMATS)}") from error
        except BROKEN as error:
            raise _damaged(name, error) from error
        return _from_pillow(image, name)


def _from_pillow(image: Image.Image, name: str) -> Pixels:
    if image.width * image.height > MAX_PIXELS:
        raise _too_large(name)
    if image.width == 0 or image.height == 0:
        raise MmedgeError(f"{name} has no pixels", "give a picture that is at least one pixel high and wide")
    try:
        image.load()
        return _to_rgb(ImageOps.exif_transpose(image), name)
    except BROKEN as error:
        raise _damaged(name, error) from error


def _to_rgb(image: Image.Image, name: str) -> Pixels:
    if image.mode == "F":
        raise MmedgeError(f"{name} holds floating-point numbers", "convert it to 8 or 16 bits first: there is no telling what white is")
    if image.mode.startswith("I"):  # 16 bits of grey; Pillow's own conversion to 8 bits would clip
        wide = np.clip(np.asarray(image).astype(np.int64), 0, 65535)
        grey = (wide >> 8).astype(np.uint8)
        return np.ascontiguousarray(np.repeat(grey[:, :, None], 3, axis=2))
    if "A" in image.getbands() or "a" in image.getbands() or "transparency" in image.info:
        layered = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", layered.size, (255, 255, 255, 255)), layered)
    return np.array(image.convert("RGB"))


def _from_array(array: NDArray[Any]) -> Pixels:
    if array.dtype == np.uint16:
        array = (array >> 8).astype(np.uint8)
    if array.dtype != np.uint8 or array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)) or 0 in array.shape:
        raise MmedgeError(f"an array of {array.dtype} {list(array.shape)} is not a picture", "give uint8 [height, width, 3] in the order red, green, blue")
    if array.ndim == 2 or array.shape[2] == 1:
        return np.repeat(array.reshape(*array.shape[:2], 1), 3, axis=2)
    if array.shape[2] == 4:
        return _to_rgb(Image.fromarray(array, "RGBA"), "the picture")
    return np.ascontiguousarray(array)


def _too_large(name: str) -> MmedgeError:
    return MmedgeError(f"{name} has more than {MAX_PIXELS // 1_000_000} million pixels", "make it smaller first")


def _damaged(name: str, error: BaseException) -> MmedgeError:
    return MmedgeError(f"{name} is a damaged picture: {str(error) or type(error).__name__}", "save it again, or give another")
