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
from mmedge.turn import Marks, Span, Turn

SMALL = 340
"""Pixels: fits a telephone, three beside each other on a desk."""
WIDE = 1040
FAR = 5.0
"""Most over least, from which on an axis is logarithmic."""
PERCENTILES = (0.5, 0.9, 0.99)


def data(values: Sequence[dict[str, Any]]) -> Any:
    return need("altair", extra="page").Data(values=list(values))


def axis_of(values: Sequence[float]) -> Scale:
    """The scale on which all values can be seen: logarithmic where a few are far away, a little wider than they are."""
    low, high = min(values), max(values)
    if low > 0 and high / low > FAR:
        return Scale(low / 1.05, high * 1.05, SMALL)
    room = (high - low) * 0.04 or abs(high) * 0.04 or 1.0
    return Scale(low - room, high + room, SMALL, log=False)


def quantitative(channel: str, field: str, scale: Scale, title: str | None, **axis: Any) -> Any:
    """An axis of Altair over exactly this scale."""
    alt = need("altair", extra="page")
    if scale.log:
        axis = {"values": ticks, **axis} if len(ticks := scale.ticks()) > 1 else axis
    kind = alt.Scale(type="log" if scale.log else "linear", domain=[scale.low, scale.high], nice=False, zero=False)
    # d3's "," without a sign: 1,000, never 1k
    return getattr(alt, channel.upper())(f"{field}:Q", title=title, scale=kind, axis=alt.Axis(**{"tickCount": 4, "format": "~g", **axis}))


def waterfall(turn: Turn, width: int) -> Markup:
    """What ran when in one turn: filled is computed, hollow is waited; below, when things had happened."""
    alt = need("altair", extra="page")
    marks = [(name.replace("_", " "), value) for name in Marks.model_fields if (value := getattr(turn.marks_ms, name)) is not None and value > 0]
    spans = sorted(turn.spans, key=lambda span: span.start_ms)
    first_ms = min([0.0, *(span.start_ms for span in spans)])
    last_ms = max([1.0, *(span.start_ms + span.duration_ms for span in spans), *(value for _, value in marks)])
    left, right = (140 if width == WIDE else 100), 56
    scale = Scale(first_ms, last_ms, width - left - right, log=False)
    # the three digits keep equal names apart and are cut off again by the axis
    names = [f"{number:03}{name}" for number, name in enumerate([*(_named(span) for span in spans), *(name for name, _ in marks)])]
    bars = [
        {"y": name, "from": span.start_ms, "to": span.start_ms + max(span.duration_ms, 1.5 / scale.pixels * (last_ms - first_ms)), "kind": span.kind}
        for name, span in zip(names, spans)
    ]
    told = [{"y": bar["y"], "x": bar["to"], "text": f"{ms(span.duration_ms)} ms"} for bar, span in zip(bars, spans)]
    points = [{"y": name, "x": value, "text": f"at {ms(value)} ms"} for name, (_, value) in zip(names[len(spans) :], marks)]
    y = alt.Y("y:N", sort=names, title=None, scale=alt.Scale(domain=names), axis=alt.Axis(labelExpr="slice(datum.label, 3)", labelLimit=left - 8, grid=False))
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
    said = "; ".join([*(f"{_named(span)} from {ms(span.start_ms)} for {ms(span.duration_ms)} ms" for span in spans), *(f"{n} at {ms(v)} ms" for n, v in marks)])
    return render(alt.layer(*layers), f"Waterfall: {said}", width=width, height=height, padding={"left": left, "right": right, "top": 8, "bottom": 44})


def _named(span: Span) -> str:
    return f"{span.name} (wait)" if span.kind == "wait" else span.name


def _fits(one: dict[str, Any], scale: Scale, right: int) -> bool:
    return bool(scale.to_px(one["x"]) + 10 + len(one["text"]) * CHARACTER_PX <= scale.pixels + right)


