"""Pictures with captions that nobody here chose, and yes/no questions about them that a rule makes.

The pictures are Tux Paint's stamps (Debian's tuxpaint-stamps-default; GPL: used, never shipped). Everything below is a function of the files alone:
which pictures count as photographs of one thing, what that thing is called, which pictures are for tuning, and what is asked.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import environment
import numpy as np
from PIL import Image
from wordnet import WordNet

from mmedge.evaluate.nouns import DETERMINERS, first_phrase, noun_phrase, words

DEBIAN = "tuxpaint-stamps-default", "wordnet-base"
STAMPS, WORDNET = "usr/share/tuxpaint/stamps", "usr/share/wordnet"

SENSES = {
    "animals": {"noun.animal"},
    "clothes": {"noun.artifact"},
    "food": {"noun.food", "noun.plant"},
    "hobbies": {"noun.artifact"},
    "household": {"noun.artifact"},
    "medical": {"noun.artifact", "noun.body"},
    "military": {"noun.artifact"},
    "naturalforces": {"noun.object"},
    "people": {"noun.body", "noun.artifact"},
    "plants": {"noun.plant"},
    "seasonal": {"noun.artifact", "noun.plant", "noun.food", "noun.animal"},
    "space": {"noun.object", "noun.artifact"},
    "sports": {"noun.artifact"},
    "town": {"noun.artifact"},
    "vehicles": {"noun.artifact"},
}
"""Top folder -> what a noun may mean there: the crane among the animals is a bird."""

NOT_PHOTOGRAPHS = {"symbols", "cartoon", "toys", "plastic", "roadsigns", "flags", "hanukkah"}
"""Folders of drawings, signs and imitations, as their makers named them."""

IMITATIONS = {"rubber", "plastic", "toy", "chocolate"}
THINGS = {"noun.Tops", "noun.animal", "noun.artifact", "noun.food", "noun.plant", "noun.body", "noun.object"}

LONG_SIDE = 64
FLAT = 0.5
"""A picture in which more than half of neighbouring pixels are equal (to 1 of 255) is drawn."""
EVERYDAY, NATURAL = 3, 5
"""How often WordNet's sense-tagged texts use a word that may be asked for, and a hypernym."""
HYPERNYMS, NEAR, ABSENT = 2, 3, 5
"""Questions of each kind per picture, at most."""
LEAST_DEPTH, NEAR_DEPTH = 4, 5
"""Steps to ``entity`` that a hypernym, and what two near things have in common, must at least have."""


@dataclass(frozen=True)
class Item:
    """A picture of one thing."""

    path: Path
    key: str
    caption: str
    noun: str
    senses: tuple[int, ...]


@dataclass(frozen=True)
class Question:
    item: Item
    thing: str
    kind: str
    """present, hypernym, near or absent."""

    @property
    def true(self) -> bool:
        return self.kind in ("present", "hypernym")


