"""Figures as the page prints them: three digits that count, units in the headings, a dash where the system did not tell."""

from __future__ import annotations

import re

from markupsafe import Markup, escape

from mmedge.profile.table import short

DASH = "–"


def ms(value: float | None) -> str:
    """Milliseconds, or any figure: ``0.142``, ``8.40``, ``58.2``, ``757``."""
    return DASH if value is None else short(value)


def interval(bounds: tuple[float, float]) -> str:
    return f"{short(bounds[0])}–{short(bounds[1])}"


def metric(value: float | None) -> str:
    """Of a task: ``0.812``, ``23.4``."""
    return DASH if value is None else f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"


def share(value: float | None) -> str:
    """0.0123 -> ``1.2 %``."""
    return DASH if value is None else f"{100 * value:.1f} %"


def whole(value: float | None) -> str:
    return DASH if value is None else f"{value:.0f}"


def scaled(value: float, unit: str) -> str:
    """5.9e9 FLOP -> ``5.90 GFLOP``."""
    for factor, prefix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= factor:
            return f"{short(value / factor)} {prefix}{unit}"
    return f"{value:.0f} {unit}"


def breakable(name: str) -> Markup:
    """A dotted or joined name that may go on in the next line after each of its parts."""
    return Markup("<wbr>").join(escape(part) for part in re.findall(r"[^/._]*[/._]|[^/._]+", name))
