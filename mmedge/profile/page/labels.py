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
POINT_PX, GAP_PX, LINE_PX = 5, 3, TEXT_PX + 3


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
        """Round values inside: 1, 2 and 5 of each power of ten, or fewer where those are too many to be read; of a linear scale, equal steps of those."""
        if not self.log:
            return self._even()
        powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        found: list[float] = []
        for steps, every in (((1, 2, 5), 1), ((1, 3), 1), ((1,), 1), ((1,), 2), ((1,), 3)):
            found = [step * 10.0**power for power in powers if power % every == 0 for step in steps if self.low <= step * 10.0**power <= self.high]
            if len(found) * 40 <= self.pixels:
                break
        return found

    def _even(self) -> list[float]:
        low, high = sorted((self.low, self.high))
        wanted = (high - low) / max(2.0, min(5.0, self.pixels / 60))
        power = 10.0 ** math.floor(math.log10(wanted))
        step = next(step * power for step in (1, 2, 5, 10) if step * power >= wanted * 0.999)
        return [round(count * step, 12) for count in range(math.ceil(low / step), math.floor(high / step) + 1)]


@dataclass(frozen=True)
class Label:
    """Text and where it is anchored, pixels from the lower left corner."""

    text: str
    x: float
    y: float
    align: Align


def place(points: Sequence[tuple[float, float]], texts: Sequence[str], width: float, height: float, radii: Sequence[float] = ()) -> list[Label]:
    """A label for each point: to the right, to the left, above or below, or further up or down, wherever first nothing is in the way.

    Where something always is, the first place inside is taken.

    Args:
        radii: of the points, where they are larger than ``POINT_PX``.
    """
    sizes = [max(POINT_PX, radius) for radius in radii] or [POINT_PX] * len(points)
    taken: list[Box] = [(x - size, y - size, x + size, y + size) for (x, y), size in zip(points, sizes)]
    labels = []
    for point, text, size in zip(points, texts, sizes):
        tries = _tries(point, text, size)
        inside = [(box, label) for box, label in tries if box[0] >= 0 and box[2] <= width and box[1] >= 0 and box[3] <= height]
        free = [(box, label) for box, label in inside if not any(_meet(box, other) for other in taken)]
        box, label = (free or inside or tries)[0]
        taken.append(box)
        labels.append(label)
    return labels


def _tries(point: tuple[float, float], text: str, size: float) -> list[tuple[Box, Label]]:
    """Where a label could be, the best first, with the room that it takes there."""
    (x, y), long, aside = point, len(text) * CHARACTER_PX, size + GAP_PX
    found = []
    for step in (0, 1, -1, 2, -2, 3, -3, 4, -4, 5, -5):
        for align in ALIGNS[::-1] if step else ALIGNS[:2]:
            anchor = x + {"left": aside, "right": -aside, "center": 0}[align]
            middle = y + step * LINE_PX + (size - POINT_PX) * ((step > 0) - (step < 0))
            left = anchor - {"left": 0.0, "right": long, "center": long / 2}[align]
            found.append(((left, middle - LINE_PX / 2, left + long, middle + LINE_PX / 2), Label(text, anchor, middle, align)))
    return found


def _meet(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
