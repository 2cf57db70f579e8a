"""The page of a profile: what is on it, and that nothing gets out of it."""

from __future__ import annotations

import json
import re
import sys
from html.parser import HTMLParser
from itertools import pairwise

import numpy as np
import pytest
from made import cut_down, made_latency, made_machine, made_report

from mmedge.errors import MmedgeError
from mmedge.profile.page import SECTIONS, page, write_page
from mmedge.profile.page.figures import outside, seen, thinned
from mmedge.profile.page.labels import Scale, place
from mmedge.profile.report import Report, Row, Samples, Verdict
from mmedge.profile.table import short

LIMIT = 2_000_000
VOID = {"meta", "link", "br", "wbr", "hr", "img", "input"}
HOSTILE = '"><img src=x onerror=alert(1)></style></script><script>alert(2)</script>{{ 7 * 7 }} |\\'


class Parsed(HTMLParser):
    """Tags with their attributes, the text under each, and whether every one is closed in its turn."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == [], f"never closed: {self._open}"

    def handle_starttag(self, tag, attrs):
        assert len({name for name, _ in attrs}) == len(attrs), f"an attribute twice: {tag} {attrs}"
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self._open and self._open[-1] == tag, f"</{tag}> closes {self._open[-3:]}"
        self._open.pop()

    def handle_data(self, data):
        self.texts.append((self._open[-1] if self._open else "", data))

    def named(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]


@pytest.fixture(scope="module")
def text():
    return page([cut_down(made_report())])


@pytest.fixture(scope="module")
def parsed(text):
    return Parsed(text)


def test_every_tag_is_closed_and_every_id_is_there_once(parsed):
    ids = [attrs["id"] for _, attrs in parsed.tags if "id" in attrs]
    assert len(set(ids)) == len(ids)
    assert {attrs["href"].removeprefix("#") for attrs in parsed.named("a")} <= set(ids)


def test_nothing_comes_from_anywhere(text, parsed):
    assert "://" not in text and "@import" not in text and "url(" not in text
    assert not [attrs for _, attrs in parsed.tags if "src" in attrs]
    assert {attrs["href"] for attrs in parsed.named("link")} == {"data:,"}


def test_every_section_is_there(parsed):
    assert [data for tag, data in parsed.texts if tag == "h3"] == list(SECTIONS)


def test_charts_and_tables_can_be_read_without_being_seen(parsed):
    for attrs in parsed.named("svg"):
        assert attrs["role"] == "img" and len(attrs["aria-label"]) > 20
    assert all("scope" in attrs for attrs in parsed.named("th"))
    levels = [int(tag[1]) for tag, _ in parsed.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(below <= above + 1 for above, below in pairwise(levels))
    told = next(attrs["aria-label"] for attrs in parsed.named("svg") if attrs["aria-label"].startswith("Waterfall"))
    assert "mind, a model, from 525 for 7.70 ms" in told and "first audio at 629 ms" in told


def test_colours_can_be_told_from_the_page_they_lie_on():
    """WCAG 2.2: 4.5 to 1 for text, 3 to 1 for what a chart is drawn with."""
    from mmedge.profile.page import _text

    found = {name: (light, dark) for name, light, dark in re.findall(r"--(\w+): light-dark\((#\w+), (#\w+)\);", _text("page.css"))}

    def luminance(colour):
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear))

    def contrast(one, other):
        high, low = sorted((luminance(one), luminance(other)), reverse=True)
        return (high + 0.05) / (low + 0.05)

    assert contrast("#ffffff", "#000000") == pytest.approx(21)
    for scheme in (0, 1):
        for ground in ("page", "panel"):
            for name in ("ink", "muted", "model", "good", "warn", "bad"):
                assert contrast(found[name][scheme], found[ground][scheme]) >= 4.5, (name, ground, scheme)
        for name in ("model", "wait", "third", "fourth", "roof", "other"):
            assert contrast(found[name][scheme], found["page"][scheme]) >= 3, (name, scheme)


def test_withheld_percentiles_say_so_and_say_why(text):
    report = cut_down(made_report())
    assert any(row.latency.p90_ms is None for row in report.rows)
    latency = text[text.index('table class="latency"') : text.index('id="target-1-distributions"')]
    assert latency.count(">withheld<") == sum((row.latency.p90_ms, row.latency.p99_ms).count(None) for row in report.rows)
    assert "withheld below 64 calls, a 99th below 662" in text


def test_a_figure_of_a_run_that_was_not_stable_is_marked_wherever_it_is(text):
    row = next(row for row in made_report().rows if row.name == "eyes/text_encoder")
    p50 = short(row.latency.p50_ms)
    cells = re.findall(rf">{re.escape(p50)}(?![\d.])(<span class=\"doubt\")?", text)
    assert len(cells) >= 2 and all(cells)
    stable = short(next(row for row in made_report().rows if row.name == "vad/vad").latency.p50_ms)
    assert f">{stable}<span" not in text
    assert "the median rose by 14 %" in text


def _with_hostile_words(value, key=""):
    kept, named = {"level", "word", "bound", "mode", "arrivals", "schema"}, key in ("executed", "packages", "shapes", "p50_ms")
    if isinstance(value, dict):
        return {(HOSTILE + name if named else name): _with_hostile_words(one, name) for name, one in value.items()}
    if isinstance(value, list):
        return [_with_hostile_words(one, key) for one in value]
    return HOSTILE + value if isinstance(value, str) and key not in kept and value not in ("model", "wait") else value


def test_hostile_names_stay_text(parsed):
    report = cut_down(made_report())
    report = report.model_copy(update={"rows": (report.rows[0], *(row.model_copy(update={"samples": None}) for row in report.rows[1:]))})
    changed = Report.model_validate(_with_hostile_words(json.loads(report.model_dump_json(by_alias=True))))
    text = page([changed, changed.model_copy(update={"rows": changed.rows[1:2], "turn": None, "trials": ()})])
    plain = {tag for tag, _ in parsed.tags} | {"i"}  # of the key to several targets
    parsed = Parsed(text)
    assert {tag for tag, _ in parsed.tags} == plain
    assert len(parsed.named("script")) == 1
    assert not [attrs for _, attrs in parsed.tags if any(name.startswith("on") for name in attrs)]
    assert "49 |" not in text
    joined = "".join(data for tag, data in parsed.texts if tag != "script")
    for said in ("assistant-mini", "cpu", "eyes.classify", "What do you see?", "ort fp32", "Intel(R) Xeon(R) Processor", "FusedMatMul"):
        assert HOSTILE + said in joined


def test_a_report_of_little_still_makes_a_page():
    """As one of the first version is read: no samples, no verdicts, nothing around."""
    latency = made_latency(np.array([3.0, 4.0, 5.0]))
    rows = (Row(level="graph", name="a/a", where="ort fp32", latency=latency), Row(level="turn", name="early", where="", latency=latency))
    for report in (
        Report(bundle="toy", target="cpu", machine=made_machine(), rows=rows),
        Report(bundle="toy", target="cpu", machine=made_machine(), rows=()),
    ):
        parsed = Parsed(page([report]))
        assert [data for tag, data in parsed.texts if tag == "h3"] == [name for name in SECTIONS if name not in ("One turn", "Candidates")]
        assert not parsed.named("svg")


@pytest.mark.parametrize(
    "values",
    [[5.0], [0.0] * 3, [-40.0, 12.0, 80.0], [2.0] * 99 + [1e5], [1e-4, 1e4], [0.0, 3.0, 900.0] * 30],
    ids=["one", "zeros", "before the end of speech", "one far away", "eight decades", "three heaps"],
)
def test_any_series_can_be_drawn(values):
    samples = Samples(latency_ms=tuple(values), start_ms=tuple(float(i) for i in range(len(values))), dropped_ms=(7.0, 900.0))
    row = Row(level="graph", name="a/a", where="null", latency=made_latency(np.array(values)), samples=samples)
    text = page([Report(bundle="toy", target=name, machine=made_machine(), rows=(row,)) for name in ("cpu", "null")])
    assert len(Parsed(text).named("svg")) == (6 if row.latency.p50_ms > 0 else 4)
    assert "NaN" not in text and "Infinity" not in text and "undefined" not in text
    assert "2 given up" in text


def test_an_axis_ends_where_a_few_calls_would_press_all_others_together_and_says_so():
    values = [10.0 + i / 100 for i in range(200)] + [300.0, 450.0]
    row = Row(level="graph", name="a/a", where="", latency=made_latency(np.array(values)), samples=Samples(latency_ms=tuple(values)))
    assert seen(row) == (10.0, pytest.approx(11.98 + 0.6 * 1.98, abs=0.02))
    assert outside(row) == "2 slower, up to 450 ms"
    tail = values[:180] + [50.0] * 22  # a tenth is no outlier
    row = row.model_copy(update={"samples": Samples(latency_ms=tuple(tail))})
    assert seen(row) == (10.0, 50.0) and outside(row) == ""


def test_thinning_keeps_every_outlier():
    values = np.random.default_rng(0).normal(10, 0.1, 5000)
    values[[17, 3210]] = 99.0, 1.0
    kept = thinned(values, 200)
    assert len(kept) <= 200 and kept == sorted(kept)
    assert {17, 3210} <= set(kept)
    assert thinned(values[:150], 200) == list(range(150))


def test_labels_do_not_lie_on_each_other():
    points = [(100.0 + 3 * i, 100.0 + i) for i in range(8)]
    labels = place(points, [f"graph/{i} 80 %" for i in range(8)], 400, 300)
    boxes = [(label.x if label.align == "left" else label.x - 80, label.y) for label in labels]
    for i, (x, y) in enumerate(boxes):
        assert all(abs(x - ox) >= 70 or abs(y - oy) >= 13 for ox, oy in boxes[:i])


def test_ticks_of_a_logarithmic_axis_are_round_and_few():
    assert Scale(0.9, 60, 800).ticks() == [1, 2, 5, 10, 20, 50]
    assert Scale(0.09, 1500, 240).ticks() == pytest.approx([0.1, 1, 10, 100, 1000])


def test_every_percentile_of_an_unstable_row_is_marked():
    """The cells of the latency table: as many marks as figures where the row was not stable, none where it was."""
    latency = made_latency(np.linspace(5.0, 6.0, 1000))
    assert latency.p90_ms and latency.p99_ms
    for word, marks in (("stable", 0), ("drifting", 3)):
        row = Row(level="graph", name="a/a", where="ort fp32", latency=latency, verdict=Verdict(word=word, evidence=("as it was made",)))
        text = page([Report(bundle="toy", target="cpu", machine=made_machine(), rows=(row,), verdict=row.verdict)])
        cells = text[text.index('<table class="latency">') :].partition("</table>")[0]
        assert cells.count('class="doubt"') == marks


def test_targets_that_could_not_be_measured_stand_on_the_page():
    report = made_report().model_copy(update={"rows": (), "trials": (), "turn": None})
    parsed = Parsed(page([report], ["jetson: its engines are built on the device"]))
    assert "jetson: its engines are built on the device" in "".join(data for _, data in parsed.texts)
    assert "Not measured" in [data for tag, data in parsed.texts if tag == "h2"]
    assert "Not measured" not in [data for tag, data in Parsed(page([report])).texts if tag == "h2"]


def test_a_link_is_followed(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "page.html").symlink_to(tmp_path / "real" / "first.html")
    write_page([made_report().model_copy(update={"rows": (), "trials": (), "turn": None})], tmp_path / "page.html")
    assert (tmp_path / "page.html").is_symlink()
    assert Parsed((tmp_path / "real" / "first.html").read_text(encoding="utf-8")).named("h1")


def test_it_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    report = made_report().model_copy(update={"rows": (), "trials": (), "turn": None})
    write_page([report], tmp_path / "page.html")
    assert Parsed((tmp_path / "page.html").read_text(encoding="utf-8")).named("h1")
    with pytest.raises(MmedgeError) as caught:
        write_page([report], tmp_path / "nowhere" / "page.html")
    assert caught.value.fix == "choose a folder that you may write to"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["page.html"]
    monkeypatch.setitem(sys.modules, "vl_convert", None)
    with pytest.raises(MmedgeError) as caught:
        write_page([report], tmp_path / "other.html")
    assert str(caught.value) == 'error: vl_convert is not installed\nfix: pip install "mmedge[page]"'
    assert not (tmp_path / "other.html").exists()


@pytest.mark.full
def test_five_targets_fit_into_two_megabytes():
    """Of five, each has a share of the dots; of two, more: if two take two fifths, five fit."""
    assert len(page([made_report(name, calls=3000, turns=100) for name in ("cpu", "jetson")]).encode()) < LIMIT * 2 / 5
