"""How slow the machine is, against its own best."""

from __future__ import annotations

import pytest

from mmedge import cache
from mmedge.profile import pace
from mmedge.profile.pace import pieces, slowdown
from mmedge.profile.verdict import SLOWED


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MMEDGE_CACHE", str(tmp_path))


def told(at_days=0.0, **ms):
    return slowdown(lambda: ms, lambda: 1.8e9 + at_days * 86400)


def test_the_first_look_is_the_best_there_is_and_a_better_one_takes_its_place():
    assert told(arithmetic=4.0) == {"arithmetic": 1.0}
    assert told(arithmetic=6.0) == {"arithmetic": 1.5}
    assert told(arithmetic=3.0) == {"arithmetic": 1.0}
    assert told(arithmetic=6.0) == {"arithmetic": 2.0}


@pytest.mark.parametrize("changed", [{"power_mode": "15W"}, {"kernel": "another"}, {"memory_mb": 7}, {"python": "3.99"}, {"governor": "powersave"}])
def test_a_machine_that_is_set_otherwise_has_a_best_of_its_own(monkeypatch, changed):
    told(arithmetic=4.0)
    facts = pace.machine()
    monkeypatch.setattr(pace, "machine", lambda: facts.model_copy(update=changed))
    assert told(arithmetic=8.0) == {"arithmetic": 1.0}


def test_another_machine_of_the_same_kind_has_a_best_of_its_own(monkeypatch):
    told(arithmetic=4.0)
    monkeypatch.setattr(pace, "_host", lambda: "the board beside it")
    assert told(arithmetic=8.0) == {"arithmetic": 1.0}


def test_a_best_is_believed_for_a_month_and_forgotten_after_two():
    told(0, arithmetic=4.0)
    assert told(29, arithmetic=8.0) == {"arithmetic": 2.0}
    assert told(31, arithmetic=8.0) == {"arithmetic": 2.0}  # of the month before
    assert told(59, arithmetic=6.0) == {"arithmetic": 1.5}
    assert told(61, arithmetic=8.0) == {"arithmetic": 1.333}  # 6 ms is the best of the month before now
    assert told(200, arithmetic=8.0) == {"arithmetic": 1.0}


def test_a_clock_that_was_set_back_makes_nothing_old():
    told(0, arithmetic=4.0)
    assert told(-20_000, arithmetic=8.0) == {"arithmetic": 2.0}
    assert told(1, arithmetic=8.0) == {"arithmetic": 2.0}


@pytest.mark.parametrize("damage", ["", "{}", '{"key": {}, "ms": {"arithmetic": 1e-9}}', '{"key": {}, "ms": {"arithmetic": -1}}'])
def test_a_damaged_or_foreign_file_is_no_best(damage):
    told(arithmetic=4.0)
    (file,) = (cache.root() / "pace").iterdir()
    file.write_text(damage)
    assert told(arithmetic=8.0) == {"arithmetic": 1.0}


def test_a_cache_that_cannot_be_written_knows_no_best():
    (cache.root() / "pace").write_text("a file where the folder should be")
    assert [told(arithmetic=ms) for ms in (4.0, 8.0)] == [{"arithmetic": 1.0}] * 2


def test_a_cache_that_the_system_does_not_let_be_asked_for_knows_no_best(tmp_path, monkeypatch):
    monkeypatch.setenv("MMEDGE_CACHE", str(tmp_path / ("x" * 300)))  # refused as a folder without permission is, also to root
    assert [told(arithmetic=ms) for ms in (4.0, 8.0)] == [{"arithmetic": 1.0}] * 2


def test_every_piece_takes_a_time():
    assert all(ms > 0 for ms in pieces().values()) and set(pieces()) == set(SLOWED)
