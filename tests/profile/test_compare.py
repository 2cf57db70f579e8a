"""What compare calls a difference, and what it calls noise. The reports are made, with known medians and known scatter."""

from __future__ import annotations

import re

import numpy as np
import pytest
from made import made_report
from scipy.stats import mannwhitneyu

from mmedge.documents import dump_json
from mmedge.errors import GATE, USER, MmedgeError
from mmedge.profile.compare import compare, hold, table
from mmedge.profile.differences import figures
from mmedge.profile.estimates import summarise
from mmedge.profile.report import Fresh, Identity, Profiles, Report, Row, Rules, Samples, Startup, Verdict

FRESH = {"import_ms": 400, "load_ms": 90, "compile_ms": 800, "first_inference_ms": 300, "first_answer_ms": 2000}
FRESH |= {"peak_rss_mb": 700, "steady_rss_mb": 600, "steady_pss_mb": None}
EYES = Identity(graph="a" * 64, backend="ort", version="1.31.1", precision="fp32", reason="", executed={"precision": "fp32", "threads": "2"})


def report(ms=10.0, *, seed=0, calls=128, processes=0.02, within=0.01, rows=None, target="cpu", **more):
    """One graph, measured in a process whose speed is ``ms`` up to a factor of its own (sigma ``processes``), and again in five others."""
    random = np.random.default_rng(seed)
    here, *others = ms * np.exp(random.normal(0, processes, 6))
    samples = tuple(here * np.exp(random.normal(0, within, calls)))
    graph = Row(
        level="graph",
        name="eyes/image_encoder",
        where="ort fp32",
        latency=summarise(samples),
        samples=Samples(latency_ms=samples),
        identity=more.pop("ran", EYES),
    )
    started = Startup(processes=tuple(Fresh(**FRESH, p50_ms={graph.name: value}) for value in others), answer="turn")
    return Report(**{"bundle": "b", "target": target, "machine": made_report(calls=8).machine, "rows": rows or (graph,), "startup": started, **more})


def only(before, after):
    (figure,) = (figure for figure in figures(before, after)[0] if figure.level == "graph")
    return figure


@pytest.fixture
def compared(tmp_path):
    """Write each document to a file of its own, and compare."""

    def compared(*documents, **options):
        paths = []
        for name, document in zip("abcdef", documents):
            paths.append(tmp_path / f"{name}.json")
            paths[-1].write_text(dump_json(document))
        return compare(paths, **options)

    return compared


def test_a_real_difference_is_one_sentence_with_its_figures(compared):
    made = compared(report(10.1, target="cpu"), report(7.1, seed=1, target="intel-cpu"))
    (said,) = made.pairs[0].sentences
    found = re.fullmatch(r"eyes/image_encoder is (\S+)x faster on intel-cpu \((\S+) instead of (\S+) ms; 95 %: (\S+) to (\S+)\)", said)
    times, after, before, low, high = map(float, found.groups())
    assert low <= times <= high
    assert times == pytest.approx(before / after, rel=0.01) and times == pytest.approx(1.42, rel=0.1)
    assert said in table(made)


def test_processes_that_differ_by_chance_are_no_difference():
    """Two percent between processes, and intervals of a tenth of that: nearly every interval excludes 1, and no sentence may follow."""
    found = [only(report(seed=2 * seed), report(seed=2 * seed + 1)) for seed in range(40)]
    assert sum(not figure.interval[0] <= 1 <= figure.interval[1] for figure in found) > 30
    assert not any(figure.real for figure in found)


def test_a_difference_of_many_times_that_chance_is_found():
    found = [only(report(seed=2 * seed), report(11.8, seed=2 * seed + 1)) for seed in range(20)]
    assert sum(figure.real and figure.ratio > 1 for figure in found) >= 19


def test_noise_within_the_calls_is_no_difference():
    found = [only(report(seed=2 * seed, processes=0, within=0.3), report(seed=2 * seed + 1, processes=0, within=0.3)) for seed in range(20)]
    assert max(figure.floor for figure in found) == 1.01  # the processes agree: only the interval speaks
    assert not any(figure.real for figure in found)


def test_fresh_processes_that_do_not_confirm_it_veto():
    """The measuring process of the second was slow; its five fresh ones were not."""
    before, after = report(processes=0.001), report(12.0, seed=1, processes=0.001)
    unconfirmed = after.model_copy(update={"startup": before.startup})
    assert only(before, after).real and not only(before, unconfirmed).real


@pytest.mark.parametrize(("ours", "theirs", "expected"), [(5, 5, True), (4, 4, True), (3, 4, False), (2, 5, False)])
def test_the_number_of_processes_that_can_tell_is_that_of_the_exact_rank_test(ours, theirs, expected):
    def started(count, factor):
        processes = tuple(Fresh(**{**FRESH, "peak_rss_mb": 700 * factor + number}) for number in range(count))
        return report(startup=Startup(processes=processes, answer="turn"))

    (figure,) = (figure for figure in figures(started(theirs, 1), started(ours, 1.5))[0] if figure.name == "peak RSS")
    assert figure.real == expected
    assert (mannwhitneyu(range(ours), range(100, 100 + theirs), method="exact").pvalue <= 0.05) == expected


