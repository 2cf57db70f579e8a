"""The candidates of a quantized bundle as the page shows them: drawn, in a table, and in words."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest
from made import made_report
from made_quantized import made_quantized, made_rated, made_transcription

from mmedge.errors import MmedgeError
from mmedge.profile.page import page, write_pareto
from mmedge.profile.page.figures import SMALL, WIDE
from mmedge.profile.page.labels import place
from mmedge.profile.page.pareto import pareto
from mmedge.profile.page.quantized import GraphView, QuantizedView
from mmedge.profile.page.spread import spread
from mmedge.rated import Budget, Choice, Interval


def view(found=None, graph="image_encoder"):
    found = found or made_quantized()
    return GraphView(graph, found, found.graphs[graph])


def marks(drawn):
    """Of a drawing: (x, y, fill, stroke) of each mark, and the texts."""
    root = ElementTree.fromstring(str(drawn))
    found = [one for one in root.iter("path") if one.get("fill") in ("var(--model)", "var(--page)") and one.get("transform")]
    at = [tuple(map(float, re.findall(r"-?[\d.]+", one.get("transform"))[:2])) for one in found]
    return [(x, y, one.get("fill"), one.get("stroke")) for (x, y), one in zip(at, found)], ["".join(one.itertext()) for one in root.iter("text")]


@pytest.mark.parametrize("width", [WIDE, SMALL])
def test_the_chosen_mark_alone_is_filled_and_what_failed_is_grey(width):
    drawn = marks(view().figure[width == SMALL])[0]
    assert len(drawn) == 10  # the eleventh has no metric
    (chosen,) = [one for one in drawn if one[2] == "var(--model)"]
    assert chosen[0] == min(x for x, _, _, _ in drawn)  # it is the fastest
    assert sum(stroke == "var(--other)" for *_, stroke in drawn) == 3


def test_wide_has_names_and_narrow_the_numbers_of_the_table():
    shown = view()
    wide, narrow = (marks(figure)[1] for figure in shown.figure)
    names = [one.name for one in shown.rows if one.metric]
    assert set(names) - {"ort static-percentile"} <= set(wide) and "ort static-percentile: 0.071" in wide
    assert {str(number) for number in range(1, 11)} <= set(narrow) and not set(names) & set(narrow)
    assert "gate: 0.010 below fp32" in wide and "not timed" in wide


def test_up_is_better_whichever_way_the_metric_is_read():
    for found, graph in ((made_quantized(), "image_encoder"), (made_transcription(), "encoder")):
        shown = [one for one in found.graphs[graph].rated if one.metric]
        where = spread(found, shown, 500, 300, lane=50)
        order = sorted(shown, key=lambda one: one.metric.value, reverse=found.higher_is_better)
        heights = [where.up.to_px(where.y(one.metric.value)) for one in order]
        assert heights == sorted(heights, reverse=True)
        assert all(0 <= height <= 300 for height in heights)


def test_what_is_far_below_is_pinned_so_that_the_others_can_be_told_apart():
    found = made_quantized()
    shown = [one for one in found.graphs["image_encoder"].rated if one.metric]
    where = spread(found, shown, 500, 300, lane=50)
    assert [one.name for one in shown if where.below(one)] == ["ort static-percentile"]
    assert where.up.to_px(0.612) - where.up.to_px(0.606) > 30


def test_without_any_latency_nothing_is_chosen_and_the_axis_says_so():
    shown = view(made_transcription(), "encoder")
    drawn, texts = marks(shown.figure[0])
    assert not [one for one in drawn if one[2] == "var(--model)"]
    assert "size, MB: latency is not known here" in texts and "WER, less is better" in texts and "gate: 0.010 above fp32" in texts
    assert not any("chosen" in shown.words(one) for one in shown.rows)


def test_what_has_no_metric_or_nothing_beside_it_stands_in_the_table_alone():
    found = made_quantized()
    one = found.graphs["image_encoder"].rated[0]
    assert pareto(found, [one], one.name, WIDE) is None
    assert pareto(found, [one, one.model_copy(update={"metric": None, "loss": None, "name": "other"})], one.name, WIDE) is None


@pytest.mark.parametrize(
    "figures",
    [
        [(0.5, 0.0, 0.0, 0.0, 1.0, 10.0, 1.0, "fp32", True)] * 2,
        [(0.0, 0.0, 0.0, 0.0, 1.0, 0.0, None, "fp32", True), (0.0, 0.0, 0.0, 0.0, 1e-4, 0.0, None, "int8", True)],
        [(1.0, 0.0, 0.0, 0.0, 1.0, 5.0, 1.0, "fp32", True), (-1.0, 2.0, 1.9, 2.1, 900.0, 1.0, 1.0, "int8", False)],
    ],
    ids=["equal", "zeros", "far apart"],
)
def test_any_figures_can_be_drawn(figures):
    rated = tuple(made_rated(f"ort {number}", each) for number, each in enumerate(figures))
    found = made_quantized().model_copy(update={"graphs": {"a": Choice(chosen="ort 0", why="only", rated=rated)}})
    drawn = GraphView("a", found, found.graphs["a"]).figure
    assert drawn and not re.search("NaN|Infinity|undefined", drawn[0] + drawn[1])


def test_the_table_says_what_failed_and_why_and_what_stayed_in_float():
    shown = view()
    told = {one.name: (shown.words(one), shown.said(one)) for one in shown.rows}
    assert next(iter(told)) == "openvino nncf-transformer" and "rejected" in told[list(told)[-1]][0]
    assert told["openvino nncf-transformer"][0] == ["chosen", "undecided", "Pareto"]
    assert told["ort static-minmax"] == (["rejected"], ["R@1: +1.50 points lost (+0.60 to +2.60), 1 allowed"])
    assert told["ort static-entropy"][1][0].startswith("3 in float: /encoder/layers.11/mlp/fc2/MatMul,") and told["ort static-entropy"][1][0].endswith(
        "(5 evaluations)"
    )
    assert "constant weights" in told["ort weights-int4"][1][0]
    left = GraphView("a", made_quantized(), Choice(chosen="x", why="", rated=(shown.rows[1].model_copy(update={"left_out": True}),)))
    assert "not in the bundle" in left.words(left.rows[0])


def test_the_goal_and_its_limits_are_told():
    found = made_quantized(budget=Budget(max_latency_ms=20, max_mb=30))
    assert QuantizedView("eyes", found).goal == "for the least latency, at most 20.0 ms a run of each graph, at most 30.0 MB in all"


def test_the_page_of_a_choice_is_whole_small_and_self_contained(tmp_path):
    found = made_quantized().model_copy(update={"warnings": ('<script>alert("calibrated")</script>',)})
    write_pareto("assistant-mini", "intel-cpu", {"eyes": found, "ears": made_transcription()}, tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "://" not in text and len(text) < 200_000
    assert text.count("<script") == 1 and "&lt;script&gt;alert(" in text
    assert list(re.findall(r"<h[123][^>]*>([^<]+)", text)) == [
        "assistant-mini on intel-cpu", "eyes", "eyes/image_encoder ", "eyes/text_encoder ", "ears", "ears/encoder ", "ears/decoder "
    ]  # fmt: skip
    assert "12 evaluations did not bring it back" in text
    with pytest.raises(MmedgeError):
        write_pareto("a", "b", {}, tmp_path / "nowhere" / "page.html")


def test_a_profile_of_a_quantized_bundle_shows_it_in_the_place_of_its_trials():
    report = made_report().model_copy(update={"rows": (), "turn": None, "trials": (), "quantized": {"eyes": made_quantized()}})
    text = page([report])
    section = text[text.index('id="target-1-candidates"') : text.index('id="target-1-start-and-memory"')]
    assert section.count("<svg") == 4 and "ort static-minmax" in section and "nearer to golden" not in section
    both = page([made_report().model_copy(update={"rows": (), "turn": None, "quantized": {"eyes": made_quantized()}})])
    assert "nearer to golden" in both and "below the dashed line is more than it may lose" in both


def test_a_label_keeps_clear_of_large_marks():
    ((one, _), radius) = (place([(100.0, 100.0), (120.0, 100.0)], ["4", "6"], 400, 300, [12.0, 12.0]), 12.0)
    assert abs(one.x - 120) > radius or abs(one.y - 100) > radius


def test_an_interval_is_that_of_the_loss(tmp_path):
    found = made_quantized()
    shown = list(found.graphs["text_encoder"].rated)
    wider = [one.model_copy(update={"metric": Interval(value=one.metric.value, low=0.0, high=1.0, n=3)}) for one in shown]
    assert pareto(found, shown, "", WIDE) == pareto(found, wider, "", WIDE)
