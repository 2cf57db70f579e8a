from __future__ import annotations

import pytest
from made import made_report

from mmedge.profile.estimates import summarise
from mmedge.profile.report import Profiles, Row, Rules, Samples, Usage
from mmedge.profile.table import short, table


def lines(made):
    return table(made).splitlines()


def row_of(made, name):
    (line,) = (line for line in lines(made) if line[7:].startswith(name + " "))
    return line.split()


def test_a_table_is_as_it_was(snapshot):
    """Looked at once; a change is to be looked at again."""
    assert table(made_report(calls=700)) == snapshot


def test_several_targets_stand_beside_each_other(snapshot):
    both = (made_report("cpu", calls=70), made_report("intel-cpu", calls=70, seed=1, speed=1.4))
    assert table(Profiles(reports=both, not_run=("jetson: engines are built on the device (there: mmedge compile)",))) == snapshot


def test_targets_that_do_not_fit_stand_below():
    many = [made_report(f"board-{number}", calls=70) for number in range(5)]
    shown = lines(Profiles(reports=many))
    assert max(map(len, shown)) <= 120
    assert sum(line.startswith("graph ") for line in shown) == 3
    assert all(any(f"board-{number}" in line for line in shown if not line.startswith("assistant")) for number in range(5))


@pytest.mark.parametrize(("calls", "shown"), [(63, ["-", "-", "63"]), (64, ["-", "64"]), (661, ["-", "661"]), (662, ["662"])])
def test_percentiles_that_the_count_cannot_carry_are_withheld(calls, shown):
    samples = tuple(float(number) for number in range(1, calls + 1))
    made = made_report(calls=8)
    row = Row(level="graph", name="x/x", where="ort fp32", latency=summarise(samples), samples=Samples(latency_ms=samples))
    cells = row_of(made.model_copy(update={"rows": (row,)}), "x/x")
    assert cells[-len(shown) :] == shown and cells.count("-") == len(shown) - 1
    assert ("withheld: too few calls" in table(made.model_copy(update={"rows": (row,)}))) == (calls < 662)


def test_a_row_that_drifts_is_marked_and_the_legend_says_why():
    made = made_report(calls=70)
    assert row_of(made, "eyes/text_encoder")[3].endswith("~")
    assert not row_of(made, "eyes/image_encoder")[3].endswith("~")
    assert any(line.startswith("~ drifting  eyes/text_encoder: the median rose by 14 %") for line in lines(made))


def test_processes_that_disagree_mark_the_figures_of_that_model():
    made = made_report(calls=70)
    apart = tuple(one.model_copy(update={"p50_ms": {"eyes/image_encoder": 8.4 + number}}) for number, one in enumerate(made.startup.processes))
    made = made.model_copy(update={"startup": made.startup.model_copy(update={"processes": apart})})
    assert all(any(cell.endswith("~") for cell in row_of(made, name)) for name in ("eyes/image_encoder", "eyes.classify"))
    assert not any(cell.endswith("~") for name in ("vad/vad", "voice.speak", "mind") for cell in row_of(made, name))
    assert "eyes/image_encoder: 5 fresh processes and this one are" in table(made)


def test_energy_drops_and_the_pace_are_shown_where_there_are_any():
    made = made_report(calls=70)
    first = made.rows[0]
    samples = first.samples.model_copy(update={"dropped_ms": (1.0, 2.0)})
    metered = first.model_copy(update={"usage": Usage(cores=1.5, millijoules=12.3, energy="RAPL package"), "samples": samples})
    shown = table(made.model_copy(update={"rows": (metered,), "rules": Rules(mode="paced", rate_hz=30, arrivals="poisson")}))
    header, row = (line.split() for line in shown.splitlines()[2:4])
    assert header[-5:] == ["n", "dropped", "cores", "mJ", "roof"]
    assert row[-6:-2] == ["70", "2", "1.5", "12.3"]
    assert "paced at 30 Hz (poisson)" in shown and "energy     RAPL package" in shown
    assert "mJ" not in table(made) and "dropped" not in table(made)


def test_a_breakdown_shows_what_no_part_explains():
    shown = " ".join(table(made_report(calls=70)).split())
    assert "eyes.classify 12.6 ms: graph image_encoder 67 %, processors 22 %, graph text_encoder 9 %, rest 2 %; 0.3 % unexplained" in shown


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0.000"), (0.0123, "0.012"), (0.9996, "1.00"), (9.996, "10.0"), (12.34, "12.3"), (99.96, "100"), (1234.5, "1234"), (-5, "-5.00")]
)
def test_three_digits(value, text):
    assert short(value) == text
