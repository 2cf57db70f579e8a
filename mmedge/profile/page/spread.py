"""Where the candidates of a graph lie in their chart: scales that hold what passed, with room for those that have no place on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mmedge.manifest import Quantized
from mmedge.profile.page.figures import FAR
from mmedge.profile.page.labels import Scale
from mmedge.rated import Rated

MARGIN = 0.06
DEEP = 1.0
"""How far below all that passed the axis goes, as a share of what they take: what is worse is pinned to the bottom."""
PINNED_PX = 8
BESIDE = 4
"""Candidates without a latency, in a row."""


@dataclass(frozen=True)
class Spread:
    """Scales of a chart. The vertical one is turned round for a metric that is better when lower: better is always up."""

    across: Scale
    """Milliseconds, or megabytes where no latency is known. It goes on beyond ``last``: there lie those without one."""
    up: Scale
    timed: bool
    last: float
    """The largest value across."""
    sign: int
    """1, or -1 where lower is better."""
    untimed: tuple[str, ...] = ()
    """Names of those without a latency: beside each other, so that their intervals can be told apart."""

    def x(self, one: Rated) -> float:
        found = one.latency_ms if self.timed else one.size_mb
        return self.across.from_px(self.lane_px + 14 + 9 * (self.untimed.index(one.name) % BESIDE)) if found is None else found

    @property
    def lane_px(self) -> float:
        """Where those without a latency begin."""
        return self.across.to_px(self.last) * (1 + MARGIN) + 12

    def y(self, value: float) -> float:
        """Near the bottom, where it lies below."""
        return max(self.sign * value, self.sign * self.up.from_px(PINNED_PX)) * self.sign

    def below(self, one: Rated) -> bool:
        return one.metric is not None and self.sign * one.metric.value < self.sign * self.up.from_px(PINNED_PX)


def ends(one: Rated, sign: int) -> tuple[float, ...]:
    """(worst, best) of a candidate's metric by the interval of its loss against fp32, which is that of the same units; nothing where it was not judged."""
    if one.metric is None or one.loss is None:
        return ()
    loss = one.loss.found
    return one.metric.value - sign * (loss.high - loss.value), one.metric.value + sign * (loss.value - loss.low)


def spread(found: Quantized, shown: Sequence[Rated], width: float, height: float, lane: float) -> Spread:
    """The scales of ``width`` times ``height`` pixels.

    Args:
        shown: with a metric each, one at least.
        lane: pixels for those without a latency, where there are any.
    """
    timed, sign = any(one.latency_ms is not None for one in shown), 1 if found.higher_is_better else -1
    values = [value for one in shown if (value := one.latency_ms if timed else one.size_mb) is not None]
    room = width - (lane if len(values) < len(shown) else 0.0)
    low, last = min(values), max(values)
    log = low > 0 and last / low > FAR
    tight = Scale(low, last if last > low else low * 1.1 + 0.1, room * (1 - 2 * MARGIN), log)
    across = Scale(tight.from_px(-MARGIN * room), tight.from_px(width - MARGIN * room), width, log)
    untimed = tuple(one.name for one in shown if timed and one.latency_ms is None)
    return Spread(across, _up(found, shown, sign, height), timed, last, sign, untimed)


def _up(found: Quantized, shown: Sequence[Rated], sign: int, height: float) -> Scale:
    limit = found.fp32.value - sign * allowed(shown)
    held = [sign * value for one in shown if one.passed and one.metric for value in (one.metric.value, *ends(one, sign))]
    held += [sign * found.fp32.value, sign * limit]
    deepest = min(held) - DEEP * (max(held) - min(held))
    lowest = max(deepest, min([*held, *(sign * one.metric.value for one in shown if one.metric)]))
    space = (max(held) - lowest) * 0.1 or abs(max(held)) * 0.05 or 0.01
    return Scale(sign * (lowest - space), sign * (max(held) + space), height, log=False)


def allowed(shown: Sequence[Rated]) -> float:
    """What a candidate may lose."""
    return max((one.loss.allowed for one in shown if one.loss), default=0.0)
