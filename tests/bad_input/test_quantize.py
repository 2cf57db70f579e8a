"""Quantizing that is asked for what cannot be: two lines before anything is computed, and the bundle as it was."""

from __future__ import annotations

from pathlib import Path

import pytest
from evaluate.data_sets import colours
from tampering import state

from mmedge.optimize import quantize as verb

DATA = ("--data", "pictures")
BARE = 'schema = "mmedge.target/1"\nname = "bare"\nsummary = ""\nbackends = ["ort"]\nmax_opset = 18\nmax_ir = 10\n'


@pytest.mark.parametrize(
    ("arguments", "what", "fix"),
    [
        ((), "quantizing needs data: what a model loses is judged on them", "--data FOLDER"),
        (("--data", "nowhere"), "there is no data at nowhere", "name a folder"),
        ((*DATA, "--goal", "speed"), "there is no goal 'speed'", "use one of: latency, size, balanced"),
        ((*DATA, "--goal", "sise"), "there is no goal 'sise'", "did you mean size?"),
        ((*DATA, "--max-latency-ms", "-1"), "--max-latency-ms -1 is no limit", "give a number above 0: --max-latency-ms 20"),
        ((*DATA, "--max-latency-ms", "nan"), "--max-latency-ms nan is no limit", "--max-latency-ms 20"),
        ((*DATA, "--max-mb", "0"), "--max-mb 0 is no limit", "--max-mb 10"),
        ((*DATA, "--max-mb", "inf"), "--max-mb inf is no limit", "--max-mb 10"),
        ((*DATA, "--min-metric", "nan"), "--min-metric nan is no limit", "--min-metric 0.6"),
        ((*DATA, "--samples", "0"), "ranges cannot be measured on 0 samples", "--samples 300"),
        ((*DATA, "--metric", "wer"), "classification has no metric 'wer'", "accuracy"),
        ((*DATA, "--role", "ears"), "has no model 'ears'", "it has: eyes"),
        ((*DATA, "--task", "caption"), "eyes cannot be evaluated by caption", "eyes by classification"),
        ((*DATA, "--split", "test"), "pictures has no splits", "leave out --split"),
        ((*DATA, "--column", "text"), "--column text is no pair", "--column text=caption_zh"),
        ((*DATA, "--prompt", "a photo"), "has no one place for a class's name", "write {} in it once"),
        ((*DATA, "--target", "intel-cpu"), "is not compiled for intel-cpu", "mmedge compile"),
        ((*DATA, "--target", "bare.toml"), "bare has nothing below fp32", "[[quantize.ort]]"),
        ((*DATA, "--html", "nowhere/pareto.html"), "there is no folder nowhere for the page", "mkdir -p nowhere"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_computed(arguments, what, fix, refused, toy_bundle, monkeypatch):
    def computed(*unused):
        raise AssertionError("something was computed")

    monkeypatch.setattr(verb, "survivors", computed)
    colours(Path("pictures"))
    Path("bare.toml").write_text(BARE)
    if "bare.toml" in arguments:
        compiled = (toy_bundle / "manifest.json").read_text()
        (toy_bundle / "manifest.json").write_text(compiled.replace('"cpu": {', '"bare": {', 1))
    before = state(toy_bundle)
    target = () if "--target" in arguments else ("--target", "cpu")
    said = refused("quantize", toy_bundle, *target, *arguments)
    assert what in said[0]
    assert fix in said[1]
    assert state(toy_bundle) == before


def test_a_bundle_that_is_none(refused):
    colours(Path("pictures"))
    assert "there is no bundle at nowhere" in refused("quantize", "nowhere", *DATA)[0]


def test_null_computes_nothing(refused, toy_bundle, mmedge):
    colours(Path("pictures"))
    assert mmedge("compile", toy_bundle, "--target", "null")[0] == 0
    assert "null computes nothing" in refused("quantize", toy_bundle, "--target", "null", *DATA)[0]


def test_more_unreadable_samples_than_the_limit(refused, toy_bundle):
    folder = colours(Path("pictures"))
    for number in range(3):
        (folder / "red" / f"{number}.png").write_bytes(b"no picture")
    before = state(toy_bundle)
    assert "of the 9 samples of pictures cannot be read, and 1% may be" in refused("quantize", toy_bundle, "--target", "cpu", *DATA)[0]
    assert state(toy_bundle) == before


def test_what_is_wrong_is_told_before_an_export_begins(refused):
    colours(Path("pictures"))
    assert "null computes nothing" in refused("export", "toy", "--target", "null", *DATA)[0]
    assert "there is no data at nowhere" in refused("export", "toy", "--target", "cpu", "--data", "nowhere")[0]
    assert "a limit of 0 leaves no sample" in refused("export", "toy", "--target", "cpu", *DATA, "--limit", "0")[0]
    assert "pictures has no splits" in refused("export", "toy", "--target", "cpu", *DATA, "--split", "test")[0]
    assert "--split and --limit without --data" in refused("export", "toy", "--target", "cpu", "--split", "test", "--limit", "2")[0]
    assert not Path("toy.bundle").exists()