def distribution(row: Row, points: int) -> Markup:
    """The share of calls that were faster than x, with the percentiles that the number of calls can carry."""
    assert row.samples
    alt = need("altair", extra="page")
    values = np.sort(np.asarray(row.samples.latency_ms))
    ranks = np.unique(np.linspace(0, len(values) - 1, min(points, len(values))).astype(int))
    scale = axis_of([float(values[0]), float(values[-1])])
    curve = [{"x": round(float(values[rank]), 4), "y": round((rank + 1) / len(values), 4)} for rank in ranks]
    told = [(p, v) for p, v in zip(PERCENTILES, (row.latency.p50_ms, row.latency.p90_ms, row.latency.p99_ms)) if v is not None]
    found = [{"x": value, "y": p, "text": f"p{p * 100:.0f}  {ms(value)}"} for p, value in told]
    x, y = quantitative("x", "x", scale, "ms"), quantitative("y", "y", Scale(0, 1.04, 1, log=False), "calls done", values=[0, 0.25, 0.5, 0.75, 1], format=".0%")
    layers = [alt.Chart(data(curve)).mark_line(stroke="var(--model)", strokeWidth=1.8, interpolate="step-after").encode(x=x, y=y)]
    layers.append(alt.Chart(data(found)).mark_point(filled=True, size=34, fill="var(--ink)", opacity=1).encode(x=x, y=y))
    for align, dx in (("left", 7), ("right", -7)):  # where the curve does not run
        side = [one for one in found if (align == "left") == (scale.to_px(one["x"]) < scale.pixels * 0.66)]
        layers.append(alt.Chart(data(side)).mark_text(align=align, dx=dx, dy=5 if align == "left" else -5).encode(x=x, y=y, text="text:N"))
    said = f"Distribution of {row.name}, {len(values)} calls: from {ms(values[0])} to {ms(values[-1])} ms, " + ", ".join(one["text"] for one in found)
    return render(alt.layer(*layers), said, width=SMALL, height=170, padding={"left": 56, "right": 14, "top": 10, "bottom": 40})


def drift(row: Row, points: int) -> Markup:
    """Every call in its order, and the running median; calls that were given up are marked at the top."""
    assert row.samples
    alt = need("altair", extra="page")
    values = np.asarray(row.samples.latency_ms)
    timed = len(row.samples.start_ms) == len(values)
    at = np.asarray(row.samples.start_ms) / 1e3 if timed else np.arange(1, len(values) + 1, dtype=float)
    window = running_window(len(values))
    middle = np.median(np.lib.stride_tricks.sliding_window_view(values, window), axis=1)
    dropped = [moment / 1e3 for moment in row.samples.dropped_ms]
    across = Scale(*_ends([float(at[0]), float(at[-1]), *dropped]), SMALL, log=False)
    scale = axis_of([float(values.min()), float(values.max())])
    x = quantitative("x", "x", across, "s since the first call" if timed else "call")
    y = quantitative("y", "y", scale, "ms")
    kept = thinned(values, points)
    # a line of points with gaps between them: dots, in a hundredth of the space that a mark each would take
    dots = [{"x": round(float(at[i]), 3), "y": y} for i in kept for y in (round(float(values[i]), 4), None)]
    steps = np.unique(np.linspace(0, len(middle) - 1, min(points, len(middle))).astype(int))
    line = [{"x": round(float(at[i + window // 2]), 3), "y": round(float(middle[i]), 4)} for i in steps]
    layers = [alt.Chart(data(dots)).mark_line(stroke="var(--dot)", strokeWidth=2.6, strokeCap="round").encode(x=x, y=y)]
    layers.append(alt.Chart(data(line)).mark_line(stroke="var(--model)", strokeWidth=1.8).encode(x=x, y=y))
    if dropped:
        ticks = [{"x": moment} for moment in dropped[:: max(1, len(dropped) // points)]]
        layers.append(alt.Chart(data(ticks)).mark_tick(stroke="var(--bad)", thickness=1.5, height=10, orient="vertical").encode(x=x, y=alt.value(5)))
    said = f"{row.name} over time, {len(values)} calls: running median from {ms(middle[0])} to {ms(middle[-1])} ms, longest call {ms(values.max())} ms"
    said += f", {len(dropped)} calls given up" if dropped else ""
    return render(alt.layer(*layers), said, width=SMALL, height=170, padding={"left": 56, "right": 14, "top": 10, "bottom": 40})


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
