"""The page of a training: one HTML file that needs no network, with the table of the report, its differences and its curves."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from mmedge.distill.curves import smoothed
from mmedge.distill.report import TRAINED, Arm, Distillation, shown
from mmedge.documents import replace_file
from mmedge.need import need
from mmedge.profile.machine import describe
from mmedge.profile.page import DRAWING, environment
from mmedge.profile.page.figures import SMALL, WIDE, axis_of, data, quantitative
from mmedge.profile.page.numbers import metric
from mmedge.profile.page.svg import render

COLOURS = ("var(--model)", "var(--wait)", "var(--third)", "var(--fourth)", "var(--roof)", "var(--other)")
ROW, HEIGHT = 26, 240
"""Pixels of a row of the table's chart, and of a curve."""
Points = Sequence[tuple[float, float]]


def page(made: Distillation) -> str:
    """The HTML of a report. Raises MmedgeError: the extra ``page`` is not installed."""
    for module in DRAWING:
        need(module, extra="page")
    trained = [arm for arm in made.arms if arm.curve is not None]
    colours = {arm.name: COLOURS[at % len(COLOURS)] for at, arm in enumerate(trained)}
    return (
        environment()
        .get_template("distillation.html.jinja")
        .render(
            title=f"{made.role} of {made.recipe}: {made.judged}",
            made=made,
            schema=made.schema_,
            tiles=_tiles(made),
            others=shown(made),
            rows=[(arm, {figure.name: figure for figure in arm.figures}) for arm in made.arms],
            intervals=(_intervals(made, WIDE), _intervals(made, SMALL)),
            curves=[(title, (_curve(title, lines, colours, WIDE), _curve(title, lines, colours, SMALL))) for title, lines in _lines(made, trained)],
            key=list(colours.items()),
            facts=_facts(made),
        )
    )


def write_page(made: Distillation, path: Path) -> None:
    """Whole or not at all. Raises MmedgeError: the extra ``page`` is not installed, or the file cannot be written."""
    replace_file(path.resolve(), page(made).encode())


def _tiles(made: Distillation) -> list[tuple[str, str, str]]:
    first = made.figure(TRAINED, made.judged)
    tiles = [(metric(first.value), "", made.judged.replace("_", " "))]
    if made.differences:
        least = min(made.differences, key=lambda one: one.value if first.higher_is_better else -one.value)
        tiles.append((f"{least.value:+.3f}", "", f"to {least.to}, on the same samples"))
    tiles.append((f"{made.arms[0].parameters / 1e6:.2f}", "M", f"parameters, {made.arms[0].trained_parameters / 1e6:.2f} M trained"))
    return [*tiles, (f"{made.seconds:.0f}", "s", "for all rows; what was there is not done again")]


def _facts(made: Distillation) -> list[tuple[str, str]]:
    packages = ", ".join(f"{name} {version}" for name, version in made.packages.items())
    return [("data", f"{made.data}, sha256 {made.fingerprint}"), ("ended", made.created), ("packages", packages), ("machine", describe(made.machine))]


def _intervals(made: Distillation, width: int) -> Markup:
    """Each row's figure, with its interval as a bar through it."""
    alt = need("altair", extra="page")
    found = [(f"{at:03}{arm.name}", figure) for at, arm in enumerate(made.arms) for figure in arm.figures if figure.name == made.judged]
    values: list[dict[str, Any]] = [
        {"name": name, "value": one.value, "low": one.low, "high": one.high, "colour": "var(--model)" if name[3:] == TRAINED else "var(--other)"}
        for name, one in found
        if one.value is not None
    ]
    padding = {"left": 170 if width == WIDE else 110, "right": 20, "top": 6, "bottom": 40}
    scale = axis_of(min(one["low"] for one in values), max(one["high"] for one in values), width - padding["left"] - padding["right"])
    y = alt.Y("name:N", title=None, sort=None, axis=alt.Axis(labelExpr="slice(datum.label, 3)", labelLimit=padding["left"] - 8, grid=False))
    x, colour = quantitative("x", "value", scale, made.judged), {"scale": None}
    bars = alt.Chart(data(values)).mark_rule(strokeWidth=2).encode(y=y, x=quantitative("x", "low", scale, made.judged), x2="high:Q")
    dots = alt.Chart(data(values)).mark_point(filled=True, size=70, opacity=1).encode(y=y, x=x, fill=alt.Fill("colour:N", **colour))
    said = "; ".join(f"{one['name'][3:]} {metric(one['value'])}, {metric(one['low'])} to {metric(one['high'])}" for one in values)
    chart = alt.layer(bars.encode(stroke=alt.Stroke("colour:N", **colour)), dots)
    return render(chart, f"{made.judged} of every row: {said}", width=width, height=ROW * len(values) + padding["top"] + padding["bottom"], padding=padding)


def _lines(made: Distillation, trained: Sequence[Arm]) -> list[tuple[str, dict[str, Points]]]:
    """Title -> what was trained -> its points."""
    loss: dict[str, Points] = {arm.name: smoothed([(one.step, one.loss) for one in arm.curve.loss]) for arm in trained if arm.curve}
    looked: dict[str, Points] = {arm.name: [(one.step, one.value) for one in arm.curve.validation] for arm in trained if arm.curve and arm.curve.validation}
    named: dict[str, dict[str, Points]] = {"loss, smoothed": loss, f"validation, {made.judged}": looked}
    return [(title, lines) for title, lines in named.items() if lines]


def _curve(title: str, lines: dict[str, Points], colours: dict[str, str], width: int) -> Markup:
    alt = need("altair", extra="page")
    padding = {"left": 56, "right": 16, "top": 10, "bottom": 40}
    across = axis_of(0, max(step for points in lines.values() for step, _ in points), width)
    every = [value for points in lines.values() for _, value in points]
    x, y = quantitative("x", "step", across, "step", format="d"), quantitative("y", "value", axis_of(min(every), max(every), HEIGHT), None)
    layers: list[Any] = []
    for name, points in lines.items():
        shape = alt.Chart(data([{"step": step, "value": value} for step, value in points]))
        drawn = shape.mark_line(stroke=colours[name], strokeWidth=1.8) if len(points) > 1 else shape.mark_point(stroke=colours[name])
        layers.append(drawn.encode(x=x, y=y))
    said = "; ".join(f"{name} from {metric(points[0][1])} to {metric(points[-1][1])} after step {points[-1][0]}" for name, points in lines.items())
    return render(alt.layer(*layers), f"{title}: {said}", width=width, height=HEIGHT + padding["top"] + padding["bottom"], padding=padding)
