"""Read ``nouns.txt``, WordNet cut down to ImageNet-1k's classes, into the asset that a session carries (``things.json``)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

CLASSES = 1000


@dataclass(frozen=True)
class Node:
    """One sense that covers at least one class."""

    wnid: str
    parents: tuple[str, ...]
    index: int | None
    """Which class it is, if it is one."""
    words: tuple[str, ...]
    kinds: tuple[str, ...]
    """Words for kinds of it that no class covers."""


def read_nouns() -> tuple[list[Node], dict[str, str], set[str]]:
    """(senses, irregular plurals, everyday words)."""
    text = resources.files("mmedge.families.dual_encoder").joinpath("nouns.txt").read_text(encoding="utf-8")
    nodes: list[Node] = []
    plurals: dict[str, str] = {}
    everyday: set[str] = set()
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        if line.startswith("!"):
            plurals = dict(pair.split(" ", 1) for pair in line.partition("\t")[2].split(","))
            continue
        wnid, parents, index, own, kinds = line.split("\t")
        everyday.update(word[:-1].lower() for part in (own, kinds) for word in part.split(",") if word.endswith("*"))
        own_words, kind_words = (tuple(word.rstrip("*") for word in part.split(",") if word) for part in (own, kinds))
        nodes.append(Node(wnid, tuple(parents.split(",")) if parents else (), None if index == "-" else int(index), own_words, kind_words))
    return nodes, plurals, everyday


def class_names(given: Sequence[str] | None) -> list[str]:
    """The 1000 classes as one would say them: the names given, without remarks and alternatives; WordNet's first word where there is none, or a description."""
    first = {node.index: node.words[0] for node in read_nouns()[0] if node.index is not None}
    names = []
    for index in range(CLASSES):
        name = re.split(r" / | or |,", re.sub(r"\(.*?\)", "", given[index]))[0].strip() if given is not None else first[index]
        names.append(first[index] if name in names or name.startswith(("a ", "an ")) or len(name.split()) > 4 else name)
    return names


def things(labels: Sequence[str]) -> dict[str, Any]:
    """The asset ``things.json``.

    Returns:
        ``labels``; ``senses``: per sense its name, whether that is an everyday word, and the classes under it; ``words``: word -> [senses that it names,
        senses that it is an uncovered kind of]; ``plurals``; ``bank``: everyday words and labels, whose embeddings the asset ``words.npy`` holds in that order.
    """
    nodes, plurals, everyday = read_nouns()
    place = {node.wnid: at for at, node in enumerate(nodes)}
    under: list[set[int]] = [set() for _ in nodes]
    for node in nodes:
        if node.index is not None:
            _spread(nodes, place, node.wnid, node.index, under)
    words: dict[str, tuple[list[int], list[int]]] = {}
    for at, node in enumerate(nodes):
        for side, some in enumerate((node.words, node.kinds)):
            for word in some:
                words.setdefault(word.lower(), ([], []))[side].append(at)
    for index, label in enumerate(labels):
        at = next(at for at, node in enumerate(nodes) if node.index == index)
        own = words.setdefault(label.lower(), ([], []))[0]
        if at not in own:
            own.append(at)
    return {
        "labels": list(labels),
        "senses": [[node.words[0], node.words[0].lower() in everyday, sorted(under[at])] for at, node in enumerate(nodes)],
        "words": words,
        "plurals": plurals,
        "bank": sorted({*(word for word in everyday if word in words), *(label.lower() for label in labels)}),
    }


def phrases(content: Mapping[str, Any]) -> list[str]:
    """Each class with the most special everyday word for more than it, such as "Egyptian Mau, cat": a sentence encoder has not met every breed."""
    kinds = [("", CLASSES)] * CLASSES
    for name, everyday, classes in content["senses"]:
        for index in classes if everyday and len(classes) > 1 else ():
            if len(classes) < kinds[index][1] and name.lower() != content["labels"][index].lower():
                kinds[index] = name, len(classes)
    return [f"{label}, {kind}" if kind else label for label, (kind, _) in zip(content["labels"], kinds)]


def _spread(nodes: list[Node], place: dict[str, int], wnid: str, index: int, under: list[set[int]]) -> None:
    under[place[wnid]].add(index)
    for parent in nodes[place[wnid]].parents:
        _spread(nodes, place, parent, index, under)
