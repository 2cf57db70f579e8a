"""The candidates of a quantized graph: its task metric over its latency. Up and to the left is better, whichever way the metric is read."""

from __future__ import annotations

from collections.abc import Sequence
from math import pi, sqrt
from typing import Any

from markupsafe import Markup

from mmedge.manifest import Quantized
from mmedge.need import need
from mmedge.profile.page.figures import WIDE, data, quantitative
from mmedge.profile.page.labels import ALIGNS, place
from mmedge.profile.page.numbers import metric, ms
from mmedge.profile.page.spread import Spread, allowed, ends, spread
from mmedge.profile.page.svg import render
from mmedge.profile.table import cut
from mmedge.rated import Rated

LABEL = 28
"""The most characters of a name beside a mark."""
LARGEST, LEAST = 440.0, 44.0
"""Square pixels of the mark of the largest files, and the least that can be seen."""
PADDING = {"left": 68, "right": 16, "top": 14, "bottom": 42}
FP32 = "fp32"


def pareto(found: Quantized, rated: Sequence[Rated], chosen: str, width: int) -> Markup | None:
    """One graph's candidates; None where fewer than two have a metric.

    The mark's area is the size of the files, squares are fp32, the filled one was chosen, grey ones failed their gate. The bar through a mark is the interval
    of what it loses against fp32 on the same units, which the gate looks at, and which is narrower than that of the metric. The line joins those that
    nothing beats in both.

    Args:
        rated: in the order of their numbers, which stand for the names where there is little room.
    """
    shown = [one for one in rated if one.metric is not None]
    if len(shown) < 2:
        return None
    wide = width == WIDE
    height = 400 if wide else 320
    inner = width - PADDING["left"] - PADDING["right"], height - PADDING["top"] - PADDING["bottom"]
    where = spread(found, shown, *inner, lane=190 if wide else 50)
    low, high = sorted((where.up.low, where.up.high))
    title = "latency, ms" if where.timed else "size, MB: latency is not known here"
    x = quantitative("x", "x", where.across, title, values=[value for value in where.across.ticks() if value <= where.last * 1.02])
    of_metric = f"{found.metric}{'' if found.higher_is_better else ', less is better'}"
    y = quantitative("y", "y", where.up, of_metric, values=[value for value in where.up.ticks() if low <= value <= high], format=".6~f", titlePadding=10)
    layers = [*_frame(found, shown, where, x, y), *_bars(shown, where, x, y), *_marks(shown, where, chosen, wide, rated, x, y)]
    over = "latency" if where.timed else "size"
    said = "; ".join(_said(one, chosen) for one in shown)
    return render(need("altair", extra="page").layer(*layers), f"{found.metric} over {over}: {said}", width=width, height=height, padding=PADDING)


def _frame(found: Quantized, shown: Sequence[Rated], where: Spread, x: Any, y: Any) -> list[Any]:
    """What may be lost, the line of those that nothing beats, and the lane of those without a latency."""
    alt = need("altair", extra="page")
    layers, limit = [], found.fp32.value - where.sign * allowed(shown)
    edge = where.across.from_px(where.lane_px - 6)
    across, x2 = {"x": where.across.low, "end": edge, "y": limit}, alt.X2("end:Q")
    if any(one.loss for one in shown):
        layers.append(alt.Chart(data([across])).mark_rule(stroke="var(--bad)", strokeDash=[4, 3]).encode(x=x, x2=x2, y=y))
        told = {"x": where.across.from_px(2), "y": limit, "text": f"gate: {metric(allowed(shown))} {'below' if where.sign > 0 else 'above'} fp32"}
        layers.append(alt.Chart(data([told])).mark_text(align="left", dy=9, fill="var(--bad)").encode(x=x, y=y, text="text:N"))
    fastest = sorted((one for one in shown if one.passed), key=lambda one: (where.x(one), -where.sign * _value(one)))
    front = [one for at, one in enumerate(fastest) if all(where.sign * (_value(one) - _value(other)) > 0 for other in fastest[:at])]
    line = [{"x": where.x(one), "y": where.y(_value(one))} for one in front]
    layers.append(alt.Chart(data(line)).mark_line(stroke="var(--dot)", strokeWidth=2).encode(x=x, y=y))
    if where.untimed:
        layers.append(alt.Chart(data([{"x": edge}])).mark_rule(stroke="var(--rule)").encode(x=x))
        layers.append(
            alt.Chart(data([{"x": edge}])).mark_text(align="left", dx=4, fill="var(--muted)").encode(x=x, y=alt.value(2), text=alt.value("not timed"))
        )
    return layers


