"""How likely a thing is in the picture, from the probabilities of ImageNet-1k's classes and WordNet's hierarchy of nouns."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Probabilities = NDArray[np.float32]

ENDINGS = (
    ("ches", "ch"),
    ("shes", "sh"),
    ("sses", "ss"),
    ("xes", "x"),
    ("zes", "z"),
    ("ies", "y"),
    ("oes", "o"),
    ("ves", "f"),
    ("ves", "fe"),
    ("men", "man"),
    ("s", ""),
)
"""Regular plurals, the longest ending first."""


class Things:
    """The asset ``things.json`` in use. Methods are pure."""

    def __init__(self, content: Mapping[str, Any]) -> None:
        self.labels: tuple[str, ...] = tuple(content["labels"])
        self.bank: tuple[str, ...] = tuple(content["bank"])
        self._senses = [(name, everyday, np.array(classes)) for name, everyday, classes in content["senses"]]
        self._words: Mapping[str, tuple[list[int], list[int]]] = content["words"]
        self._plurals: Mapping[str, str] = content["plurals"]

    def find(self, word: str) -> str | None:
        """The vocabulary's form of a noun, singular, lower case; None where the vocabulary lacks it."""
        word = re.sub(r"\s+", " ", word.strip().lower())
        if word in self._words:
            return word
        if word in self._plurals:
            return self._plurals[word]
        head, _, last = word.rpartition(" ")
        candidates = [last[: -len(ending)] + instead for ending, instead in ENDINGS if last.endswith(ending)]
        for singular in (self._plurals.get(last), *candidates):
            if singular and (found := f"{head} {singular}".strip()) in self._words:
                return found
        return None

    def covered(self, word: str) -> bool:
        """Whether the classifier has classes for this word of the vocabulary, or only for relatives of it."""
        return bool(self._words[word][0])

    def chance(self, probabilities: Probabilities, word: str) -> float:
        """How likely the picture shows what ``word``, of the vocabulary, names.

        A word that names a class, or is a hypernym of some, has the sum of their probabilities. A word without a class of its own (a rose, a donkey) shares
        with the ``n`` classes of its nearest hypernym what that hypernym has: P / (n + 1), less the more one of those classes is certain, for then it is that
        one. Of several senses the likeliest counts.
        """
        own, near = self._words[word]
        best = 0.0
        for sense in own:
            best = max(best, float(probabilities[self._senses[sense][2]].sum()))
        for sense in near:
            some = probabilities[self._senses[sense][2]]
            best = max(best, float(some.sum() * (1 - some.max()) / (len(some) + 1)))
        return min(best, 1.0)

    def kind(self, probabilities: Probabilities, at_least: float) -> tuple[str, float] | None:
        """The most special everyday word whose chance is ``at_least`` so much, such as ``dog`` where no breed is certain."""
        best: tuple[int, str, float] | None = None
        for name, everyday, classes in self._senses:
            if everyday and (best is None or len(classes) < best[0]):
                chance = float(probabilities[classes].sum())
                if chance >= at_least:
                    best = (len(classes), name, chance)
        return None if best is None else best[1:]
