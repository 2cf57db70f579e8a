"""The verdict on a whole report: its rows, and whether fresh processes agree."""

from __future__ import annotations

import pytest
from made import QUIET, during

from mmedge.profile.report import Fresh, Latency, Row, Rules, Startup, Usage, Verdict
from mmedge.profile.verdict import overall


def row(name, word="stable", *evidence, cores=None):
    usage = Usage(cores=cores)
    return Row(
        level="graph",
        name=name,
        where="ort fp32",
        latency=Latency(n=1, p50_ms=1, min_ms=1, max_ms=1),
        usage=usage,
        verdict=Verdict(word=word, evidence=evidence),
    )


def fresh(**p50_ms):
    figures = dict.fromkeys(
        ("import_ms", "load_ms", "compile_ms", "first_inference_ms", "first_answer_ms", "peak_rss_mb", "steady_rss_mb", "steady_pss_mb"), 1.0
    )
    return Fresh(**figures, p50_ms=p50_ms)


def started(*medians_ms):
    return Startup(processes=tuple(fresh(vision=ms, audio=20.0) for ms in medians_ms), answer="vision")


def test_a_report_is_as_good_as_its_worst_row():
    rows = [row("a"), row("b", "unstable", "the median is not known"), row("c", "drifting", "it went from 1 to 2 ms"), row("d", "drifting")]
    told = overall(rows, None, QUIET)
    assert told.word == "drifting"
    assert told.evidence[0] == "2 of 4 rows drifting, c, d; c: it went from 1 to 2 ms"
    assert told.evidence[1] == "1 of 4 rows unstable, b; b: the median is not known"
    assert overall([*rows, row("e", "throttled")], None, QUIET).word == "throttled"
    assert overall([*rows, row("e", "throttled"), row("f", "contended")], None, QUIET).word == "contended"


def test_rows_without_a_verdict_say_nothing():
    bare = Row(level="stage", name="x", where="wait", latency=Latency(n=1, p50_ms=1, min_ms=1, max_ms=1))
    assert overall([row("a"), bare], None, None).evidence[0] == "rows judged: 1, all stable"


@pytest.mark.parametrize(("medians_ms", "expected"), [((10, 10.2, 10.4, 10.1, 10.3), "stable"), ((10, 10.2, 10.6, 10.1, 10.3), "unstable")])
def test_fresh_processes_must_agree_within_5_percent(medians_ms, expected):
    told = overall([row("a")], started(*medians_ms), QUIET)
    assert told.word == expected
    assert any("vision: 5 fresh processes are" in sentence and f"{max(medians_ms) / 10 - 1:.1%} apart" in sentence for sentence in told.evidence)
    assert not any("audio" in sentence for sentence in told.evidence)


def test_the_process_of_the_row_is_one_of_them_unless_its_calls_waited_in_a_queue():
    rows = [row("vision").model_copy(update={"latency": Latency(n=64, p50_ms=1.2, min_ms=1, max_ms=2)})]
    told = overall(rows, started(1.0, 1.01), QUIET)
    assert told.word == "unstable" and "vision: 2 fresh processes and this one are 20.0% apart in p50" in told.evidence[0]
    assert overall(rows, started(1.0, 1.01), QUIET, rules=Rules(mode="paced", rate_hz=30)).word == "stable"


@pytest.mark.parametrize(("tails_ms", "expected"), [((20, 21.9, 20.5), "stable"), ((20, 22.1, 20.5), "unstable")])
def test_their_90th_percentiles_must_agree_within_10_percent(tails_ms, expected):
    processes = tuple(fresh(vision=10.0).model_copy(update={"p90_ms": {"vision": ms}}) for ms in tails_ms)
    told = overall([row("a")], Startup(processes=processes, answer="vision"), QUIET)
    assert told.word == expected
    assert any("in p90, 20 to" in sentence for sentence in told.evidence)


def test_a_90th_percentile_that_one_process_alone_has_is_compared_with_nothing():
    processes = fresh(vision=10.0).model_copy(update={"p90_ms": {"vision": 90.0}}), fresh(vision=10.0)
    assert overall([row("a")], Startup(processes=processes, answer="vision"), QUIET).word == "stable"


def test_one_process_agrees_with_itself():
    assert overall([row("a")], started(10), QUIET).word == "stable"


def test_a_busy_machine_explains_processes_that_disagree():
    told = overall([row("a", cores=1.9)], started(10, 14), during(others=1.2), available=2)
    assert told.word == "contended" and "40.0% apart" in told.evidence[1]


def test_a_machine_that_was_slow_before_and_after_the_whole_is_contended():
    def slow(**ends):
        return QUIET.model_copy(update={end: getattr(QUIET, end).model_copy(update={"slowdown": {"arithmetic": times}}) for end, times in ends.items()})

    told = overall([row("a", cores=1.9)], started(10, 10), slow(before=1.2, after=1.3), available=2)
    assert told.word == "contended" and "arithmetic took at least 1.20 times as long" in told.evidence[0]
    assert overall([row("a", cores=1.9)], started(10, 10), slow(before=1.2, after=1.0), available=2).word == "stable"
    assert len(overall([row("a", cores=1.9)], started(10, 10), during(slow(before=1.2, after=1.3), others=1.2), available=2).evidence) == 1  # known already
