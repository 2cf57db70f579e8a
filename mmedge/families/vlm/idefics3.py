"""Idefics3 and SmolVLM: a picture is a grid of tiles and then the whole, each with as many tokens."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mmedge.families.vlm import Config
from mmedge.families.vlm.eye import Ready
from mmedge.processors.image import Picture
from mmedge.processors.tiles import TileProcessor
from mmedge.tensors import Array, Feeds


class TileEye:
    """See ``mmedge.families.vlm.eye.Eye``."""

    def __init__(self, config: Config) -> None:
        assert config.tiles is not None
        self._config, self._processor = config, TileProcessor(config.tiles)

    def ready(self, picture: Picture) -> Ready:
        tiles = self._processor(picture)
        count = len(tiles.pixels)
        return Ready(
            pieces=tuple({"pixel_values": tiles.pixels[index : index + 1]} for index in range(count)),
            text=self.text(tiles.rows, tiles.columns),
            tokens=count * self._config.image_tokens,
        )

    def text(self, rows: int, columns: int) -> str:
        """The tiles by row and column, each row a line, and the whole picture after an empty line; or the whole alone."""
        config = self._config
        image = config.image_token * config.image_tokens
        whole = f"{config.around_token}{config.whole_token}{image}{config.around_token}"
        if not rows:
            return whole
        lines = ["".join(f"{config.around_token}<row_{row}_col_{column}>{image}" for column in range(1, columns + 1)) for row in range(1, rows + 1)]
        return "\n".join(lines) + "\n\n" + whole

    def connect(self, states: Feeds) -> dict[str, Array]:
        return dict(states)

    def positions(self, ids: NDArray[np.int64], pictures: Sequence[Ready]) -> None:
        return None
