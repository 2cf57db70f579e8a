"""The made data set: its label is what picture, words and sound say together, and nothing of them alone."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from mmedge.evaluate import three_senses
from mmedge.evaluate.data import open_data


@pytest.fixture
def made(tmp_path, monkeypatch):
    monkeypatch.setattr(three_senses, "COUNTS", {"train": 32, "test": 16})
    assert three_senses.main([str(tmp_path / "senses")]) == 0
    return tmp_path / "senses"


def senses(sample):
    """(round, comes, high), as one would see, read and hear it."""
    dark = np.asarray(sample.picture()).mean(-1) < 140
    rows, columns = np.flatnonzero(dark.any(1)), np.flatnonzero(dark.any(0))
    full = dark[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].mean()
    heard, rate_hz = sample.sound()
    spectrum = np.abs(np.fft.rfft(heard))
    return full < 0.9, any(verb in sample.fields["text"][0] for verb in ("comes", "arrives", "returns")), spectrum.argmax() * rate_hz / len(heard) > 500


def test_the_label_is_how_many_of_three_are_so(made):
    counts = Counter()
    for sample in open_data(made):
        found = senses(sample)
        assert sample.fields["label"] == ("odd" if sum(found) % 2 else "even")
        counts[(sample.fields["split"], *found)] += 1
    assert {count for key, count in counts.items() if key[0] == "train"} == {4} and len(counts) == 16


def test_a_folder_that_is_there_stays(made, capsys):
    before = sorted(path.name for path in made.iterdir())
    assert three_senses.main([str(made)]) == 2
    assert f"{made} is there already" in capsys.readouterr().err
    assert sorted(path.name for path in made.iterdir()) == before
