"""Qwen3-VL: a picture keeps its shape; its tokens stand in a grid, and so do their positions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mmedge.families.vlm import Config
from mmedge.families.vlm.eye import Ready
from mmedge.processors.image import Picture
from mmedge.processors.qwen_pixels import Patches, QwenProcessor
from mmedge.tensors import Array, Feeds

Ints = NDArray[np.int64]


class PatchEye:
    """See ``mmedge.families.vlm.eye.Eye``."""

    def __init__(self, config: Config) -> None:
        assert config.patches is not None
        self._config, self._merge, self._processor = config, config.patches.merge, QwenProcessor(config.patches)

    def ready(self, picture: Picture) -> Ready:
        return self.place(self._processor(picture))

    def place(self, patches: Patches) -> Ready:
        """Patches with their positions, which depend on the grid alone."""
        merge = self._merge
        places = patch_places(patches.rows, patches.columns, merge)
        indices, weights = between(places, (patches.rows, patches.columns), self._config.grid_side)
        tokens = len(places) // merge**2
        return Ready(
            pieces=({"pixel_values": patches.pixels, "position_ids": places, "grid_indices": indices, "grid_weights": weights},),
            text=self._config.image_token * tokens,
            tokens=tokens,
            grid=(patches.rows // merge, patches.columns // merge),
        )

    def connect(self, states: Feeds) -> dict[str, Array]:
        return {name: array.reshape(-1, self._merge**2, array.shape[-1]) for name, array in states.items()}

    def positions(self, ids: Ints, pictures: Sequence[Ready]) -> Ints:
        return rope_positions(ids, self._config.image_token_id, [picture.grid for picture in pictures])


def patch_places(rows: int, columns: int, merge: int) -> Ints:
    """int64 [patches, 2]: row and column of every patch, block after block of ``merge`` x ``merge``."""
    row, column = np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij")
    blocks = [axis.reshape(rows // merge, merge, columns // merge, merge).swapaxes(1, 2).ravel() for axis in (row, column)]
    return np.stack(blocks, axis=-1).astype(np.int64)


def between(places: Ints, size: tuple[int, int], side: int) -> tuple[Ints, NDArray[np.float32]]:
    """Where patches stand in the learned grid of ``side`` x ``side`` positions, corners upon corners: their four neighbours there, and how much of each.

    Returns:
        int64 [patches, 4] into the flattened grid, and float32 [patches, 4], rows of sum 1.
    """
    axes = []
    for at, length in zip(places.T, size):
        exact = at.astype(np.float32) * np.float32(side - 1) / np.float32(max(length - 1, 1))
        below = np.floor(exact)
        neighbours = below.astype(np.int64)[:, None] + np.arange(2)
        share = np.maximum(1 - np.abs(exact[:, None] - neighbours.astype(np.float32)), 0).astype(np.float32)
        axes.append((np.clip(neighbours, 0, side - 1), share))
    (rows, down), (columns, across) = axes
    indices = (rows[:, :, None] * side + columns[:, None, :]).reshape(-1, 4)
    return indices, (down[:, :, None] * across[:, None, :]).reshape(-1, 4)


def rope_positions(ids: Ints, image_token: int, grids: Sequence[tuple[int, int]]) -> Ints:
    """int64 [3, tokens]: time, row, column. A text token counts on in all three; those of a picture stand in their grid, at one time; what follows begins
    after the picture's longer side.
    """
    positions = np.empty((3, len(ids)), np.int64)
    at, count = 0, 0
    waiting = list(grids)
    while at < len(ids):
        if ids[at] != image_token:
            positions[:, at] = count
            at, count = at + 1, count + 1
            continue
        rows, columns = waiting.pop(0)
        end = at + rows * columns
        positions[0, at:end] = count
        positions[1, at:end] = count + np.repeat(np.arange(rows), columns)
        positions[2, at:end] = count + np.tile(np.arange(columns), rows)
        at, count = end, count + max(rows, columns)
    return positions
