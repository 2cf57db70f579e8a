"""Figures as the page prints them: three digits that count, units in the headings, a dash where the system did not tell."""

from __future__ import annotations

DASH = "–"


def ms(value: float | None) -> str:
    """Milliseconds, or any figure: ``0.142``, ``8.40``, ``58.2``, ``757``."""
    if value is None:
        return DASH
    size = abs(value)
    return f"{value:.{0 if size >= 99.95 else 1 if size >= 9.995 else 2 if size >= 0.9995 else 3}f}"


def interval(bounds: tuple[float, float] | None) -> str:
    return f"{ms(bounds[0])}–{ms(bounds[1])}" if bounds else ""


def share(value: float | None) -> str:
    """0.0123 -> ``1.2 %``."""
    return DASH if value is None else f"{100 * value:.1f} %"


def whole(value: float | None) -> str:
    return DASH if value is None else f"{value:.0f}"


def scaled(value: float, unit: str) -> str:
    """5.9e9 FLOP -> ``5.90 GFLOP``."""
    for factor, prefix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= factor:
            return f"{ms(value / factor)} {prefix}{unit}"
    return f"{value:.0f} {unit}"
