"""Where the labels of points go so that they do not lie on each other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from mmedge.profile.page.svg import CHARACTER_PX, TEXT_PX

Align = Literal["left", "center", "right"]
ALIGNS: tuple[Align, ...] = ("left", "right", "center")
Box = tuple[float, float, float, float]
GAP_PX, LINE_PX = 8, TEXT_PX + 3


@dataclass(frozen=True)
class Scale:
    """From values to pixels and back; logarithmic or linear."""

    low: float
    high: float
    pixels: float
    log: bool = True

    def to_px(self, value: float) -> float:
        low, high, value = (math.log(v) for v in (self.low, self.high, value)) if self.log else (self.low, self.high, value)
        return (value - low) / (high - low) * self.pixels

    def from_px(self, px: float) -> float:
        low, high = (math.log(self.low), math.log(self.high)) if self.log else (self.low, self.high)
        value = low + px / self.pixels * (high - low)
        return math.exp(value) if self.log else value

    def ticks(self) -> list[float]:
        """Round values inside: 1, 2 and 5 of each power of ten, or fewer where those are too many to be read."""
        powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        found: list[float] = []
        for steps, every in (((1, 2, 5), 1), ((1, 3), 1), ((1,), 1), ((1,), 2), ((1,), 3)):
            found = [step * 10.0**power for power in powers if power % every == 0 for step in steps if self.low <= step * 10.0**power <= self.high]
            if len(found) * 40 <= self.pixels:
                break
        return found


@dataclass(frozen=True)
class Label:
    """Text and where it is anchored, pixels from the lower left corner."""

    text: str
    x: float
    y: float
    align: Align


def place(points: Sequence[tuple[float, float]], texts: Sequence[str], width: float, height: float) -> list[Label]:
    """A label for each point: to the right, to the left, above or below, or further up or down, wherever first nothing is in the way."""
    taken: list[Box] = [(x - 5, y - 5, x + 5, y + 5) for x, y in points]
    labels = []
    for (x, y), text in zip(points, texts):
        long = len(text) * CHARACTER_PX
        tries = [(align, step * LINE_PX) for step in (0, 1, -1, 2, -2, 3, -3, 4, -4, 5, -5) for align in (ALIGNS[::-1] if step else ALIGNS[:2])]
        for align, up in tries:
            anchor = x + {"left": GAP_PX, "right": -GAP_PX, "center": 0}[align]
            left = anchor - {"left": 0.0, "right": long, "center": long / 2}[align]
            box = (left, y + up - LINE_PX / 2, left + long, y + up + LINE_PX / 2)
            inside = box[0] >= 0 and box[2] <= width and box[1] >= 0 and box[3] <= height
            if inside and not any(_meet(box, other) for other in taken):
                break
        taken.append(box)
        labels.append(Label(text, anchor, y + up, align))
    return labels


def _meet(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
