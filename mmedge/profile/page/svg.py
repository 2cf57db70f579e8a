"""A Vega-Lite chart as a small piece of SVG whose colours are the page's own."""

from __future__ import annotations

import re
from typing import Any
from xml.etree import ElementTree

from markupsafe import Markup

from mmedge.need import need

TEXT_PX = 11
CHARACTER_PX = 6.1
"""About the mean width of a character: to keep labels apart."""
CONFIG = {
    "aria": False,  # one text alternative for a chart, instead of a sentence for every mark
    "background": None,
    "view": {"stroke": None},
    "axis": {
        "domain": False,
        "ticks": False,
        "gridColor": "var(--grid)",
        "labelColor": "var(--muted)",
        "labelFontSize": TEXT_PX,
        "labelPadding": 5,
        "labelBound": False,
        "labelOverlap": False,
        "titleColor": "var(--muted)",
        "titleFontSize": TEXT_PX,
        "titleFontWeight": "normal",
        "titlePadding": 4,
    },
    "text": {"fill": "var(--ink)", "fontSize": TEXT_PX},
}
DROPPED = {"class", "role", "pointer-events", "font-family", "version", "stroke-miterlimit"}
PLAIN = {"opacity": "1", "stroke-width": "1", "transform": "translate(0,0)", "x2": "0", "y2": "0", "font-weight": "normal"}
"""What an attribute is without being written."""
NOTHING = {"", "M0,0h0v0h0Z"}


def render(chart: Any, text: str, *, width: int, height: int, padding: dict[str, int]) -> Markup:
    """Draw a chart.

    Args:
        chart: of Altair; its colours may be CSS variables.
        text: what it shows, in a sentence, for those who do not see it.
        width: of the whole drawing with its padding, pixels. So is ``height``.

    Raises:
        MmedgeError: vl-convert is not installed.
    """
    spec = chart.to_dict(validate=False)
    inner = {"width": width - padding["left"] - padding["right"], "height": height - padding["top"] - padding["bottom"]}
    spec.update(inner, padding=padding, autosize={"type": "none"}, config=CONFIG)
    return slim(need("vl_convert", extra="page").vegalite_to_svg(spec), text)


def slim(drawn: str, text: str) -> Markup:
    """Vega's SVG at a fifth of its size: what is invisible goes, a tenth of a pixel is exact enough."""
    root = ElementTree.fromstring(drawn)
    size = {key: root.get(key, "") for key in ("width", "height", "viewBox")}
    made = ElementTree.Element("svg", {**size, "role": "img", "aria-label": text})
    made.extend(kept for child in root for kept in _kept(child))
    return Markup(ElementTree.tostring(made, encoding="unicode"))


def _kept(element: ElementTree.Element) -> list[ElementTree.Element]:
    tag = element.tag.rpartition("}")[2]
    given = {key: _short(value) for key, value in element.items() if key not in DROPPED and not key.startswith("aria-")}
    given = {key: value for key, value in given.items() if PLAIN.get(key) != value}
    inside = [kept for child in element for kept in _kept(child)]
    invisible = given.get("display") == "none" or given.get("opacity") == "0" or (tag == "path" and given.get("d", "") in NOTHING)
    if invisible or (tag == "g" and not inside) or (tag == "text" and not element.text):
        return []
    if tag == "g" and not given:
        return inside
    made = ElementTree.Element(tag, given)
    made.text = element.text
    made.extend(inside)
    return [made]


def _short(value: str) -> str:
    return re.sub(r"-?\d+\.\d+", lambda found: f"{round(float(found[0]), 1) + 0.0:g}", value)
