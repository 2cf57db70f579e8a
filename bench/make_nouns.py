"""Make ``mmedge/families/dual_encoder/nouns.txt`` from WordNet 3.0: what the classes of ImageNet-1k are kinds of, and what else is a kind of those.

``python bench/make_nouns.py WORDNET SYNSETS OUT``: the folder ``usr/share/wordnet`` of Debian's wordnet-base 1:3.0, and a text file with the WordNet ids of
ImageNet-1k's classes, in their order (``timm/data/_info/imagenet_synsets.txt`` of the package timm carries it).
"""

from __future__ import annotations

import re
import sys
from collections import Counter, defaultdict
from pathlib import Path

from wordnet import WordNet

LICENCE = """\
# Derived from WordNet 3.0. WordNet 3.0 Copyright 2006 by Princeton University. All rights reserved. Permission to use, copy, modify and distribute this
# software and database and its documentation for any purpose and without fee or royalty is hereby granted, provided that you agree to comply with the
# following copyright notice and statements, including the disclaimer, and that the same appear on ALL copies of the software, database and
# documentation, including modifications that you make for internal use or for distribution. THIS SOFTWARE AND DATABASE IS PROVIDED "AS IS" AND
# PRINCETON UNIVERSITY MAKES NO REPRESENTATIONS OR WARRANTIES, EXPRESS OR IMPLIED. BY WAY OF EXAMPLE, BUT NOT LIMITATION, PRINCETON UNIVERSITY MAKES NO
# REPRESENTATIONS OR WARRANTIES OF MERCHANTABILITY OR FITNESS FOR ANY PARTICULAR PURPOSE OR THAT THE USE OF THE LICENSED SOFTWARE, DATABASE OR
# DOCUMENTATION WILL NOT INFRINGE ANY THIRD PARTY PATENTS, COPYRIGHTS, TRADEMARKS OR OTHER RIGHTS. The name of Princeton University or Princeton may not
# be used in advertising or publicity pertaining to distribution of the software and/or database. Title to copyright in this software, database and any
# associated documentation shall at all times remain with Princeton University and LICENSEE agrees to preserve same.
#
# One line a sense, tab-separated: WordNet id; ids of what it is a kind of; index of the class of ImageNet-1k that it is, or -; its words; words for
# kinds of it that no class covers. A star marks everyday words (at least three times in WordNet's sense-tagged texts). Last, after a "!", irregular
# plurals.
"""

THINGS = frozenset({"noun.Tops", "noun.animal", "noun.artifact", "noun.food", "noun.plant", "noun.body", "noun.object"})
"""Kinds of things that a picture shows. People are left out: ImageNet-1k has no class for them but three."""

TOO_GENERAL = 4
"""Senses with fewer steps to ``entity`` are not words for a thing in a picture: object, whole, matter ... and ``artifact``, which is at 4."""

TOO_WIDE = 60
"""A sense that covers more classes says nothing of an uncovered kind of it: that something is a mammal does not make it a bat."""


class Tree:
    """WordNet cut down to the classes, what they are kinds of, and what else those cover."""

    def __init__(self, wordnet: WordNet, classes: list[int]) -> None:
        self.wordnet, self.classes = wordnet, {offset: index for index, offset in enumerate(classes)}
        # A wheeled vehicle is a container in WordNet; nobody who asks for a container means a car.
        self.cut = {(wordnet.senses["wheeled vehicle"][0], wordnet.senses["container"][0])}
        above = set().union(*(self.above(offset) for offset in classes))
        general = {offset for offset in above if wordnet.depth(offset) < TOO_GENERAL or wordnet.synsets[offset].words[0] in ("artifact", "person")}
        covers = Counter(above for offset in classes for above in {offset, *self.above(offset)})
        self.wide = {offset for offset, count in covers.items() if count > TOO_WIDE}
        self.nodes = {offset for offset in above - general if wordnet.synsets[offset].lexname in THINGS} | set(classes)

    def parents(self, offset: int) -> list[int]:
        return [parent for parent in self.wordnet.synsets[offset].parents if (offset, parent) not in self.cut]

    def above(self, offset: int) -> set[int]:
        return {found for parent in self.parents(offset) for found in (parent, *self.above(parent))}

    def nearest(self, offset: int) -> set[int]:
        """The most special nodes that a sense is a kind of."""
        found = self.above(offset) & self.nodes
        return found - set().union(*(self.above(node) for node in found))


def main(wordnet_folder: Path, synsets: Path, out: Path) -> None:
    wordnet = WordNet(wordnet_folder)
    classes = [int(line[1:]) for line in synsets.read_text().split()]
    tree = Tree(wordnet, classes)
    everyday = {word for word, count in wordnet.tags.items() if count >= 3}
    below: dict[int, set[str]] = defaultdict(set)
    for offset, synset in wordnet.synsets.items():
        if offset not in tree.nodes and synset.lexname in THINGS:
            for node in tree.nearest(offset) - tree.wide:
                below[node].update(word.lower() for word in synset.words if common_name(word))
    lines = []
    for offset in sorted(tree.nodes):
        own = dict.fromkeys(wordnet.synsets[offset].words)
        parents = [f"n{parent:08d}" for parent in sorted(tree.nearest(offset))]
        kinds = sorted(below[offset] - {word.lower() for word in own})
        words = [",".join(word + "*" * (word.lower() in everyday) for word in some) for some in (own, kinds)]
        lines.append("\t".join([f"n{offset:08d}", ",".join(parents), str(tree.classes.get(offset, "-")), *words]))
    known = {word.rstrip("*").lower() for line in lines for part in line.split("\t")[3:] for word in part.split(",")}
    plurals = sorted(f"{plural} {singular}" for plural, singular in wordnet.irregular.items() if singular in known and plural not in known)
    out.write_text(LICENCE + "\n".join(lines) + "\n!\t" + ",".join(plurals) + "\n", encoding="utf-8")
    print(f"{len(lines)} senses, {len(known)} words, {out.stat().st_size} bytes")


def common_name(word: str) -> bool:
    """One to three plain words, no scientific name (those are one capitalised word)."""
    return re.fullmatch(r"[A-Za-z]+([ '-][a-z]+){0,2}", word) is not None and (word == word.lower() or " " in word)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]))
