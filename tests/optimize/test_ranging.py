"""What ranges are measured on: samples that are not judged, where there are as many."""

from __future__ import annotations

import pytest
from evaluate.data_sets import json_lines, write
from optimize.small_model import pictures, sifted, target, weighty

from mmedge.bundle import Bundle
from mmedge.evaluate.data import open_data
from mmedge.optimize import proposals
from mmedge.optimize.work import begin


@pytest.fixture
def bundle(toy_bundle):
    return weighty(toy_bundle)


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("MMEDGE_CACHE", str(tmp_path / "cache"))


def ranged(bundle, data, **options):
    """(keys of the judged samples, of those that ranges are measured on, whether they are others)."""
    with begin(Bundle.open(bundle), target(), data, **options) as work:
        return [one.key for one in work.data], [one.key for one in work.ranging.data], work.ranging.held_out


def folded(folder):
    """Pictures in four folds; one has no label."""
    names = sorted(path.name for path in folder.glob("*.png"))
    rows = [{"file_name": name, "label": name[:-5], "split": f"fold_{name[-5]}"} for name in names]
    del rows[-1]["label"]
    json_lines(folder / "metadata.jsonl", rows)
    return folder


def test_ranges_are_measured_on_what_is_not_judged_where_there_is_as_much(bundle, tmp_path):
    data = folded(pictures(tmp_path / "data"))
    judged, others, held_out = ranged(bundle, open_data(data, split="fold_0"))
    assert held_out and len(judged) == 6 and len(others) == 17 and not set(judged) & set(others)
    drawn = ranged(bundle, open_data(data, split="fold_0", seed=1), samples=8)
    assert drawn == ranged(bundle, open_data(data, split="fold_0", seed=1), samples=8) != ranged(bundle, open_data(data, split="fold_0"), samples=8)
    assert len(drawn[1]) == 8 and not set(judged) & set(drawn[1])
    judged, others, held_out = ranged(bundle, open_data(data, limit=10))
    assert held_out and len(others) == 13 and not set(judged) & set(others)


def test_ranges_are_measured_on_the_judged_where_too_few_are_left(bundle, tmp_path):
    data = pictures(tmp_path / "data")
    judged, others, held_out = ranged(bundle, open_data(data))
    assert not held_out and judged == others
    judged, others, held_out = ranged(bundle, open_data(data, limit=20), samples=5)
    assert not held_out and len(others) == 5 and set(others) < set(judged)


def test_what_ranges_are_measured_on_is_part_of_what_they_depend_on(bundle, tmp_path, monkeypatch):
    made, before = [], proposals.maker
    monkeypatch.setattr(proposals, "maker", lambda backend, options: (made.append(options.method), before(backend, options))[1])
    data = folded(pictures(tmp_path / "data"))
    sifted(bundle, open_data(data, split="fold_0"))
    assert made == ["dynamic", "static"]
    write(data / "red1.png", (data / "white2.png").read_bytes())
    sifted(bundle, open_data(data, split="fold_0"))
    assert made == ["dynamic", "static", "static"]
