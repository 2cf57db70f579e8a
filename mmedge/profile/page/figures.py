"""The charts of the page that are not bars in a table: one idea each, labelled where the eye already is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from markupsafe import Markup

from mmedge.need import need
from mmedge.profile.page.labels import Scale
from mmedge.profile.page.numbers import ms
from mmedge.profile.page.svg import CHARACTER_PX, render
from mmedge.profile.report import Row
from mmedge.profile.turns import MARKS
from mmedge.turn import Turn

SMALL = 340
"""Pixels: fits a telephone, three beside each other on a desk."""
WIDE = 1040
FAR = 5.0
"""Most over least, from which on an axis is logarithmic."""
PADDING = {"left": 56, "right": 14, "top": 10, "bottom": 40}
PLOT = SMALL - PADDING["left"] - PADDING["right"]
BODY, TAIL = 0.985, 0.6
"""The axis of a row ends at its 99th percentile, or where the calls after this share would take more than that much of the room that those before take."""
PINNED = 60


def data(values: Sequence[dict[str, Any]]) -> Any:
    return need("altair", extra="page").Data(values=list(values))


def axis_of(low: float, high: float, pixels: float = SMALL) -> Scale:
    """A scale a little wider than its values; logarithmic where they are far apart."""
    if low > 0 and high / low > FAR:
        return Scale(low / 1.05, high * 1.05, pixels)
    room = (high - low) * 0.04 or abs(high) * 0.04 or 1.0
    return Scale(low - room, high + room, pixels, log=False)


def seen(row: Row) -> tuple[float, float]:
    """What the charts of a row show: from its fastest call up to where a few outliers would press all others together."""
    assert row.samples
    values = np.sort(np.asarray(row.samples.latency_ms))
    body_ms = float(values[int(np.ceil(BODY * len(values))) - 1])
    reach_ms = max(body_ms + TAIL * (body_ms - values[0]), row.latency.p99_ms or 0.0)
    return float(values[0]), float(min(values[-1], reach_ms))


def outside(row: Row) -> str:
    """How many calls lie beyond that."""
    assert row.samples
    high_ms = seen(row)[1]
    beyond = [value for value in row.samples.latency_ms if value > high_ms]
    return f"{len(beyond)} slower, up to {ms(max(beyond))} ms" if beyond else ""


def quantitative(channel: str, field: str, scale: Scale, title: str | None, **axis: Any) -> Any:
    """An axis of Altair over exactly this scale."""
    alt = need("altair", extra="page")
    ticks = scale.ticks() if scale.log else []
    axis = {"format": ".6~r", **({"values": ticks} if len(ticks) > 1 else {"tickCount": 4}), **axis}  # "~r": never an exponent
    kind = alt.Scale(type="log" if scale.log else "linear", domain=[scale.low, scale.high], nice=False, zero=False)
    return getattr(alt, channel.upper())(f"{field}:Q", title=title, scale=kind, axis=alt.Axis(**axis))


def waterfall(turn: Turn, width: int) -> Markup:
    """What ran when in one turn: filled is computed, hollow is waited; below, when things had happened."""
    alt = need("altair", extra="page")
    marks = [(name.rpartition("-> ")[2], value) for mark, name in MARKS.items() if (value := getattr(turn.marks_ms, mark)) is not None]
    spans = sorted(turn.spans, key=lambda span: span.start_ms)
    first_ms = min([0.0, *(span.start_ms for span in spans), *(value for _, value in marks)])
    last_ms = max([1.0, *(span.start_ms + span.duration_ms for span in spans), *(value for _, value in marks)])
    left, right = (140 if width == WIDE else 100), 56
    scale = Scale(first_ms, last_ms, width - left - right, log=False)
    # the three digits keep equal names apart and are cut off again by the axis
    names = [f"{number:03}{name}" for number, name in enumerate([*(span.name for span in spans), *(name for name, _ in marks)])]
    bars = [
        {"y": name, "from": span.start_ms, "to": span.start_ms + max(span.duration_ms, 1.5 / scale.pixels * (last_ms - first_ms)), "kind": span.kind}
        for name, span in zip(names, spans)
    ]
    told = [{"y": bar["y"], "x": bar["to"], "text": f"{ms(span.duration_ms)} ms"} for bar, span in zip(bars, spans)]
    points = [{"y": name, "x": value, "text": f"at {ms(value)} ms"} for name, (_, value) in zip(names[len(spans) :], marks)]
    y = alt.Y("y:N", sort=names, title=None, scale=alt.Scale(domain=names), axis=alt.Axis(labelExpr="slice(datum.label, 3)", labelLimit=left - 18, grid=False))
    x = quantitative("x", "from", scale, "ms after the end of speech", tickCount=6 if width == WIDE else 4)
    fill = alt.Color("kind:N", scale=alt.Scale(domain=["model", "wait"], range=["var(--model)", "var(--hollow)"]), legend=None)
    stroke = alt.Stroke("kind:N", scale=alt.Scale(domain=["model", "wait"], range=["var(--model)", "var(--wait)"]), legend=None)
    layers = [alt.Chart(data(bars)).mark_bar(height=14, strokeWidth=1.2).encode(y=y, x=x, x2="to:Q", color=fill, stroke=stroke)]
    layers.append(alt.Chart(data(points)).mark_rule(stroke="var(--rule)", strokeDash=[2, 3]).encode(x="x:Q"))
    layers.append(alt.Chart(data(points)).mark_point(shape="diamond", filled=True, size=60, fill="var(--ink)", opacity=1).encode(y=y, x="x:Q"))
    for group, room in ((told, 6), (points, 9)):
        for align, dx in (("left", room), ("right", -room)):
            side = [one for one in group if (align == "left") == _fits(one, scale, right)]
            if group is told and align == "right":  # inside the bar or before it would be hard to read: before the bar's beginning
                side = [{**one, "x": bars[told.index(one)]["from"]} for one in side]
            layers.append(alt.Chart(data(side)).mark_text(align=align, dx=dx).encode(y=y, x="x:Q", text="text:N"))
    height = 24 * len(names) + 52
    said = "; ".join(
        [*(f"{span.name}, a {span.kind}, from {ms(span.start_ms)} for {ms(span.duration_ms)} ms" for span in spans), *(f"{n} at {ms(v)} ms" for n, v in marks)]
    )
    return render(alt.layer(*layers), f"Waterfall: {said}", width=width, height=height, padding={"left": left, "right": right, "top": 8, "bottom": 44})


def _fits(one: dict[str, Any], scale: Scale, right: int) -> bool:
    return bool(scale.to_px(one["x"]) + 10 + len(one["text"]) * CHARACTER_PX <= scale.pixels + right)


def distribution(row: Row, name: str, points: int) -> Markup:
    """The share of calls that were faster than x, with the percentiles that the number of calls can carry."""
    assert row.samples
    alt = need("altair", extra="page")
    values = np.sort(np.asarray(row.samples.latency_ms))
    low, high = seen(row)
    shown = int(np.searchsorted(values, high, side="right"))
    ranks = np.unique(np.linspace(0, shown - 1, min(points, shown)).astype(int))
    scale = axis_of(low, high, PLOT)
    curve = [{"x": scale.low, "y": 0.0}, *({"x": round(float(values[rank]), 4), "y": round((rank + 1) / len(values), 4)} for rank in ranks)]
    curve.append({"x": scale.high, "y": curve[-1]["y"]})
    told = {50: row.latency.p50_ms, 90: row.latency.p90_ms, 99: row.latency.p99_ms}
    found: list[dict[str, Any]] = [
        {"x": value, "y": percentile / 100, "text": f"p{percentile}  {ms(value)}"} for percentile, value in told.items() if value is not None
    ]
    x, y = quantitative("x", "x", scale, "ms"), quantitative("y", "y", Scale(0, 1.04, 1, log=False), "calls done", values=[0, 0.25, 0.5, 0.75, 1], format=".0%")
    layers = [alt.Chart(data(curve)).mark_line(stroke="var(--model)", strokeWidth=1.8, interpolate="step-after").encode(x=x, y=y)]
    layers.append(alt.Chart(data(found)).mark_point(filled=True, size=34, fill="var(--ink)", opacity=1).encode(x=x, y=y))
    for one in found:  # under the curve, one line below the other
        right = scale.to_px(one["x"]) + 8 + len(one["text"]) * CHARACTER_PX < scale.pixels
        look = {"align": "left", "dx": 8} if right else {"align": "right", "dx": -8}
        dy = {0.5: 9 if right else -6, 0.9: 12 if right else -4, 0.99: 9 if right else 12}[one["y"]]
        layers.append(alt.Chart(data([one])).mark_text(dy=dy, **look).encode(x=x, y=y, text="text:N"))
    said = f"Distribution of {name}, {len(values)} calls: from {ms(values[0])} to {ms(values[-1])} ms, " + ", ".join(one["text"] for one in found)
    return render(alt.layer(*layers), said, width=SMALL, height=170, padding=PADDING)


def drift(row: Row, name: str, points: int) -> Markup:
    """Every call in its order, and the running median; what is slower than the axis or was given up is marked at the top."""
    assert row.samples
    alt = need("altair", extra="page")
    values = np.asarray(row.samples.latency_ms)
    timed = len(row.samples.start_ms) == len(values)
    at = np.asarray(row.samples.start_ms) / 1e3 if timed else np.arange(1, len(values) + 1, dtype=float)
    window = running_window(len(values))
    middle = np.median(np.lib.stride_tricks.sliding_window_view(values, window), axis=1)
    dropped = [moment / 1e3 for moment in row.samples.dropped_ms]
    across = Scale(*_ends([float(at[0]), float(at[-1]), *dropped]), PLOT, log=False)
    low, high = seen(row)
    x = quantitative("x", "x", across, "s since the first call" if timed else "call")
    y = quantitative("y", "y", axis_of(low, high), "ms")
    # a line of points with gaps between them: dots, in a hundredth of the space that a mark each would take
    kept = [i for i in thinned(values, points) if values[i] <= high]
    dots = [{"x": round(float(at[i]), 3), "y": y} for i in kept for y in (round(float(values[i]), 4), None)]
    steps = np.unique(np.linspace(0, len(middle) - 1, min(points, len(middle))).astype(int))
    line = [{"x": round(float(at[i + window // 2]), 3), "y": round(float(min(middle[i], high)), 4)} for i in steps]
    layers = [alt.Chart(data(dots)).mark_line(stroke="var(--dot)", strokeWidth=2.6 if len(kept) > 150 else 4.5, strokeCap="round").encode(x=x, y=y)]
    layers.append(alt.Chart(data(line)).mark_line(stroke="var(--model)", strokeWidth=1.8).encode(x=x, y=y))
    slower = [float(moment) for moment in at[values > high]]
    for moments, shape, colour in ((slower, "triangle-up", "var(--warn)"), (dropped, "cross", "var(--bad)")):
        pinned = [{"x": moment} for moment in moments[:: -(-len(moments) // PINNED) or 1]]
        layers.append(alt.Chart(data(pinned)).mark_point(shape=shape, size=28, filled=True, fill=colour, opacity=1).encode(x=x, y=alt.value(3)))
    said = f"{name} over time, {len(values)} calls: running median from {ms(middle[0])} to {ms(middle[-1])} ms, longest call {ms(values.max())} ms"
    said += f", {len(dropped)} calls given up" if dropped else ""
    return render(alt.layer(*layers), said, width=SMALL, height=170, padding=PADDING)


def running_window(count: int) -> int:
    """Calls in one running median: a twentieth of all, odd, at least 5 where there are as many."""
    return min(max(5, count // 20 | 1), count)


def thinned(values: np.ndarray[Any, Any], points: int) -> list[int]:
    """Which calls are drawn: all, or of each stretch the fastest and the slowest, so that no outlier goes missing."""
    if len(values) <= points:
        return list(range(len(values)))
    stretches = np.array_split(np.arange(len(values)), points // 2)
    return sorted({int(stretch[pick(values[stretch])]) for stretch in stretches for pick in (np.argmin, np.argmax)})


def _ends(values: Sequence[float]) -> tuple[float, float]:
    return min(values), max(values) if max(values) > min(values) else min(values) + 1.0
