"""Pictures that processors get wrong: shapes, modes, and cameras held upright."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

SIZES = {
    "wide": (61, 40),
    "tall": (33, 97),
    "square": (64, 64),
    "very_wide": (400, 3),
    "very_tall": (5, 300),
    "tiny": (2, 5),
    "one_pixel": (1, 1),
    "large": (701, 303),
}


def _noise(width: int, height: int, bands: int, seed: int) -> np.ndarray:
    """Smooth enough that resizing is not all that is seen."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (max(height // 8, 1), max(width // 8, 1), bands), dtype=np.uint8)
    return np.stack([np.asarray(Image.fromarray(coarse[:, :, band]).resize((width, height), Image.Resampling.BICUBIC)) for band in range(bands)], axis=-1)


def odd_pictures(folder: Path) -> dict[str, object]:
    """Name -> a Pillow image, or the path of a file that only reads right when its EXIF orientation is obeyed."""
    made: dict[str, object] = {name: Image.fromarray(_noise(*size, 3, index)) for index, (name, size) in enumerate(SIZES.items())}
    made["grey"] = Image.fromarray(_noise(50, 37, 1, 20)[:, :, 0])
    made["grey_alpha"] = Image.fromarray(_noise(50, 37, 2, 21), "LA")
    made["rgba"] = Image.fromarray(_noise(45, 70, 4, 22), "RGBA")
    made["palette"] = Image.fromarray(_noise(80, 41, 3, 23)).quantize(16)
    for orientation in (3, 6, 8):
        exif = Image.Exif()
        exif[0x0112] = orientation
        path = folder / f"turned_{orientation}.jpg"
        Image.fromarray(_noise(90, 50, 3, 24)).save(path, exif=exif, quality=95)
        made[path.stem] = str(path)
    return made


NAMES = (*SIZES, "grey", "grey_alpha", "rgba", "palette", "turned_3", "turned_6", "turned_8")
