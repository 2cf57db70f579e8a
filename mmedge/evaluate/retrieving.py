"""Pictures, or sounds, and the texts that go with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mmedge.evaluate.data import Data
from mmedge.evaluate.metrics.retrieval import RECALLS, gallery, retrieval
from mmedge.evaluate.tasks import Answer, Ask, Inputs, Scored, Setting, Vector, text_of
from mmedge.manifest import Model


@dataclass(frozen=True)
class Retrieval:
    """By the cosines of their embeddings, both ways. Every different text is embedded once."""

    model: Model
    data: Data
    inputs: tuple[str, ...]
    wants: str
    setting: Setting
    name: str = "retrieval"
    optional: tuple[str, ...] = ()
    depends: tuple[str, ...] = ()
    agreement: tuple[str, ...] = ("cosine", "spearman", "top1_agreement")

    @property
    def metrics(self) -> tuple[str, ...]:
        (item,) = self.inputs
        figures = (*(f"r{k}" for k in RECALLS), "median_rank")
        return tuple(f"{way}_{figure}" for way in (f"{item}_to_text", f"text_to_{item}") for figure in figures)

    @property
    def judged(self) -> str:
        return f"{self.inputs[0]}_to_text_r5"

    def open(self, session: Any) -> Ask:
        return embedding(session, self.inputs)

    def use(self, session: Any, inputs: Inputs, reference: Any) -> None:
        self.open(session)(inputs)
        _of_text(session, text_of(reference))

    def score(self, session: Any, answers: Sequence[Answer], references: Sequence[Any]) -> Scored:
        texts, relevant = gallery(references)
        embedded = np.stack([_of_text(session, text) for text in texts])
        scores = np.stack([answer.vector for answer in answers if answer.vector is not None]) @ embedded.T
        (item,) = self.inputs
        metrics = [replace(one, name=one.name.replace("image", item)) for one in retrieval(scores, relevant)]
        first = relevant.argmax(axis=1)
        return Scored(metrics, [texts[best] for best in scores.argmax(axis=1)], scores, beside=embedded[first])


def embedding(session: Any, inputs: tuple[str, ...]) -> Ask:
    """Asks for the embedding of the one input."""
    (item,) = inputs
    embed = getattr(session, f"embed_{item}")

    def ask(given: Inputs) -> Answer:
        return Answer(vector=np.array(embed(given[item]), np.float64).reshape(-1))

    return ask


def _of_text(session: Any, text: str) -> Vector:
    return np.array(session.embed_text(text), np.float64).reshape(-1)


@dataclass(frozen=True)
class Embedding:
    """Embeddings of pictures or sounds without texts: nothing is right or wrong, they can only be compared with fp32's."""

    model: Model
    data: Data
    inputs: tuple[str, ...]
    wants: str
    setting: Setting
    name: str = "embedding"
    optional: tuple[str, ...] = ()
    depends: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    agreement: tuple[str, ...] = ("cosine",)
    judged: str = "cosine"

    def open(self, session: Any) -> Ask:
        return embedding(session, self.inputs)

    def use(self, session: Any, inputs: Inputs, reference: Any) -> None:
        self.open(session)(inputs)

    def score(self, session: Any, answers: Sequence[Answer], references: Sequence[Any]) -> Scored:
        return Scored([], [])
