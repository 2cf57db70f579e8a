"""English in and out: which things a question asks for, and how an answer is put. Pure functions."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

DETERMINERS = frozenset(
    {"a", "an", "the", "any", "some", "one", "this", "that", "these", "those", "my", "your", "his", "her", "our", "their", "another", "other"}
)
AMOUNTS = frozenset({"kind", "sort", "type", "picture", "photo", "image", "pair", "bunch", "piece", "slice", "group", "couple", "lot", "bit", "number"})
"""Of these, what follows is the thing: a pair of scissors, but a cup of coffee."""

ASKED = re.compile(
    r"\b(?:(?:is|are|was|were) there|(?:do|did|can|could|have) you (?:still |also |ever )?(?:see|seen|spot|notice|find|recognise|recognize|detect)"
    r"|last see|(?:is|was) (?:this|that|it)|are (?:these|those|they)|(?:does|do) (?:this|that|it|these|they) (?:look like|show|contain|have)"
    r"|(?:could|can|might) (?:this|that|it) be|what about|how about|looking for|looks? like)\b"
)
"""What comes before the things of a yes/no question. Recognised speech has no reliable punctuation."""

AFTER = re.compile(
    r"\b(?:in|on|at|under|behind|near|next|beside|between|before|earlier|now|here|there|anywhere|somewhere|please|visible|around|from|that|which|who|today|yet|again"
    r"|right|to|with|inside|too|also|as well|or not|you think|you see)\b"
)
"""What comes after them."""

NOBODY = frozenset(
    {
        "anybody",
        "anyone",
        "somebody",
        "someone",
        "person",
        "persons",
        "people",
        "human",
        "humans",
        "man",
        "men",
        "woman",
        "women",
        "child",
        "children",
        "kid",
        "kids",
        "boy",
        "boys",
        "girl",
        "girls",
        "baby",
        "babies",
        "lady",
        "guy",
    }
)
LOOKS = frozenset(
    {"black", "white", "grey", "gray", "red", "green", "blue", "yellow", "brown", "orange", "pink", "purple", "big", "small", "little", "large", "old", "young"}
)
ANYTHING = frozenset({"anything", "something", "thing", "things", "it", "object", "objects", ""})


@dataclass(frozen=True)
class Asked:
    """A thing that a question asks for."""

    thing: str
    """The noun, singular where the vocabulary knows it."""
    rest: str = ""
    """What was said of it that nobody checks, such as ``red``."""


def plain(text: str) -> str:
    """Lower case, no punctuation but the apostrophe, single spaces."""
    return " ".join(re.findall(r"[a-z0-9]+(?:['-][a-z0-9]+)*", text.lower().replace("’", "'")))


def things_in(question: str, find: Callable[[str], str | None], covered: Callable[[str], bool]) -> list[Asked]:
    """The things of a yes/no question: "is there a red bicycle or a dog in the picture" -> bicycle (red), dog.

    Args:
        question: as a speech recogniser writes it.
        find: a noun's form in the vocabulary, or None. The longest known ending of each phrase is the thing; of an unknown one, the whole phrase.
        covered: whether a model has classes for a noun of the vocabulary. A black cat is a cat, though WordNet knows that name for a marten; a red fox is one.
    """
    text = plain(question)
    start = ASKED.search(text)
    if start:
        text = text[start.end() :]
    elif article := re.search(r"\b(?:a|an|any|some)\b", text):
        text = text[article.start() :]
    else:
        return []
    found = []
    for phrase in re.split(r"\b(?:or|and)\b", text):
        phrase = ASKED.sub(" ", phrase)
        words = _noun_phrase((phrase[: end.start()] if (end := AFTER.search(phrase)) else phrase).split())
        if asked := _thing(words, find, covered):
            found.append(asked)
    return found


def _noun_phrase(words: list[str]) -> list[str]:
    """Without its determiners, and without what its noun is said to be of."""
    while words and words[0] in DETERMINERS:
        words = words[1:]
    if "of" in words[1:]:
        at = words.index("of")
        return _noun_phrase(words[at + 1 :]) if words[at - 1] in AMOUNTS else words[:at]
    return words


def _thing(words: list[str], find: Callable[[str], str | None], covered: Callable[[str], bool]) -> Asked | None:
    if " ".join(words) in ANYTHING:
        return None
    for at in range(len(words)):
        if words[at] in NOBODY and at == len(words) - 1:
            return Asked(words[at], " ".join(words[:at]))
        known = find(" ".join(words[at:]))
        if known and (covered(known) or words[at] not in LOOKS or not find(" ".join(words[at + 1 :]))):
            return Asked(known, " ".join(words[:at]))
    return Asked(" ".join(words))


UNCOUNTED = frozenset(
    {"food", "money", "water", "bread", "meat", "furniture", "clothing", "coffee", "tea", "milk", "grass", "paper", "equipment", "jewelry", "fruit"}
)


def a(noun: str) -> str:
    """With its article; none for plurals and for what is not counted: a cat, an owl, sunglasses, food."""
    if noun.lower() in UNCOUNTED or re.search(r"[^suia]s$", noun.lower()):
        return noun
    first = noun.lower()
    vowel = first[:1] in "aeiou" and not re.match(r"(?:uni|use|eu|one\b|ukulele)", first)
    return f"{'an' if vowel or re.match(r'(?:hour|honest|heir)', first) else 'a'} {noun}"


def percent(chance: float) -> str:
    """About how sure, to ten percent: more would be a pretence."""
    tens = round(chance * 10) * 10
    return "less than 10 percent" if tens == 0 else "more than 95 percent" if tens == 100 else f"about {tens} percent"