class Stamps:
    """Pictures and questions; every choice that is left to chance hangs on a picture's name."""

    def __init__(self) -> None:
        root = environment.debian(*DEBIAN)
        self.folder, self.wordnet = root / STAMPS, WordNet(root / WORDNET)

    @cached_property
    def items(self) -> list[Item]:
        """Every picture of one thing that can be named, drawn ones too, in the order of names."""
        found = (self._item(path) for path in sorted(self.folder.rglob("*.png")))
        return [item for item in found if item is not None]

    def split(self) -> tuple[list[Item], list[Item]]:
        """(tuning, held out), photographs only. Pictures that share a caption, a noun, its first sense or the first word of their file names stay together."""
        groups: dict[str, str] = {}

        def find(key: str) -> str:
            while groups.setdefault(key, key) != key:
                key = groups[key]
            return key

        for item in self.items:
            stem = re.split(r"[_\-0-9]", item.path.stem)[0]
            for key in (f"caption {' '.join(words(item.caption))}", f"noun {item.noun}", f"sense {item.senses[0]}", f"file {stem}"):
                groups[find(item.key)] = find(key)
        members: dict[str, list[Item]] = {}
        for item in self.items:
            members.setdefault(find(item.key), []).append(item)
        tuning: list[Item] = []
        held_out: list[Item] = []
        for group in members.values():
            (tuning if _number(min(item.key for item in group)) % 2 else held_out).extend(filter(photograph, group))
        return tuning, held_out

    def questions(self, items: list[Item]) -> list[Question]:
        """Up to 11 a picture: its noun, two hypernyms, three near misses, five absent things, the last two kinds drawn with the picture's name as seed."""
        nouns = sorted({(item.noun, item.senses) for item in items})
        return [question for item in items for question in self._ask(item, nouns)]

    def _ask(self, item: Item, nouns: list[tuple[str, tuple[int, ...]]]) -> list[Question]:
        wordnet, shared = self.wordnet, frozenset.intersection(*map(self.wordnet.above, item.senses))
        around = self._family(item.senses[0]) & shared
        around = {sense for sense in around if wordnet.depth(sense) >= NEAR_DEPTH}
        allowed = self._unrelated(item)
        candidates = dict([*((word, tuple(s for s in wordnet.senses[word] if wordnet.synsets[s].lexname in THINGS)) for word in self._everyday), *nouns])
        near = sorted(word for word, senses in candidates.items() if allowed(word) and self._family(senses[0]) & around)
        near = random.Random(_number(item.key + " near")).sample(near, min(NEAR, len(near)))
        absent = sorted({word for word, senses in nouns if allowed(word) and word not in near and not any(around & wordnet.above(sense) for sense in senses)})
        absent = random.Random(_number(item.key + " absent")).sample(absent, min(ABSENT, len(absent)))
        asked = [("present", [item.noun]), ("hypernym", self._hypernyms(item, shared)), ("near", near), ("absent", absent)]
        return [Question(item, thing, kind) for kind, things in asked for thing in things]

    def _hypernyms(self, item: Item, shared: frozenset[int]) -> list[str]:
        """Everyday words above every sense that the noun may have here, the most special first."""
        wordnet = self.wordnet
        depths = {
            word: wordnet.depth(sense)
            for sense in shared
            if wordnet.depth(sense) >= LEAST_DEPTH and wordnet.synsets[sense].lexname in THINGS
            for word in wordnet.synsets[sense].words
            if word.islower() and word.isalpha() and wordnet.tags.get(word, 0) >= NATURAL and wordnet.senses[word][0] == sense and word != "artifact"
        }
        depths.pop(item.noun, None)
        return sorted(depths, key=lambda word: (-depths[word], word))[:HYPERNYMS]

    def _unrelated(self, item: Item) -> Callable[[str], bool]:
        """Whether "there is no X" is surely right: X and the caption's words are not parts of each other, nor does a sense of one cover one of the other."""
        wordnet, said = self.wordnet, words(item.caption)
        lemmas = {lemma for n in (1, 2) for i in range(len(said)) if (lemma := wordnet.lemma(" ".join(said[i : i + n])))} | {item.noun}
        own = {sense for lemma in lemmas for sense in wordnet.senses[lemma]}
        related = own.union(*map(wordnet.above, own), *map(wordnet.below, own))
        alike = lambda word: any(a in b or b in a for a in word.split() for b in said if len(b) > 2)  # noqa: E731 - a sailboat is a boat, whatever WordNet says
        return lambda word: not related.intersection(wordnet.senses[word]) and not alike(word)

    def _family(self, sense: int) -> set[int]:
        """Parents and grandparents."""
        parents = self.wordnet.synsets[sense].parents
        return set(parents).union(*(self.wordnet.synsets[parent].parents for parent in parents))

    @cached_property
    def _everyday(self) -> list[str]:
        wordnet = self.wordnet
        return [
            word
            for word, senses in wordnet.senses.items()
            if wordnet.synsets[senses[0]].lexname in THINGS and wordnet.tags.get(word, 0) >= EVERYDAY and len(word) > 2
            and not (word.endswith("s") and word[:-1] in wordnet.senses) and word not in wordnet.irregular and wordnet.synsets[senses[0]].words[0].islower()
        ]  # fmt: skip

    def _item(self, path: Path) -> Item | None:
        parts = path.relative_to(self.folder).parts
        if NOT_PHOTOGRAPHS & set(parts) or "_mirror" in path.name:
            return None
        caption = path.with_suffix(".txt").read_text(encoding="utf-8", errors="replace").splitlines()[0].strip()
        if IMITATIONS & set(words(caption)):
            return None
        for noun in self._nouns(caption):
            senses = tuple(sense for sense in self.wordnet.senses[noun] if self.wordnet.synsets[sense].lexname in SENSES.get(parts[0], set()))
            if senses:
                return Item(path, "/".join(parts), caption, noun, senses)
        return None

    def _nouns(self, caption: str) -> Iterable[str]:
        """What the caption may name: the longest known compound at the end of its first noun phrase first."""
        phrase = first_phrase(caption)
        if not phrase or phrase[0] not in DETERMINERS:
            return
        phrase = noun_phrase(phrase[1:])
        for count in (3, 2, 1):
            if len(phrase) >= count and (lemma := self.wordnet.lemma(" ".join(phrase[-count:]))):
                yield lemma


def photograph(item: Item) -> bool:
    """Large enough, and not drawn in flat colours."""
    pixels = np.asarray(Image.open(item.path).convert("RGBA")).astype(int)
    seen = (pixels[:, 1:, 3] > 0) & (pixels[:, :-1, 3] > 0)
    flat = (np.abs(pixels[:, 1:, :3] - pixels[:, :-1, :3]).max(-1) <= 1) & seen
    return max(pixels.shape[:2]) >= LONG_SIDE and bool(flat.sum() < FLAT * seen.sum())


def _number(text: str) -> int:
    return int(hashlib.sha256(text.encode()).hexdigest(), 16)