def _bars(shown: Sequence[Rated], where: Spread, x: Any, y: Any) -> list[Any]:
    """The intervals: of the loss, upright, and of the latency."""
    alt = need("altair", extra="page")
    stroke = alt.Stroke("stroke:N", scale=None)
    upright, flat = [], []
    for one in shown:
        colour = "var(--dot)" if one.passed else "var(--rule)"
        if (held := ends(one, where.sign)) and not where.below(one):
            upright.append({"x": where.x(one), "y": where.y(held[0]), "end": held[1], "stroke": colour})
        if where.timed and one.ratio and one.latency_ms and one.ratio.value > 0:
            least, most = (one.latency_ms * edge / one.ratio.value for edge in (one.ratio.low, one.ratio.high))
            flat.append({"x": max(least, where.across.low), "end": most, "y": where.y(_value(one)), "stroke": colour})
    return [
        alt.Chart(data(upright)).mark_rule(strokeWidth=1.4).encode(x=x, y=y, y2="end:Q", stroke=stroke),
        alt.Chart(data(flat)).mark_rule(strokeWidth=1.4).encode(x=x, x2="end:Q", y=y, stroke=stroke),
    ]


def _marks(shown: Sequence[Rated], where: Spread, chosen: str, wide: bool, rated: Sequence[Rated], x: Any, y: Any) -> list[Any]:
    """The candidates and what they are called."""
    alt = need("altair", extra="page")
    largest = max(one.size_mb for one in shown) or 1.0
    points: list[dict[str, Any]] = [
        {
            "x": where.x(one),
            "y": where.y(_value(one)),
            "fill": "var(--model)" if one.name == chosen else "var(--page)",
            "stroke": "var(--model)" if one.passed else "var(--other)",
            "shape": "triangle-down" if where.below(one) else "square" if one.precision == FP32 else "circle",
            "size": max(LEAST, LARGEST * one.size_mb / largest),
        }
        for one in shown
    ]
    encoded = {name: getattr(alt, name.title())(f"{name}:{kind}", scale=None) for name, kind in (("fill", "N"), ("stroke", "N"), ("shape", "N"), ("size", "Q"))}
    above = sorted(points, key=lambda point: -point["size"])  # the small ones on the large ones
    layers = [alt.Chart(data(above)).mark_point(strokeWidth=1.8, opacity=1).encode(x=x, y=y, **encoded)]
    texts = [_called(one, rated, where, wide) for one in shown]
    pixels = [(where.across.to_px(point["x"]), where.up.to_px(point["y"])) for point in points]
    rule = [(where.lane_px - 6, float(up)) for up in range(0, int(where.up.pixels) + 1, 8)] if where.untimed else []
    radii = [*(sqrt(point["size"] / pi) for point in points), *(1.0 for _ in rule)]
    labels = place([*pixels, *rule], texts, where.across.pixels, where.up.pixels, radii)
    for align in ALIGNS:
        side = [
            {"x": where.across.from_px(label.x), "y": where.up.from_px(label.y), "text": label.text, "fill": "var(--ink)" if one.passed else "var(--muted)"}
            for label, one in zip(labels, shown)
            if label.align == align
        ]
        layers.append(alt.Chart(data(side)).mark_text(align=align).encode(x=x, y=y, text="text:N", fill=alt.Fill("fill:N", scale=None)))
    return layers


def _called(one: Rated, rated: Sequence[Rated], where: Spread, wide: bool) -> str:
    name = cut(one.name, LABEL) if wide else str(1 + list(rated).index(one))
    return f"{name}: {metric(_value(one))}" if where.below(one) and wide else name


def _value(one: Rated) -> float:
    assert one.metric is not None
    return one.metric.value


def _said(one: Rated, chosen: str) -> str:
    time = f"{ms(one.latency_ms)} ms" if one.latency_ms is not None else "not timed"
    word = ", chosen" if one.name == chosen else "" if one.passed else ", rejected"
    return f"{one.name} {metric(_value(one))}, {time}, {ms(one.size_mb)} MB{word}"
