"""The page of a profile: one HTML file that needs no network, to be shown in a review.

The charts are drawn when the page is written: Vega-Lite (through Altair) rendered to SVG by vl-convert, with the page's CSS variables as colours. Vega's own
scripts in the page would be 0.9 MB, draw nothing where scripts are off, and print what fits the screen; the drawings are 3 to 9 kB each, sharp on paper,
and follow light and dark. Bars are cells of tables: long names of operators wrap there, and can be read, copied and heard.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from mmedge.documents import replace_file
from mmedge.manifest import Quantized
from mmedge.need import need
from mmedge.profile.estimates import CLAIMABLE
from mmedge.profile.page import numbers
from mmedge.profile.page.figures import SMALL, WIDE
from mmedge.profile.page.maps import FAMILY, side_by_side
from mmedge.profile.page.quantized import views
from mmedge.profile.page.view import View, clamp, few, levels, shaped
from mmedge.profile.report import Report, Row
from mmedge.profile.rows import keyed, title
from mmedge.profile.table import MARK

SECTIONS = (
    "One turn",
    "Latency",
    "Distributions",
    "Over time",
    "Where the time goes",
    "Operators",
    "Roofline",
    "Candidates",
    "Start and memory",
    "Machine",
    "What exactly ran",
)
DRAWING = ("altair", "vl_convert")
DOTS = 24_000
"""Of all charts together: what keeps a page of many targets under 2 MB."""


def page(reports: Sequence[Report], not_run: Sequence[str] = ()) -> str:
    """The HTML of one or several targets.

    Args:
        not_run: targets that were asked for and could not be measured, each with its reason.

    Raises:
        MmedgeError: the extra ``page`` is not installed.
    """
    for module in DRAWING:
        need(module, extra="page")
    sampled = sum(row.samples is not None for report in reports for row in report.rows)
    points = max(40, min(400, DOTS // max(1, sampled)))
    bundles = list(dict.fromkeys(report.bundle for report in reports))
    shown = [View(report, _named(report, reports), points) for report in reports]
    beside = _beside(reports) if len(reports) > 1 else []
    return (
        environment()
        .get_template("page.html.jinja")
        .render(
            title=f"{', '.join(bundles)}: profile on {', '.join(view.name for view in shown)}",
            bundles=bundles,
            not_run=not_run,
            views=shown,
            points=points,
            beside=beside,
            beside_figure=_drawn(beside),
            looks=FAMILY,
            schema=Report.model_fields["schema_"].default,
            sections=SECTIONS,
            least=CLAIMABLE,
            mark=MARK,
            show=numbers,
        )
    )


def write_page(reports: Sequence[Report], path: Path, not_run: Sequence[str] = ()) -> None:
    """Write the page, whole or not at all; through a link, to where it leads.

    Raises:
        MmedgeError: the extra ``page`` is not installed, or the file cannot be written.
    """
    replace_file(path.resolve(), page(reports, not_run).encode())


def write_pareto(bundle: str, target: str, quantized: Mapping[str, Quantized], path: Path) -> None:
    """Write the page of what ``mmedge quantize`` found on a target: each graph's Pareto set, whole or not at all.

    Args:
        quantized: role -> what was found for its model.

    Raises:
        MmedgeError: as ``write_page``.
    """
    for module in DRAWING:
        need(module, extra="page")
    made = environment().get_template("choice.html.jinja")
    text = made.render(title=f"{bundle}: candidates on {target}", bundle=bundle, target=target, views=views(quantized))
    replace_file(path.resolve(), text.encode())


def _named(report: Report, reports: Sequence[Report]) -> str:
    """The target, with what else is needed to tell it from the others."""
    alike = [other for other in reports if other.target == report.target]
    parts = [report.target]
    if len({other.bundle for other in alike}) > 1:
        parts.append(report.bundle)
    if len({other.made for other in alike}) > 1:
        parts.append(report.made)
    return ", ".join(parts)


def _beside(reports: Sequence[Report]) -> list[tuple[str, list[Row | None]]]:
    """What a row is called, and that row of each report, or None."""
    found = [keyed(report) for report in reports]
    keys = list(dict.fromkeys(key for rows in found for key in rows))
    return [(title(keys, key), [rows.get(key) for rows in found]) for key in keys]


def _drawn(beside: Sequence[tuple[str, list[Row | None]]]) -> tuple[Markup, Markup] | None:
    """Stages are left out: the turns' marks tell as much; so is what is not above zero, since the axis is logarithmic."""
    shown = {
        name.replace("end of speech ->", "→"): [row if row and row.latency.p50_ms > 0 else None for row in rows]
        for name, rows in beside
        if any(row and row.level != "stage" and row.latency.p50_ms > 0 for row in rows)
    }
    return (side_by_side(shown, WIDE), side_by_side(shown, SMALL)) if shown else None


def environment() -> Environment:
    """Of all pages: their frame, their style, and how figures are printed."""
    made = Environment(loader=FunctionLoader(_text), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    filters = {name: getattr(numbers, name) for name in ("ms", "metric", "interval", "share", "whole", "scaled", "breakable")}
    made.globals.update(css=Markup(_text("page.css")), js=Markup(_text("page.js")), dash=numbers.DASH)
    made.filters.update(filters, clamp=clamp, few=few, levels=levels, shaped=shaped)
    return made


def _text(name: str) -> str:
    return (resources.files(__package__) / name).read_text(encoding="utf-8")
