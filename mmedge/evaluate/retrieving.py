"""Pictures, or sounds, and the texts that go with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mmedge.evaluate.data import Data
from mmedge.evaluate.metrics.retrieval import gallery, retrieval
from mmedge.evaluate.tasks import Answer, Ask, Inputs, Scored, Setting
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
    depends: tuple[str, ...] = ()

    def open(self, session: Any) -> Ask:
        (item,) = self.inputs
        embed = getattr(session, f"embed_{item}")

        def ask(inputs: Inputs) -> Answer:
            return Answer(vector=np.array(embed(inputs[item]), np.float64).reshape(-1))

        return ask

    def score(self, session: Any, answers: Sequence[Answer], references: Sequence[Any]) -> Scored:
        texts, relevant = gallery(references)
        embedded = np.stack([np.array(session.embed_text(text), np.float64).reshape(-1) for text in texts])
        scores = np.stack([answer.vector for answer in answers if answer.vector is not None]) @ embedded.T
        (item,) = self.inputs
        metrics = [replace(one, name=one.name.replace("image", item)) for one in retrieval(scores, relevant)]
        return Scored(metrics, [texts[best] for best in scores.argmax(axis=1)], scores)