def test_memory_and_starts_are_compared(compared):
    def started(factor):
        processes = [Fresh(**{key: value and value * factor * scatter for key, value in FRESH.items()}) for scatter in (0.98, 0.99, 1, 1.01, 1.02)]
        return report(processes=0, startup=Startup(processes=processes, answer="turn"))

    said = compared(started(1), started(1.3)).pairs[0].sentences
    assert "peak RSS is 1.30x larger in b (910 instead of 700 MB; any two processes: 1.25 to 1.35)" in said
    assert any(sentence.startswith("first answer is 1.30x slower in b") for sentence in said)
    assert not compared(started(1), started(1.03)).pairs[0].sentences


def test_the_same_file_twice_has_no_differences(compared):
    made = compared(both := made_report(calls=100), both)
    assert made.pairs[0].sentences == ()
    assert "No difference is real" in table(made)
    assert {figure.ratio for figure in made.pairs[0].figures} == {1.0}


def test_what_changed_is_named():
    ran = EYES.model_copy(
        update={"graph": "b" * 64, "version": "1.32.0", "precision": "bf16", "executed": {"precision": "bf16", "threads": "4"}, "shapes": {"x": (2,)}}
    )
    assert set(only(report(), report(ran=ran)).changed) == {"ort 1.32.0 instead of ort 1.31.1", "precision bf16 instead of fp32", "threads 4 instead of 2"} | {
        "graph bbbbbbbb instead of aaaaaaaa",
        "1 more",
    }
    assert only(report(), report(seed=1)).changed == ()
    elsewhere = report().machine.model_copy(update={"cpu": "another"})
    assert only(report(), report(machine=elsewhere)).changed == ("another machine",)


def test_other_machines_settings_and_bundles_are_said(compared):
    machine = report().machine
    notes = compared(
        report(),
        report(machine=machine.model_copy(update={"cores": 8}), bundle="c"),
        report(machine=machine.model_copy(update={"memory_mb": machine.memory_mb - 100, "packages": {**machine.packages, "numpy": "3.0"}, "load": 9.0})),
    )
    assert notes.pairs[0].notes[0].startswith("different machines: a on ")
    assert "different bundles: a is of b, b of c" in notes.pairs[0].notes
    assert notes.pairs[1].notes == ("c ran with numpy 3.0 instead of 2.4.6 (against a)",)


def test_a_figure_of_an_unstable_run_is_marked_wherever_it_is_shown(compared):
    drifting = Verdict(word="drifting", evidence=("it rose by 14 %",))
    slow = report(20.0, seed=1)
    slow = slow.model_copy(update={"rows": (slow.rows[0].model_copy(update={"verdict": drifting}),), "verdict": drifting})
    made = compared(report(), slow)
    assert made.pairs[0].sentences[0].endswith(": ~ b was drifting")
    shown = table(made)
    (row,) = (line for line in shown.splitlines() if line.startswith("graph"))
    assert re.search(r"\d ms   +\d+\.\d ms~", row), row
    assert "~ from a run that was drifting" in shown and "b was drifting: it rose by 14 %" in shown


def test_processes_that_disagree_mark_the_figures_of_that_model(compared):
    made = compared(report(processes=0), report(processes=0.1, verdict=Verdict(word="unstable", evidence=("the processes differ by 29 %",))))
    assert {figure.verdicts for figure in made.pairs[0].figures if figure.unit == "ms"} == {("stable", "unstable")}


@pytest.mark.parametrize(("word", "starts"), [("contended", "contended"), ("throttled", "throttled"), ("drifting", "stable")])
def test_what_the_machine_did_to_the_rows_it_did_to_the_starts(word, starts):
    found = figures(report(), report(verdict=Verdict(word=word)))[0]
    assert {figure.level: figure.verdicts[1] for figure in found} == {"graph": "stable", "start-up": starts, "memory": "stable"}


def test_shared_memory_depends_on_others_and_is_never_called_a_difference():
    def started(pss):
        return report(startup=Startup(processes=tuple(Fresh(**{**FRESH, "steady_pss_mb": pss + number}) for number in range(5)), answer="turn"))

    (figure,) = (figure for figure in figures(started(500), started(600))[0] if figure.name == "steady PSS")
    assert figure.ratio == pytest.approx(602 / 502) and not figure.real


def test_several_targets_are_held_against_the_same_of_the_first_file(compared):
    cpu, intel = report(target="cpu"), report(target="intel-cpu")
    made = compared(Profiles(reports=(cpu, intel)), Profiles(reports=(intel, cpu, report(target="board"))))
    assert [(pair.baseline.name, pair.other.name) for pair in made.pairs] == [
        ("a on intel-cpu", "b on intel-cpu"),
        ("a on cpu", "b on cpu"),
        ("a on cpu", "b on board"),
    ]
    (pair,) = compared(Profiles(reports=(cpu, intel))).pairs
    assert (pair.baseline.name, pair.other.name) == ("cpu", "intel-cpu")


