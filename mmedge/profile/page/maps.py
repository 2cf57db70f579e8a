"""The charts with labelled points: the roofline, the candidates, and targets side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from mmedge.need import need
from mmedge.profile.page.figures import SMALL, WIDE, data, quantitative
from mmedge.profile.page.labels import ALIGNS, Label, Scale, place
from mmedge.profile.page.numbers import ms
from mmedge.profile.page.svg import render
from mmedge.profile.report import Roof, Row, Trial
from mmedge.profile.table import cut

FAMILY = (("circle", "●", "var(--model)"), ("diamond", "◇", "var(--wait)"), ("square", "□", "var(--third)"), ("triangle-up", "△", "var(--fourth)"))
"""Of targets: shape, the same as a character, and colour (Okabe and Ito's blue, orange, green and purple, in a light and a dark form)."""
LABEL = 26
"""The most characters of a name beside a point."""


def roofline(rows: Sequence[tuple[Row, Roof]], width: int) -> Markup:
    """What each graph reached, under what this machine was measured to be able to do (both axes logarithmic)."""
    alt = need("altair", extra="page")
    padding = {"left": 56, "right": 16, "top": 12, "bottom": 42}
    height = 420 if width == WIDE else 360
    reached = [(roof.flops / roof.bytes, roof.flops / row.latency.p50_ms / 1e6) for row, roof in rows]
    limits = [min(roof.gflops_s, x * roof.gb_s) for (x, _), (_, roof) in zip(reached, rows)]
    ridges = [roof.gflops_s / roof.gb_s for _, roof in rows]
    across = Scale(min(x for x, _ in reached) / 2.5, max([*(x for x, _ in reached), *ridges]) * 3, width - padding["left"] - padding["right"])
    up = Scale(min(y for _, y in reached) / 2.5, max(roof.gflops_s for _, roof in rows) * 1.8, height - padding["top"] - padding["bottom"])
    x, y = quantitative("x", "x", across, "FLOP for each byte that must move"), quantitative("y", "y", up, "GFLOP/s")
    lines, told = _roofs(rows, across, up)
    layers = [alt.Chart(data(line)).mark_line(stroke="var(--roof)", strokeWidth=1.5).encode(x=x, y=y) for line in lines]
    gaps = [{"x": x, "y": y, "limit": limit} for (x, y), limit in zip(reached, limits)]
    layers.append(alt.Chart(data(gaps)).mark_rule(stroke="var(--muted)", strokeDash=[2, 3]).encode(x=x, y=y, y2="limit:Q"))
    layers.append(alt.Chart(data(gaps)).mark_point(shape="stroke", size=160, stroke="var(--roof)", strokeWidth=3, opacity=1).encode(x=x, y="limit:Q"))
    layers.append(alt.Chart(data(gaps)).mark_point(filled=True, size=70, fill="var(--model)", opacity=1).encode(x=x, y=y))
    pixels = [(across.to_px(x), up.to_px(y)) for x, y in reached]
    texts = [f"{cut(row.name, LABEL)} {_percent(roof)}" for row, roof in rows]
    obstacles = [(across.to_px(x), up.to_px(limit)) for (x, _), limit in zip(reached, limits)]
    labels = place([*pixels, *obstacles], texts, across.pixels, up.pixels)
    for align in ALIGNS:
        side = [{"x": across.from_px(label.x), "y": up.from_px(label.y), "text": label.text} for label in [*labels, *told] if label.align == align]
        layers.append(alt.Chart(data(side)).mark_text(align=align).encode(x=x, y=y, text="text:N"))
    said = "; ".join(f"{row.name}: {ms(y)} GFLOP/s of {ms(limit)}, {_percent(roof)}" for (row, roof), (_, y), limit in zip(rows, reached, limits))
    return render(alt.layer(*layers), f"Roofline. {said}", width=width, height=height, padding=padding)


def _percent(roof: Roof) -> str:
    return "(roof not certain)" if roof.percent is None else f"{roof.percent:.0f} %"


def _roofs(rows: Sequence[tuple[Row, Roof]], across: Scale, up: Scale) -> tuple[list[list[dict[str, float]]], list[Label]]:
    """The outermost roofs: each precision's computing, and the widest and the narrowest path to memory; with their labels."""
    flat = {f"{cut(row.where, LABEL)}: {ms(roof.gflops_s)} GFLOP/s": roof.gflops_s for row, roof in rows}
    paths = sorted({roof.gb_s for _, roof in rows})
    top = max(flat.values())
    lines, told = [], []
    for text, height in flat.items():
        lines.append([{"x": height / paths[-1], "y": height}, {"x": across.high, "y": height}])
        told.append(Label(text, across.pixels, up.to_px(height) + 9, "right"))
    for path in dict.fromkeys((paths[-1], paths[0])):
        from_x = max(across.low, up.low / path)
        lines.append([{"x": from_x, "y": from_x * path}, {"x": top / path, "y": top}])
        x, y = across.to_px(from_x), up.to_px(from_x * path)
        told.append(Label(f"{ms(path)} GB/s", x + 16, y + 4, "left"))  # under the line, which rises
    return lines, told


def candidates(trials: Sequence[Trial]) -> Markup:
    """One graph's candidates: how fast and how far from golden. Those that nothing beats in both are joined, the chosen one is filled."""
    alt = need("altair", extra="page")
    padding = {"left": 56, "right": 14, "top": 12, "bottom": 42}
    times, drifts = [trial.median_ms for trial in trials], [trial.drift for trial in trials]
    across = Scale(min(times) * 0.8, max(times) * 1.25, SMALL - 70)
    up = Scale(-0.06 * max(drifts, default=1.0) - 0.02, max(1.0, *drifts) * 1.12, 210 - 54, log=False)
    x, y = quantitative("x", "x", across, "median, ms"), quantitative("y", "y", up, "drift / its bound")
    fastest = sorted((trial for trial in trials if trial.drift <= 1), key=lambda trial: (trial.median_ms, trial.drift))
    front = [trial for i, trial in enumerate(fastest) if all(trial.drift < other.drift for other in fastest[:i])]
    points: list[dict[str, Any]] = [{"x": trial.median_ms, "y": trial.drift, "fill": "var(--model)" if trial.chosen else "var(--page)"} for trial in trials]
    layers = [alt.Chart(data([{"y": 1.0}])).mark_rule(stroke="var(--bad)", strokeDash=[4, 3]).encode(y=y)]
    line = [{"x": trial.median_ms, "y": trial.drift} for trial in front]
    layers.append(alt.Chart(data(line)).mark_line(stroke="var(--dot)", strokeWidth=2).encode(x=x, y=y))
    fill = alt.Fill("fill:N", scale=None)
    layers.append(alt.Chart(data(points)).mark_point(size=70, stroke="var(--model)", strokeWidth=1.6, opacity=1).encode(x=x, y=y, fill=fill))
    pixels = [(across.to_px(point["x"]), up.to_px(point["y"])) for point in points]
    labels = place(pixels, [cut(f"{trial.backend} {trial.precision}", LABEL) for trial in trials], across.pixels, up.pixels)
    for align in ALIGNS:
        side = [{"x": across.from_px(label.x), "y": up.from_px(label.y), "text": label.text} for label in labels if label.align == align]
        layers.append(alt.Chart(data(side)).mark_text(align=align).encode(x=x, y=y, text="text:N"))
    said = "; ".join(f"{t.backend} {t.precision} {ms(t.median_ms)} ms, drift {t.drift:.2f} of its bound{', chosen' if t.chosen else ''}" for t in trials)
    return render(alt.layer(*layers), f"Candidates for {trials[0].graph}: {said}", width=SMALL, height=210, padding=padding)


def side_by_side(rows: Mapping[str, Sequence[Row | None]], width: int) -> Markup:
    """The medians of several targets on one logarithmic axis; a shape and a colour for each target. Only what is above zero has a place there."""
    alt = need("altair", extra="page")
    left = 210 if width == WIDE else 128
    padding = {"left": left, "right": 16, "top": 6, "bottom": 42}
    targets = [[{"y": name, "x": row.latency.p50_ms} for name, row in zip(rows, column) if row] for column in zip(*rows.values())]
    times = [point["x"] for points in targets for point in points]
    scale = Scale(min(times) / 1.4, max(times) * 1.4, width - left - 16)
    y = alt.Y("y:N", sort=list(rows), title=None, scale=alt.Scale(domain=list(rows)), axis=alt.Axis(labelLimit=left - 26, grid=True))
    x, title = quantitative("x", "x", scale, "median, ms"), "median, ms"
    spread = [{"y": name, "low": min(found), "high": max(found)} for name, row in rows.items() if (found := [one.latency.p50_ms for one in row if one])]
    layers = [alt.Chart(data(spread)).mark_rule(stroke="var(--rule)", strokeWidth=2).encode(y=y, x=quantitative("x", "low", scale, title), x2="high:Q")]
    for number, points in enumerate(targets):
        shape, _, colour = FAMILY[number % len(FAMILY)]
        look = {"filled": True, "fill": colour} if number == 0 else {"stroke": colour, "strokeWidth": 2}
        layers.append(alt.Chart(data(points)).mark_point(shape=shape, size=50 if number == 0 else 80, opacity=1, **look).encode(y=y, x=x))
    height = 22 * len(rows) + 48
    said = "; ".join(f"{name}: {', '.join(ms(row.latency.p50_ms) if row else 'none' for row in found)} ms" for name, found in rows.items())
    return render(alt.layer(*layers), f"Medians of the targets. {said}", width=width, height=height, padding=padding)
