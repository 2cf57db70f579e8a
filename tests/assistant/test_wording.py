from __future__ import annotations

import pytest

from mmedge.assistant.wording import Asked, a, percent, plain, things_in

NOUNS = {"cat", "dog", "bicycle", "cup", "scissors", "fire truck", "truck", "animal", "ball", "tennis ball", "glass", "bottle", "black cat", "red dog"}
COVERED = NOUNS - {"black cat"}


def find(phrase):
    return phrase if phrase in NOUNS else phrase.removesuffix("s") if phrase.removesuffix("s") in NOUNS else None


@pytest.mark.parametrize(
    ("question", "things"),
    [
        ("Is there a cat in the picture?", [Asked("cat")]),
        ("is there cat", [Asked("cat")]),
        ("IS THERE A CAT, PLEASE", [Asked("cat")]),
        ("Is there a red bicycle in front of the house?", [Asked("bicycle", "red")]),
        ("is this a cat or a dog", [Asked("cat"), Asked("dog")]),
        ("is it a bottle, or is it a glass", [Asked("bottle"), Asked("glass")]),
        ("are there any dogs here", [Asked("dog")]),
        ("can you see a fire truck?", [Asked("fire truck")]),
        ("do you see a tennis ball on the table?", [Asked("tennis ball")]),
        ("is there a cup of coffee", [Asked("cup")]),
        ("is there a pair of scissors", [Asked("scissors")]),
        ("is there a black cat", [Asked("cat", "black")]),
        ("is there a red dog", [Asked("red dog")]),
        ("what about a dog?", [Asked("dog")]),
        ("have you seen a cat before", [Asked("cat")]),
        ("did you see a little black dog earlier", [Asked("dog", "little black")]),
        ("and a truck", [Asked("truck")]),
        ("is there a zorgelflump", [Asked("zorgelflump")]),
        ("is there a person", [Asked("person")]),
        ("is there anything", []),
        ("is there something on the table", []),
        ("what do you see", []),
        ("", []),
    ],
)
def test_things_of_a_question(question, things):
    assert things_in(question, find, COVERED.__contains__) == things


def test_plain_survives_what_recognisers_write():
    assert plain("  What's THAT -- a Cat?!") == "what's that a cat"
    assert plain("Is it a dog’s bone?") == "is it a dog's bone"


@pytest.mark.parametrize(
    ("noun", "said"),
    [
        ("cat", "a cat"),
        ("owl", "an owl"),
        ("Egyptian Mau", "an Egyptian Mau"),
        ("unicycle", "a unicycle"),
        ("hourglass", "an hourglass"),
        ("sunglasses", "sunglasses"),
        ("bus", "a bus"),
        ("espresso", "an espresso"),
        ("food", "food"),
        ("glass", "a glass"),
    ],
)
def test_articles(noun, said):
    assert a(noun) == said


@pytest.mark.parametrize(
    ("chance", "said"), [(0.0, "less than 10 percent"), (0.38, "about 40 percent"), (0.94, "about 90 percent"), (0.97, "more than 95 percent")]
)
def test_percent_pretends_nothing(chance, said):
    assert percent(chance) == said
