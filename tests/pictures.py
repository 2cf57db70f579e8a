"""Pictures for tests: five that differ in everything, and the kinds that processors get wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

GOLDEN = Path(__file__).parents[1] / "mmedge" / "golden"


def five() -> list[Any]:
    """Two photographs, noise, a slope and one colour; no two of one shape."""
    rng = np.random.default_rng(0)
    slope = np.broadcast_to(np.linspace(0, 255, 64).astype(np.uint8)[None, :, None], (32, 64, 3))
    drawn = [rng.integers(0, 256, (40, 30, 3), np.uint8), slope, np.full((50, 32, 3), (200, 30, 60), np.uint8)]
    return [GOLDEN / "cat.jpg", GOLDEN / "coffee.jpg", *(Image.fromarray(np.ascontiguousarray(one)) for one in drawn)]


def odd(folder: Path) -> dict[str, Path]:
    """Files: much wider than high, grey, with transparency, turned by its EXIF orientation, tiny."""
    rng = np.random.default_rng(1)
    smooth = Image.fromarray(rng.integers(0, 256, (6, 9, 3), np.uint8)).resize((150, 61), Image.Resampling.BICUBIC)
    made = {"wide": smooth, "grey": smooth.convert("L"), "transparent": smooth.copy(), "turned": smooth, "tiny": smooth.resize((5, 7))}
    made["transparent"].putalpha(Image.fromarray(np.broadcast_to(np.linspace(0, 255, 150).astype(np.uint8), (61, 150)).copy()))
    exif = Image.Exif()
    exif[0x0112] = 6
    for name, image in made.items():
        image.save(folder / f"{name}.png", **({"exif": exif} if name == "turned" else {}))
    return {name: folder / f"{name}.png" for name in made}
