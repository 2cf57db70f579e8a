"""LLaVA: every picture has one size, and as many tokens."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mmedge.families.vlm import Config
from mmedge.families.vlm.eye import Ready
from mmedge.processors.image import Picture
from mmedge.processors.pixels import ImageProcessor
from mmedge.tensors import Array, Feeds


class PictureEye:
    """See ``mmedge.families.vlm.eye.Eye``."""

    def __init__(self, config: Config) -> None:
        assert config.picture is not None
        self._config, self._processor = config, ImageProcessor(config.picture)

    def ready(self, picture: Picture) -> Ready:
        tokens = self._config.image_tokens
        return Ready(({"pixel_values": self._processor([picture])},), self._config.image_token * tokens, tokens)

    def connect(self, states: Feeds) -> dict[str, Array]:
        return dict(states)

    def positions(self, ids: NDArray[np.int64], pictures: Sequence[Ready]) -> None:
        return None
