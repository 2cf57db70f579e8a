"""The losses of a report as a picture of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmedge.distill.report import Arm, Distillation
from mmedge.need import need

WIDTH, HEIGHT = 640, 300
COLOURS = ("#0b6e99", "#c0561f", "#4d7c2f", "#8a4fa3", "#6b6b6b", "#b0892a")
SMOOTH = 0.9
"""Of the running mean over the points that are kept: single batches differ more than the curve falls."""


def curves(made: Distillation) -> str:
    """SVG: each training's loss over its steps, and below it what validation gave, where it was looked at.

    Raises:
        MmedgeError: Altair or vl-convert is not installed.
    """
    alt = need("altair", extra="page")
    trained = [arm for arm in made.arms if arm.curve is not None]
    charts = [_chart(alt, "loss", [(arm, smoothed([(one.step, one.loss) for one in arm.curve.loss])) for arm in trained if arm.curve])]
    looked = [(arm, [(one.step, one.value) for one in arm.curve.validation]) for arm in trained if arm.curve and arm.curve.validation]
    if looked:
        charts.append(_chart(alt, f"validation, {made.judged}", looked))
    spec = alt.vconcat(*charts).properties(background="white").to_dict(validate=False)
    return str(need("vl_convert", extra="page").vegalite_to_svg(spec))


def _chart(alt: Any, title: str, lines: Sequence[tuple[Arm, Sequence[tuple[int, float]]]]) -> Any:
    values = [{"step": step, "value": value, "arm": arm.name} for arm, points in lines for step, value in points]
    names = [arm.name for arm, _ in lines]
    colour = alt.Color("arm:N", title=None, scale=alt.Scale(domain=names, range=[COLOURS[at % len(COLOURS)] for at in range(len(names))]), sort=names)
    return (
        alt.Chart(alt.Data(values=values))
        .mark_line(point=len(values) < 30 * len(names))
        .encode(x=alt.X("step:Q", title="step"), y=alt.Y("value:Q", title=title, scale=alt.Scale(zero=False)), color=colour)
        .properties(width=WIDTH, height=HEIGHT)
    )


def smoothed(points: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
    """The running mean of (step, value)."""
    found, mean = [], 0.0
    for at, (step, value) in enumerate(points, 1):
        mean = SMOOTH * mean + (1 - SMOOTH) * value
        found.append((step, mean / (1 - SMOOTH**at)))  # without the pull of the zero that it began with
    return found
