"""Fifty seeded changes of bundles that no check was written for: how many of those that matter are noticed, and how many that do not are refused."""

from __future__ import annotations

import pytest
from faults.mutations import ANSWERS, BROKEN, COUNT, NONE, SAME, rates, table, tried

pytestmark = pytest.mark.full

FLOORS = {BROKEN: 1.0, ANSWERS: 1.0, "plain": 1.0, "slight": 0.6, "faint": 0.5}
"""What was measured (bench/results/fault_rates.md). Golden inputs are few, and what is held against them has a bound: a change by a little more than rounding
may stay below it there, and what only scores are multiplied by is held to a thousandth of a probability."""


def test_what_changes_answers_is_noticed_and_what_changes_nothing_is_not(healthy, tmp_path, capfd):
    found = tried(healthy, tmp_path)
    capfd.readouterr()  # the runtime's own words of graphs that it cannot run
    print("\n".join(table(found)))
    measured = rates(found)
    assert len(found) == COUNT and sum(all_ for _, all_ in measured.values()) == COUNT
    assert measured[SAME][0] == 0, [one for one in found if one.strength == SAME and one.noticed]
    assert all(all_ >= 2 for _, all_ in measured.values()), measured
    missed = [one for one in found if one.strength in FLOORS and not one.noticed]
    assert all(hits >= FLOORS[word] * all_ for word, (hits, all_) in measured.items() if word in FLOORS), missed
    assert sum(hits for word, (hits, _) in measured.items() if word == NONE) <= 2  # real changes, which show in answers that were not asked for
