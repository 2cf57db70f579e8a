"""How the page of a profile looks in a browser, and what its buttons do."""

from __future__ import annotations

import io

import browser
import pytest
from made import cut_down, made_report
from PIL import Image

from mmedge.profile.page import write_page
from mmedge.profile.table import short

pytestmark = pytest.mark.full


@pytest.fixture(scope="module")
def chromium():
    """The one place where a browser may be missing: these tests are then skipped."""
    if not browser.found():
        pytest.skip(browser.MISSING)
    opened = browser.Browser()
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    long = cut_down(made_report("a-target-whose-name-has-no-end-" + "x" * 200))
    row = long.rows[0].model_copy(update={"name": "n" * 300 + "|", "where": "w" * 300})
    long = long.model_copy(update={"bundle": "b" * 200, "rows": (row, *long.rows[1:]), "not_run": ("r" * 300,)})
    write_page([made_report()], folder / "one.html")
    write_page([cut_down(made_report()), long], folder / "long.html")
    return folder


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("name", ["one", "long"])
def test_it_shows_in_a_browser(chromium, written, name, width, scheme):
    chromium.open(written / f"{name}.html", width=width, scheme=scheme)
    assert chromium.complaints() == []
    assert chromium.evaluate("document.scrollingElement.scrollWidth") <= width
    assert chromium.evaluate("[...document.querySelectorAll('svg')].filter(one => one.getBoundingClientRect().width).length") > 15
    with Image.open(io.BytesIO(chromium.screenshot(4000))) as shot:
        colours = shot.convert("RGB").getcolors(1 << 24)
        most, ground = max(colours)
    assert (sum(ground) > 600) == (scheme == "light")
    assert most < 0.97 * shot.width * shot.height and len(colours) > 500


def test_the_button_turns_the_scheme(chromium, written):
    chromium.open(written / "one.html", scheme="dark")
    ground = "getComputedStyle(document.body).backgroundColor"
    before = chromium.evaluate(ground)
    chromium.evaluate("document.getElementById('scheme').click()")
    assert (before, chromium.evaluate(ground)) == ("rgb(18, 22, 28)", "rgb(255, 255, 255)")
    chromium.evaluate("document.getElementById('scheme').click()")
    assert chromium.evaluate(ground) == before


COPIED = {
    "clipboard": "Object.defineProperty(navigator, 'clipboard', {value: {writeText: async (text) => { window.got = text; }}})",
    "selection": """Object.defineProperty(navigator, 'clipboard', {value: undefined});
        document.execCommand = (what) => { window.got = document.activeElement.value; return what === 'copy'; }""",
    "by hand": """Object.defineProperty(navigator, 'clipboard', {value: undefined}); document.execCommand = () => false;
        document.querySelector('dialog').showModal = function () { this.show(); window.got = this.querySelector('textarea').value; }""",
}


DOUBTFUL = {"eyes/text_encoder": "drifting", "eyes.classify": "unstable"}
"""Row of the made report -> its word; of the last two, whose own calls were stable, since its processes are 8 % apart in a graph of the same model."""


@pytest.mark.parametrize("way", COPIED)
def test_the_copied_markdown_is_the_table(chromium, written, way):
    chromium.open(written / "long.html")
    chromium.evaluate(COPIED[way])
    chromium.evaluate("document.querySelectorAll('table.latency')[1].closest('section').querySelector('button.copy').click()")
    got = chromium.evaluate("new Promise((done) => setTimeout(() => done(window.got), 50))")
    head, rule, *lines = got.splitlines()
    assert head == "| Name | Level | p50 ms | p90 ms | p99 ms | Calls | Verdict | Where, or given what |"
    assert rule == "| --- | --- | ---: | ---: | ---: | ---: | --- | --- |"
    rows = cut_down(made_report()).rows
    assert len(lines) == len(rows)
    for line, row in zip(lines, rows):
        cells = line.strip("| ").split(" | ")
        low, high = row.latency.p50_interval_ms
        assert cells[0] == (row.name if row is not rows[0] else "n" * 300 + "\\|")
        assert cells[1] == row.level
        assert cells[2].replace("~", "") == f"{short(row.latency.p50_ms)} ({short(low)}–{short(high)})"
        assert ("~" in cells[2]) == (row.name in DOUBTFUL)
        assert cells[4].startswith(short(row.latency.p99_ms)) if row.latency.p99_ms else cells[4] == "withheld"
        assert cells[5:7] == [str(row.latency.n), DOUBTFUL.get(row.name, "stable")]


def test_it_prints_light_and_nothing_is_cut_off(chromium, written):
    chromium.open(written / "one.html", width=700, scheme="dark")
    chromium.call("Emulation.setEmulatedMedia", media="print", features=[{"name": "prefers-color-scheme", "value": "dark"}])
    assert chromium.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert chromium.evaluate("document.scrollingElement.scrollWidth") <= 700
    cut = "[...document.querySelectorAll('svg, table')].filter(one => one.getBoundingClientRect().right > 701).length"
    assert chromium.evaluate(cut) == 0
    assert chromium.evaluate("getComputedStyle(document.querySelector('article')).breakBefore") == "page"
    assert chromium.pdf().startswith(b"%PDF")
