"""A picture's mean colour against the colours of words: the whole path in a second, without weights or torch.

It is a real, if tiny, image-text model: ``image_encoder`` averages a picture to one colour, and names of colours are its texts.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

ARCHITECTURES: tuple[str, ...] = ()
PREFER: dict[str, tuple[str, ...]] = {}
CALLS = ("pixels", "embed_image", "classify")
NEEDS_FILES = False
"""Nothing is read: the graph is written down in ``export``."""

COLOURS = {
    "black": (0, 0, 0),
    "white": (255, 255, 255),
    "red": (255, 0, 0),
    "green": (0, 128, 0),
    "blue": (0, 0, 255),
    "yellow": (255, 255, 0),
    "brown": (139, 69, 19),
}


class Options(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    size: int = Field(default=8, ge=1, le=1024)
    """Pictures are scaled to ``size`` x ``size`` pixels."""


class Config(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    size: int = Field(ge=1, le=1024)


def graphs(config: Config) -> tuple[str, ...]:
    return ("image_encoder",)


def assets(config: Config) -> tuple[str, ...]:
    return ("colours.json",)
