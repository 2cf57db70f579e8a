"""The toy in use."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from mmedge.errors import MmedgeError
from mmedge.families.toy import Config
from mmedge.processors.image import Picture, load_image
from mmedge.runner import Runner
from mmedge.tensors import Array


class Session:
    def __init__(self, runners: Mapping[str, Runner], assets: Mapping[str, Path], config: Config) -> None:
        self._encoder = runners["image_encoder"]
        self._colours = json.loads(assets["colours.json"].read_text())
        self._size = config.size

    def pixels(self, image: Picture) -> Array:
        """float32 [1, 3, size, size] in 0..1."""
        picture = Image.fromarray(load_image(image)).resize((self._size, self._size), Image.Resampling.BILINEAR)
        return (np.asarray(picture, np.float32) / 255).transpose(2, 0, 1)[None]

    def embed_image(self, image: Picture) -> Array:
        """The mean colour, float32 [3] in -1..1."""
        return self._encoder.run({"pixel_values": self.pixels(image)})["image_embedding"][0]

    def classify(self, image: Picture, labels: Sequence[str]) -> list[tuple[str, float]]:
        """Colours by nearness, nearest first, with scores that sum to 1."""
        if unknown := [label for label in labels if label not in self._colours]:
            raise MmedgeError(f"the toy does not know the colour {unknown[0]!r}", f"it knows: {', '.join(self._colours)}")
        colour = np.asarray(self.embed_image(image), np.float32)
        nearness = np.exp([-np.linalg.norm(colour - (np.asarray(self._colours[label]) / 127.5 - 1)) for label in labels])
        return sorted(zip(labels, (nearness / nearness.sum()).tolist()), key=lambda pair: -pair[1])
