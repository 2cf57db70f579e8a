"""What is particular to an architecture about looking: how a picture becomes feeds, and what stands for it in a prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mmedge.families.vlm import Config
from mmedge.processors.image import Picture
from mmedge.tensors import Array, Feeds


@dataclass(frozen=True, eq=False)
class Ready:
    """A picture made ready for ``image_encoder``."""

    pieces: tuple[dict[str, Array], ...]
    """Feeds, one run after the other: all at once would multiply the memory that attention needs."""
    text: str
    """What takes the place of the image token in the prompt."""
    tokens: int
    """Image tokens in ``text``, and rows of features."""
    grid: tuple[int, int] = (0, 0)
    """(rows, columns) of tokens, where positions depend on it."""


class Eye(Protocol):
    """One architecture's way of looking."""

    def ready(self, picture: Picture) -> Ready:
        """Raises MmedgeError: no picture, or one of a shape that the model does not take."""
        ...

    def connect(self, states: Feeds) -> dict[str, Array]:
        """What ``image_encoder`` gave -> what ``connector`` takes."""
        ...

    def positions(self, ids: NDArray[np.int64], pictures: Sequence[Ready]) -> NDArray[np.int64] | None:
        """[3, tokens] where tokens of the prompt stand, for models that are told; None for those that count."""
        ...


def eye_for(config: Config) -> Eye:
    """The eye of an exported model."""
    if config.kind == "idefics3":
        from mmedge.families.vlm.idefics3 import TileEye

        return TileEye(config)
    if config.kind == "llava":
        from mmedge.families.vlm.llava import PictureEye

        return PictureEye(config)
    from mmedge.families.vlm.qwen3_vl import PatchEye

    return PatchEye(config)
