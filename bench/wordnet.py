"""WordNet 3.0's noun hierarchy, read from Princeton's own dictionary files (Debian's ``wordnet-base`` carries them)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path

OTHERS = 3
"""Numbers 0 to 2 of the lexicographer's files are of adjectives and adverbs."""

LEXNAMES = (
    "noun.Tops",
    "noun.act",
    "noun.animal",
    "noun.artifact",
    "noun.attribute",
    "noun.body",
    "noun.cognition",
    "noun.communication",
    "noun.event",
    "noun.feeling",
    "noun.food",
    "noun.group",
    "noun.location",
    "noun.motive",
    "noun.object",
    "noun.person",
    "noun.phenomenon",
    "noun.plant",
    "noun.possession",
    "noun.process",
    "noun.quantity",
    "noun.relation",
    "noun.shape",
    "noun.state",
    "noun.substance",
    "noun.time",
)
"""The files of nouns, in the order of their numbers from ``OTHERS`` on."""


@dataclass(frozen=True)
class Synset:
    """One sense: its words, the file its lexicographer put it in, and what it is a kind of."""

    offset: int
    words: tuple[str, ...]
    lexname: str
    parents: tuple[int, ...] = field(repr=False)
    """Offsets of hypernyms and of instance hypernyms."""

    @property
    def wnid(self) -> str:
        """As ImageNet names it."""
        return f"n{self.offset:08d}"


class WordNet:
    """Nouns only. Words are lower case with spaces."""

    def __init__(self, folder: Path) -> None:
        """``folder`` holds ``data.noun``, ``index.noun``, ``noun.exc`` and ``cntlist.rev``."""
        self.synsets = {synset.offset: synset for synset in map(_synset, _lines(folder / "data.noun"))}
        self.senses: dict[str, list[int]] = {}
        for line in _lines(folder / "index.noun"):
            fields = line.split()
            count = int(fields[2])
            self.senses[fields[0].replace("_", " ")] = [int(offset) for offset in fields[-count:]]
        self.irregular = {words[0].replace("_", " "): words[1].replace("_", " ") for words in map(str.split, _lines(folder / "noun.exc"))}
        self.tags: dict[str, int] = {}
        for line in _lines(folder / "cntlist.rev"):
            key, _, count_text = line.split()
            word, _, rest = key.partition("%")
            if rest.startswith("1:"):
                self.tags[word.replace("_", " ")] = self.tags.get(word.replace("_", " "), 0) + int(count_text)

    @cached_property
    def children(self) -> dict[int, list[int]]:
        found: dict[int, list[int]] = {}
        for synset in self.synsets.values():
            for parent in synset.parents:
                found.setdefault(parent, []).append(synset.offset)
        return found

    @cache  # noqa: B019 - one instance lives as long as the program
    def above(self, offset: int) -> frozenset[int]:
        """Everything that this sense is a kind of, without itself."""
        parents = self.synsets[offset].parents
        return frozenset(parents).union(*(self.above(parent) for parent in parents))

    @cache  # noqa: B019
    def below(self, offset: int) -> frozenset[int]:
        """Everything that is a kind of this sense, without itself."""
        children = self.children.get(offset, [])
        return frozenset(children).union(*(self.below(child) for child in children))

    @cache  # noqa: B019
    def depth(self, offset: int) -> int:
        """Steps to ``entity`` by the shortest way."""
        parents = self.synsets[offset].parents
        return 1 + min(map(self.depth, parents)) if parents else 0

    def lemma(self, word: str) -> str | None:
        """The dictionary form of a noun, singular; None where WordNet has no such noun (its own morphological rules, morphy)."""
        word = word.lower().strip()
        if word in self.irregular and self.irregular[word] in self.senses:
            return self.irregular[word]
        if word in self.senses:
            return word
        for ending, instead in (("ches", "ch"), ("shes", "sh"), ("ses", "s"), ("xes", "x"), ("zes", "z"), ("ies", "y"), ("men", "man"), ("s", "")):
            if word.endswith(ending) and word[: -len(ending)] + instead in self.senses:
                return word[: -len(ending)] + instead
        return None


def _lines(path: Path) -> Iterator[str]:
    with open(path, encoding="utf-8") as file:
        for line in file:
            if not line.startswith("  "):  # the licence, which heads every file
                yield line


def _synset(line: str) -> Synset:
    fields = line.partition("|")[0].split()
    count = int(fields[3], 16)
    words = tuple(fields[4 + 2 * i].replace("_", " ") for i in range(count))
    at = 4 + 2 * count
    pointers = [fields[at + 1 + 4 * i : at + 5 + 4 * i] for i in range(int(fields[at]))]
    parents = tuple(int(offset) for symbol, offset, kind, _ in pointers if symbol in ("@", "@i") and kind == "n")
    return Synset(int(fields[0]), words, LEXNAMES[int(fields[1]) - OTHERS], parents)
