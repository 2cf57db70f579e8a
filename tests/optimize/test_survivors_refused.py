"""What a user may have wrong when a model is judged: samples, classes, metrics, targets. Each is two lines."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from evaluate.data_sets import json_lines
from optimize.small_model import pictures, sifted, target, weighty

from mmedge.errors import MmedgeError
from mmedge.evaluate.data import open_data
from mmedge.optimize.work import hold_metric
from mmedge.target import Target


@pytest.fixture
def bundle(toy_bundle):
    return weighty(toy_bundle)


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("MMEDGE_CACHE", str(tmp_path / "cache"))


def refused(bundle, data, at=None, **options):
    with pytest.raises(MmedgeError) as caught:
        sifted(bundle, data, at, **options)
    return caught.value.what, caught.value.fix


def test_a_users_mistakes(bundle, tmp_path):
    data = pictures(tmp_path / "data")
    what, fix = refused(bundle, data, metric="accuarcy")
    assert "accuarcy" in what and fix.startswith("did you mean accuracy? Use one of: accuracy, ")
    assert refused(bundle, data, samples=0)[0] == "ranges cannot be measured on 0 samples"
    nothing = Target(name="plain", summary="", backends=("ort",), max_opset=23, max_ir=10)
    assert refused(bundle, data, nothing)[0] == "plain has nothing below fp32: it has no quantize table, and no lower precision"
    assert "null computes nothing" in refused(bundle, data, Target.load("null"))[0]
    (tmp_path / "empty").mkdir()
    assert "holds no samples" in refused(bundle, tmp_path / "empty")[0]
    alone = pictures(tmp_path / "alone", labelled=False)
    assert refused(bundle, alone, metric="accuracy")[0].startswith("alone lacks a column that is needed")
    halves = target(precisions={"ort": ("fp16",)})
    assert "has no fp32 on small that the others could be compared with" in refused(bundle, data, halves)[0]


def test_a_metric_that_counts_ranks_judges_nothing():
    """And is not named among those that do."""
    task = SimpleNamespace(name="retrieval", wants="text", metrics=("image_to_text_r10", "image_to_text_median_rank"), agreement=("cosine",))
    with pytest.raises(MmedgeError, match="image_to_text_median_rank counts ranks") as caught:
        hold_metric("image_to_text_median_rank", task)
    assert caught.value.fix == "take how often a rank is up to 10: --metric image_to_text_r10"
    hold_metric("image_to_text_r10", task)
    with pytest.raises(MmedgeError) as caught:
        hold_metric("nothing", task)
    assert caught.value.fix == "use one of: image_to_text_r10, cosine"


def test_too_many_unreadable_samples_are_named_also_by_a_stricter_limit_later(bundle, tmp_path):
    data = pictures(tmp_path / "data")
    for name in ("red0", "blue2"):
        (data / f"{name}.png").write_bytes(b"none")
    what, fix = refused(bundle, data)
    assert what.startswith("1 of the 24 samples of data cannot be read, and 1% may be: red0.png") and "--max-unreadable" in fix
    sifted(bundle, data, max_unreadable=0.1)
    what, _ = refused(bundle, data, max_unreadable=0.05)
    assert what.startswith("2 of the 24 samples of data cannot be read, and 5% may be: red0.png") and "blue2.png" in what


def test_a_class_that_never_appears_in_the_split(bundle, tmp_path):
    data = pictures(tmp_path / "data")
    names = sorted(path.name for path in data.glob("*.png"))
    json_lines(data / "metadata.jsonl", [{"file_name": name, "label": name[:-5], "split": "train" if "red" in name else "test"} for name in names])
    what, fix = refused(bundle, open_data(data, split="test"))
    assert what == "the class 'red' never appears in the split test of data: what it loses would not be seen" and "take it out" in fix
    _, warnings = sifted(bundle, open_data(data, limit=3))
    assert warnings[0].startswith("class-never-appears: the limit leaves ") and "of 6 classes of data without a sample" in warnings[0]


def test_a_metric_that_the_data_cannot_give(bundle, tmp_path):
    data = pictures(tmp_path / "data")
    json_lines(data / "metadata.jsonl", [{"file_name": "red0.png", "label": "red"}])
    what, _ = refused(bundle, data)
    assert "all samples of data have the label 'red'" in what
