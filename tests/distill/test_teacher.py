"""The cache of what frozen networks give."""

from __future__ import annotations

import os

import numpy as np
import pytest

from mmedge import cache
from mmedge.distill import teacher
from mmedge.errors import MmedgeError


class Counting:
    """A teacher that squares the number of a row, and counts for how many rows it was asked."""

    def __init__(self):
        self.rows = []

    def __call__(self, rows):
        self.rows += rows
        numbers = np.array(rows, np.float32)
        return {"squares": numbers[:, None] ** 2 * np.ones((1, 3), np.float32), "halves": numbers / 2}


@pytest.fixture(autouse=True)
def small(monkeypatch, tmp_path):
    """Shards of five rows, computed four at a time."""
    monkeypatch.setenv("MMEDGE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(teacher, "SHARD_BYTES", 5 * (3 + 1) * 2)
    monkeypatch.setattr(teacher, "AT_ONCE", 4)


def quiet(line):
    pass


def shards():
    return sorted((cache.root() / "teachers").glob("*/*.safetensors"))


def test_outputs_are_the_networks_own_and_it_is_asked_once():
    asked = Counting()
    for _ in range(2):
        found = teacher.outputs({"teacher": "a"}, 12, asked, quiet)
        np.testing.assert_array_equal(found["squares"][:, 1], np.arange(12) ** 2)
        np.testing.assert_array_equal(found.rows("halves", [11, 0, 5, 4]), [5.5, 0, 2.5, 2])
    assert asked.rows == [*range(12)]
    assert len(shards()) == 3


def test_whole_numbers_stay_as_they_are():
    tokens = np.arange(12) * 4321 - 100  # most are no numbers of 16 bits

    def numbers(rows):
        return {"tokens": tokens[rows.start : rows.stop], "halves": np.array(rows) / 2}

    for _ in range(2):
        np.testing.assert_array_equal(teacher.outputs({"teacher": "b"}, 12, numbers, quiet).numbers("tokens"), tokens)
    assert all(path.stat().st_size < 1000 for path in shards())


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_damaged_shard_alone_is_computed_anew(number):
    teacher.outputs({}, 12, Counting(), quiet)
    before = shards()
    content = bytearray(before[number].read_bytes())
    content[-1] ^= 1
    before[number].write_bytes(content)
    asked, said = Counting(), []
    found = teacher.outputs({}, 12, asked, said.append)
    np.testing.assert_array_equal(found["halves"], np.arange(12) / 2)
    assert sorted(set(asked.rows)) == [*range(number * 5, min(number * 5 + 5, 12))]
    assert shards() == before
    assert any("damaged" in line for line in said)


def test_what_was_finished_before_a_kill_stays():
    class Killed(Counting):
        def __call__(self, rows):
            if rows.start >= 5:
                raise KeyboardInterrupt
            return super().__call__(rows)

    with pytest.raises(KeyboardInterrupt):
        teacher.outputs({}, 12, Killed(), quiet)
    asked = Counting()
    teacher.outputs({}, 12, asked, quiet)
    assert asked.rows == [*range(5, 12)]


def test_another_teacher_other_data_or_another_seed_is_another_key():
    asked = Counting()
    for key in ({"teacher": "a", "seed": 0}, {"teacher": "b", "seed": 0}, {"teacher": "a", "seed": 1}):
        teacher.outputs(key, 3, asked, quiet)
    assert len(asked.rows) == 9


@pytest.mark.parametrize("value", [np.nan, 1e6])
def test_what_does_not_fit_is_refused_and_not_kept(value):
    with pytest.raises(MmedgeError, match="not finite, or beyond 16 bits, in rows 4 to 7"):
        teacher.outputs({}, 12, lambda rows: {"x": np.full(len(rows), value if rows.start == 4 else 0.0)}, quiet)
    assert not any("00001" in path.name for path in shards())


def test_what_was_asked_for_the_longest_ago_goes_first(monkeypatch):
    teacher.outputs({"teacher": "old"}, 12, Counting(), quiet)
    (old,) = {path.parent for path in shards()}
    os.utime(old / teacher.KEY, (0, 0))
    monkeypatch.setattr(teacher, "LIMIT_BYTES", sum(path.stat().st_size for path in old.iterdir()) + 100)
    found = teacher.outputs({"teacher": "new"}, 12, Counting(), quiet)
    assert not old.exists()
    assert len(found["halves"]) == 12
