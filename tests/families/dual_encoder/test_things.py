from __future__ import annotations

import numpy as np
import pytest

from mmedge.families.dual_encoder.nouns import class_names, phrases, read_nouns, things
from mmedge.families.dual_encoder.things import Things

LABELS = class_names(None)
THINGS = Things(things(LABELS))


def seen(**chances):
    probabilities = np.zeros(1000, np.float32)
    for label, chance in chances.items():
        probabilities[LABELS.index(label.replace("_", " "))] = chance
    return probabilities


def test_every_class_is_there_and_under_what_it_is():
    """ImageNet's classes lie in WordNet's order: animals are 0 to 397, dogs 151 to 268, birds 7 to 24, 80 to 100 and 127 to 146 (Deng et al. 2009)."""
    nodes, _, _ = read_nouns()
    assert sorted(node.index for node in nodes if node.index is not None) == list(range(1000))
    assert len(set(LABELS)) >= 998
    one = np.eye(1000, dtype=np.float32)
    for word, covered in {"animal": range(398), "dog": range(151, 269), "bird": [*range(7, 25), *range(80, 101), *range(127, 147)]}.items():
        assert [index for index in range(1000) if THINGS.chance(one[index], word) == 1] == list(covered)


def test_hypernyms_add_up():
    picture = seen(tabby=0.3, Egyptian_cat=0.4, tench=0.2)
    assert THINGS.chance(picture, "cat") == pytest.approx(0.7)
    assert THINGS.chance(picture, "animal") == pytest.approx(0.9)
    assert THINGS.chance(picture, "vehicle") == 0


def test_what_has_no_class_shares_with_its_relatives():
    """A donkey is an equine, of which ImageNet has the sorrel and the zebra: a third of what is left when neither is certain."""
    assert not THINGS.covered("donkey") and THINGS.covered("horse")
    assert THINGS.chance(seen(sorrel=0.3, zebra=0.3), "donkey") == pytest.approx(0.6 * 0.7 / 3)
    assert THINGS.chance(seen(zebra=0.95), "donkey") < 0.02


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ("Cat", "cat"),
        ("cats", "cat"),
        ("mice", "mouse"),
        ("knives", "knife"),
        ("fire trucks", "fire truck"),
        ("boxes", "box"),
        ("butterflies", "butterfly"),
        ("sunglasses", "sunglasses"),
        ("tomatoes", "tomato"),
        ("  tea   pot", None),
        ("zorgelflump", None),
        ("", None),
        ("object", None),
        ("entity", None),
    ],
)
def test_forms_of_words(said, found):
    assert THINGS.find(said) == found


def test_kind_is_the_most_special_everyday_word():
    assert THINGS.kind(seen(tabby=0.3, Egyptian_cat=0.4), 0.6) == ("cat", pytest.approx(0.7))
    assert THINGS.kind(seen(tabby=0.3, golden_retriever=0.4), 0.6)[0] == "mammal"
    assert THINGS.kind(seen(tabby=0.3, moped=0.2, tench=0.05), 0.6) is None


def test_phrases_add_what_a_class_is():
    said = phrases(things(LABELS))
    assert said[LABELS.index("Egyptian cat")] == "Egyptian cat, cat"
    assert said[LABELS.index("tench")] == "tench, fish" and said[LABELS.index("tabby")] == "tabby, cat"


def test_names_given_are_freed_of_remarks():
    given = list(LABELS)
    given[:6] = ["tench (fish)", "swim trunks / shorts", "bell or wind chime", "a cat having stripes", "one two three four five", "tench"]
    assert class_names(given)[:6] == ["tench", "swim trunks", "bell", LABELS[3], LABELS[4], LABELS[5]]


def test_the_licence_of_wordnet_is_kept():
    from importlib import resources

    text = resources.files("mmedge.families.dual_encoder").joinpath("nouns.txt").read_text(encoding="utf-8")
    assert "WordNet 3.0 Copyright 2006 by Princeton University" in text