def test_verbs_are_matched_by_what_they_were_given_too():
    def verbs(*ms):
        return tuple(
            Row(level="verb", name="eyes.classify", where=given, latency=summarise([value] * 8), samples=Samples(latency_ms=(value,) * 8))
            for given, value in zip(("cat", "dog", "dog"), ms)
        )

    found, gone, new = figures(report(rows=verbs(1, 2, 3)), report(rows=verbs(1, 2)))
    assert [(figure.name, figure.ratio) for figure in found if figure.level == "verb"] == [("eyes.classify (cat)", 1), ("eyes.classify (dog)", 1)]
    assert (gone, new) == (["eyes.classify (dog)"], [])


def test_rows_that_only_one_has_are_said(compared):
    more = report().rows[0].model_copy(update={"name": "eyes/text_encoder"})
    assert "only in b: eyes/text_encoder" in compared(report(), report(rows=(*report().rows, more))).pairs[0].notes


def test_without_samples_there_is_a_ratio_and_no_claim(compared):
    bare = report(20.0).rows[0].model_copy(update={"samples": None})
    made = compared(report(), report(rows=(bare,)))
    figure = next(figure for figure in made.pairs[0].figures if figure.level == "graph")
    assert figure.ratio == pytest.approx(2, rel=0.1) and figure.interval is None and not figure.real
    assert any(note.startswith("b keeps no samples") for note in made.pairs[0].notes)


def test_a_moment_before_the_end_of_speech_has_no_ratio(compared):
    early = Row(level="turn", name="end of speech -> recognised", where="whole turn", latency=summarise([-5.0] * 8), samples=Samples(latency_ms=(-5.0,) * 8))
    made = compared(report(rows=(early,)), report(rows=(early,)))
    assert made.pairs[0].figures[0].ratio is None
    assert "-5.00 ms" in table(made)


def test_other_rules_are_refused(compared):
    with pytest.raises(MmedgeError, match="a was measured closed loop, b paced at 30 Hz: such latencies are not of one kind"):
        compared(report(), report(rules=Rules(mode="paced", rate_hz=30)))
    with pytest.raises(MmedgeError, match="paced at 30 Hz, b paced at 30 Hz \\(poisson\\)"):
        compared(report(rules=Rules(mode="paced", rate_hz=30)), report(rules=Rules(mode="paced", rate_hz=30, arrivals="poisson")))
    assert compared(report(), report(rules=Rules(seconds=9, samples=7))).pairs


def test_the_lower_end_of_the_interval_decides_what_exceeds(compared):
    pair = report(), report(12.0, seed=1)
    low = only(*pair).interval[0]
    made = compared(*pair, max_regression=(low - 1) * 100 - 0.01)
    assert made.exceeded == (f"eyes/image_encoder {only(*pair).ratio:.2f}x in b",)
    with pytest.raises(MmedgeError, match=r"eyes/image_encoder 1\.") as refused:
        hold(made)
    assert refused.value.status == GATE
    for allowed in ((low - 1) * 100 + 0.01, None):
        hold(compared(*pair, max_regression=allowed))
    hold(compared(*reversed(pair), max_regression=0))  # faster is no regression


def test_rows_that_were_lost_cannot_be_held_to_anything(compared):
    before = report()
    more = before.rows[0].model_copy(update={"name": "eyes/text_encoder"})
    made = compared(before.model_copy(update={"rows": (*before.rows, more)}), report(), max_regression=50)
    assert made.unjudged == ("eyes/text_encoder only in a",)
    with pytest.raises(MmedgeError, match="not every time can be held to 50 %: eyes/text_encoder only in a") as refused:
        hold(made)
    assert refused.value.status == USER


def test_a_guard_that_could_hold_nothing_is_no_pass(compared):
    bare = report().rows[0].model_copy(update={"samples": None})
    with pytest.raises(MmedgeError, match="none has samples on both sides"):
        compared(report(rows=(bare,), startup=None), report(rows=(bare,), startup=None), max_regression=5)


def test_more_reports_than_fit_are_shown_below(compared):
    made = compared(*(made_report(seed=seed, calls=70) for seed in range(6)))
    shown = table(made).splitlines()
    grid = [line for line in shown if line.startswith(("graph", "      "))]
    assert max(map(len, grid)) <= 120
    assert sum(line.startswith("graph ") for line in shown) > 1


@pytest.mark.parametrize("columns", [80, 100, 160])
def test_the_table_fits_the_terminal(compared, monkeypatch, columns):
    made = compared(*(made_report(seed=seed, calls=70) for seed in range(3)))
    monkeypatch.setenv("COLUMNS", str(columns))
    shown = table(made).splitlines()
    grid = [line for line in shown if line.startswith(("graph", "      "))]
    longest = max(range(len(grid)), key=lambda at: len(grid[at]))
    assert len(grid[longest]) <= columns
    assert sum(line.startswith("graph ") for line in shown) == (1 if columns == 160 else 2)
    assert any("eyes/text_encoder" in line for line in grid)
