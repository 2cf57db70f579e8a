"""Edits against a plain table of distances; normalizers against transformers' port of Whisper's."""

from __future__ import annotations

import json
import random
from importlib.resources import files

import pytest

from mmedge.errors import MmedgeError
from mmedge.evaluate.metrics.bootstrap import paired
from mmedge.evaluate.metrics.speech import speech


def distance(a, b):
    row = list(range(len(b) + 1))
    for i, left in enumerate(a, 1):
        before, row[0] = row[0], i
        for j, right in enumerate(b, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (left != right))
    return row[-1]


WORDS = ["a", "b", "cat", "dog", "ee"]


def test_rates_are_edits_over_what_was_said_in_all():
    draw = random.Random(0)
    said = [" ".join(draw.choices(WORDS, k=draw.randint(1, 9))) for _ in range(40)]
    heard = [" ".join(draw.choices(WORDS, k=draw.randint(0, 9))) for _ in range(40)]
    wer, cer = speech(heard, said, "none")
    assert wer.estimate.value == pytest.approx(sum(distance(a.split(), b.split()) for a, b in zip(said, heard)) / sum(len(a.split()) for a in said))
    assert cer.estimate.value == pytest.approx(sum(map(distance, said, heard)) / sum(map(len, said)))
    assert (wer.higher_is_better, wer.how, wer.estimate.n) == (False, "no normalizer", 40)


@pytest.mark.parametrize(
    ("normalizer", "rate", "how"),
    [("none", 4 / 4, "no normalizer"), ("basic", 2 / 5, "Whisper's basic normalizer"), ("english", 0, "Whisper's English normalizer")],
)
def test_the_normalizer_decides_and_is_named(normalizer, rate, how):
    wer, _ = speech(["mister park, it's 20 dollars"], ["Mr. Park it's $20"], normalizer)
    assert wer.estimate.value == pytest.approx(rate) and wer.how == how


def test_silence_and_empty_references():
    assert speech(["", ""], ["one two", "three"], "basic")[0].estimate.value == 1
    assert speech(["a b c"], ["a"], "none")[0].estimate.value == 2  # more than everything
    assert speech(["noise", "a"], ["", "a"], "none")[0].estimate.value == 1  # an insertion into nothing counts
    assert [metric.why for metric in speech(["x"], [""], "none")] == ["every reference is empty"] * 2
    assert speech([], [], "none")[0].why == "there are no samples"


def test_two_models_over_the_same_clips():
    said = ["turn on the light", "what is this", "good morning"] * 10
    ours, theirs = speech(said, said, "basic")[0], speech([*said[:-1], "good"], said, "basic")[0]
    assert paired(ours, theirs).value == pytest.approx(-1 / 90) and paired(ours, theirs).high == 0


@pytest.mark.parametrize("missing", ["jiwer", "whisper_normalizer"])
def test_a_missing_package_says_what_to_install(monkeypatch, missing):
    monkeypatch.setitem(__import__("sys").modules, missing, None)
    monkeypatch.setitem(__import__("sys").modules, f"{missing}.english", None)
    with pytest.raises(MmedgeError) as caught:
        speech(["a"], ["a"], "english")
    assert caught.value.fix == 'pip install "mmedge[eval]"'


SENTENCES = """
Mr. Park visited Mrs. O'Connor's flat, didn't he?
It's $20 million, or twenty-one thousand and five dollars.
He's gonna say we've been there -- [laughs] (quietly)
The colour of the neighbour's aluminium theatre grey
1960s, the 274th and 32nd; 3.14 percent, one oh one
Hmm, uhm, ok: Dr. Strange let's go! Señor José won’t pay €2.50
"""


@pytest.mark.full
def test_the_english_normalizer_is_whispers():
    from transformers.models.whisper.english_normalizer import BasicTextNormalizer, EnglishTextNormalizer
    from whisper_normalizer import basic, english

    spelling = json.loads(files("whisper_normalizer").joinpath("normalizers/english.json").read_text(encoding="utf-8"))
    for sentence in SENTENCES.strip().splitlines():
        assert english.EnglishTextNormalizer()(sentence) == EnglishTextNormalizer(spelling)(sentence)
        assert basic.BasicTextNormalizer()(sentence) == BasicTextNormalizer()(sentence)
