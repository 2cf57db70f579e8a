"""Against pycocoevalcap 1.2 with its Java tokenizer (figures of make_references.py), and closed forms."""

from __future__ import annotations

import math
import os
from pathlib import Path

import numpy as np
import pytest

from mmedge.evaluate.metrics import meteor as meteor_module
from mmedge.evaluate.metrics.captions import captions
from mmedge.evaluate.metrics.meteor import meteor, score
from mmedge.evaluate.metrics.ptb import tokenize


@pytest.fixture(autouse=True)
def no_java(monkeypatch):
    monkeypatch.setattr(meteor_module.shutil, "which", lambda name: None)


def figures(given, references):
    return {metric.name: metric.estimate.value for metric in captions(given, references) if metric.estimate}


def test_every_figure_is_that_of_the_coco_evaluation(references):
    known = references["captions"]
    found = figures(known["given"], known["references"])
    assert found == pytest.approx({name: value for name, value in known["figures"].items() if name != "meteor"}, abs=1e-12)


def test_tokens_are_those_of_the_java_tokenizer(references):
    known = references["captions"]
    for given, texts, (ours, *theirs) in zip(known["given"], known["references"], known["tokens"]):
        assert [" ".join(tokenize(text)) for text in (given, *texts)] == [ours, *theirs]


def test_tokens_of_what_captions_seldom_have():
    """What PTBTokenizer 3.4.1 answers, punctuation left out."""
    assert " ".join(tokenize("I can't, won't and shouldn't've gone: they've said")) == "i ca n't wo n't and should n't 've gone they 've said"
    assert " ".join(tokenize("Women's cats' x-ray at 10:30 a.m. ($3.50, 5%)")) == "women 's cats x-ray at 10:30 a.m. -lrb- $ 3.50 5 % -rrb-"
    assert " ".join(tokenize("St. Paul's Co. cannot wait…what?! “So” tub/shower—yes!")) == "st. paul 's co. can not wait what ?! so tub/shower yes"


def test_the_meteor_score_is_the_java_programs(references):
    known = references["captions"]
    rows = np.array(known["meteor_statistics"])
    assert score(np.ones((1, len(rows))), rows)[0] == pytest.approx(known["figures"]["meteor"], abs=1e-12)


def test_figures_of_one_word_changed():
    """Of 6 words the last is wrong: 5/6, 4/5, 3/4 and 2/3 of the n-grams match."""
    found = figures(["a man rides a brown cow"] * 2, [["a man rides a brown horse"]] * 2)
    products = np.cumprod([5 / 6, 4 / 5, 3 / 4, 2 / 3])
    assert [found[f"bleu_{order}"] for order in (1, 2, 3, 4)] == pytest.approx([product ** (1 / order) for order, product in enumerate(products, 1)])
    assert found["rouge_l"] == pytest.approx(5 / 6)


def test_short_captions_are_punished_by_the_closest_reference():
    found = figures(["two dogs run"] * 2, [["two dogs run on grass", "two dogs run away quickly today"]] * 2)
    assert found["bleu_1"] == pytest.approx(math.exp(1 - 5 / 3))


def test_what_people_wrote_themselves_scores_full():
    texts = ["a red bus in a street", "two dogs run on green grass", "some white plates stand there"]
    found = figures(texts, [[text] for text in texts])
    assert found == pytest.approx({**{f"bleu_{order}": 1 for order in (1, 2, 3, 4)}, "rouge_l": 1, "cider_d": 10}, abs=1e-8)


def test_what_cannot_be_computed_says_why():
    alone = {metric.name: metric for metric in captions(["a dog"], [["a dog"]])}
    assert alone["cider_d"].why == "not computed: it takes more than one picture"
    assert alone["meteor"].why == "not computed: Java missing"
    assert alone["bleu_4"].how.startswith("mmedge's tokenizer")
    assert {metric.why for metric in captions([], []) if metric.name.startswith(("bleu", "rouge"))} == {"there are no samples"}
    with pytest.raises(ValueError, match="no reference"):
        captions(["a dog"], [[]])


def fake_java(folder: Path, body: str) -> str:
    script = folder / "java"
    script.write_text(f"#!/bin/sh\n{body}\n")
    script.chmod(0o755)
    return os.fspath(script)


@pytest.mark.parametrize(
    ("body", "why"),
    [("exit 1", "no reason given"), ("echo heap >&2; exit 1", "heap"), ("echo 1 2 3", "no reason given")],
)
def test_a_java_program_that_fails_gives_a_reason(monkeypatch, tmp_path, body, why):
    monkeypatch.setattr(meteor_module.shutil, "which", lambda name: fake_java(tmp_path, f"cat > /dev/null; {body}"))
    assert meteor(["a"], [["a"]]).why.startswith("not computed: meteor-1.5.jar missing")
    jar = tmp_path / "meteor-1.5.jar"
    monkeypatch.setattr(meteor_module, "_jar", lambda: jar)
    assert meteor(["a"], [["a"]]).why == f"not computed: meteor-1.5.jar failed: {why}"


def test_counts_of_the_java_program_are_resampled(monkeypatch, tmp_path, references):
    known = references["captions"]
    (tmp_path / "rows").write_text("".join(" ".join(map(str, row)) + "\n" for row in known["meteor_statistics"]))
    monkeypatch.setattr(meteor_module.shutil, "which", lambda name: fake_java(tmp_path, "cat > told; cat rows"))
    monkeypatch.setattr(meteor_module, "_jar", lambda: tmp_path / "meteor-1.5.jar")
    tokens = known["tokens"]
    found = meteor([ours for ours, *_ in tokens], [theirs for _, *theirs in tokens])
    assert found.estimate.value == pytest.approx(known["figures"]["meteor"])
    assert found.estimate.low < found.estimate.value < found.estimate.high
    assert (tmp_path / "told").read_text().splitlines()[0] == " ||| ".join(["SCORE", *tokens[0][1:], tokens[0][0]])


FOREIGN = (["一只红苹果", "两只猫", "a cat"], [["红苹果。"], ["两只黑猫"], ["a cat"]])
"""15 Chinese letters and 8 Latin ones."""
LATIN = (["ein Haus", "un âne", "a cat"], [["eine Straße in München"], ["un âne à l'école"], ["a cat"]])


@pytest.mark.parametrize(("texts", "said"), [(FOREIGN, "for English, and 65% of these letters are not Latin"), (LATIN, "mmedge's tokenizer")])
def test_texts_that_are_not_latin_are_said_to_be_measured_by_an_english_rule(texts, said):
    assert all(one.how.startswith(said) for one in captions(*texts) if one.name != "meteor")
