"""Whether a picture and a text belong together: right pairs against wrong ones."""

from __future__ import annotations

import zlib
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from mmedge.evaluate.data import Data
from mmedge.evaluate.metrics.bootstrap import Draft, Metric, Samples, Values, measure
from mmedge.evaluate.metrics.roc import pair_area
from mmedge.evaluate.tasks import Answer, Ask, Inputs, Scored, Setting, text_of
from mmedge.manifest import Model

WRONG = 5
"""Wrong texts that each picture is also compared with, of each kind, at most."""

METRICS = ("auc_random", "auc_folder")


@dataclass(frozen=True)
class Matching:
    """The area under the ROC curve: the chance that a right pair scores above a wrong one.

    Wrong texts are drawn by the data's seed from those of the other samples: any (``auc_random``), and those of samples in the same folder (``auc_folder``),
    which are of its kind. Every picture, and every different text, is encoded once.
    """

    model: Model
    data: Data
    inputs: tuple[str, ...]
    wants: str
    setting: Setting
    name: str = "matching"
    optional: tuple[str, ...] = ()
    depends: tuple[str, ...] = ()
    metrics: tuple[str, ...] = METRICS
    agreement: tuple[str, ...] = ("cosine", "top1_agreement")
    judged: str = METRICS[0]

    def open(self, session: Any) -> Ask:
        def ask(inputs: Inputs) -> Answer:
            features = session.encode_image(inputs["image"])
            return Answer(vector=features.vector, kept=features)

        return ask

    def use(self, session: Any, inputs: Inputs, reference: Any) -> None:
        session.match(inputs["image"], text_of(reference))

    def score(self, session: Any, answers: Sequence[Answer], references: Sequence[Any]) -> Scored:
        texts = [text_of(one) for one in references]
        encoded = {text: session.encode_text(text) for text in sorted({*texts})}
        owned = [{text, *(reference if isinstance(reference, list) else ())} for text, reference in zip(texts, references)]
        drawn = wrong_texts(texts, owned, self._folders(), self.data.seed)
        rows, said = [], []
        for answer, text, wrong in zip(answers, texts, drawn):
            scores = {one: session.match(answer.kept, encoded[one]) for one in {text, *wrong[0], *wrong[1]}}
            rows.append(scores)
            said.append(max(sorted(scores), key=lambda one: scores[one]))
        return Scored(areas(texts, drawn, rows), said)

    def _folders(self) -> dict[str, set[str]]:
        """Text -> the folders of the samples that have it."""
        found: dict[str, set[str]] = defaultdict(set)
        for sample in self.data:
            if self.wants in sample.fields:
                found[text_of(sample.fields[self.wants])].add(str(PurePosixPath(sample.key).parent))
        return found


def wrong_texts(texts: Sequence[str], owned: Sequence[Collection[str]], folders: Mapping[str, set[str]], seed: int) -> list[tuple[list[str], list[str]]]:
    """For each right text up to ``WRONG`` other ones of any sample, and as many of the same folder: the same ones each time.

    Args:
        texts: each sample's own.
        owned: all texts that are right for it.
        folders: text -> the folders of the samples that have it.
    """
    everything, several = sorted({*texts}), len(set().union(*folders.values())) > 1

    def drawn(kind: str, text: str, own: Collection[str], among: Sequence[str]) -> list[str]:
        others = [one for one in among if one not in own]
        random = np.random.default_rng([seed, zlib.crc32(kind.encode()), zlib.crc32(text.encode())])
        return [others[at] for at in random.choice(len(others), min(WRONG, len(others)), replace=False)]

    made = []
    for text, own in zip(texts, owned):
        near = [other for other in everything if several and folders[other] & folders[text]]
        made.append((drawn("random", text, own, everything), drawn("folder", text, own, near)))
    return made


def areas(texts: Sequence[str], drawn: Sequence[tuple[Sequence[str], Sequence[str]]], scores: Sequence[Mapping[str, float]]) -> list[Metric]:
    """``METRICS``, of each sample's score of its own text and of those that were drawn for it."""
    rows = np.full((len(METRICS), len(texts), 1 + WRONG), np.nan)
    for number, (text, wrong, found) in enumerate(zip(texts, drawn, scores)):
        for row, others in zip(rows[:, number], wrong):
            row[: 1 + len(others)] = [found[one] for one in (text, *others)]
    return measure([_draft(name, values) for name, values in zip(METRICS, rows)])


def _draft(name: str, rows: Values) -> Draft:
    kind = "of the same folder" if name == "auc_folder" else "of other samples"
    why = "there are no folders with several different texts" if name == "auc_folder" else "all texts are the same"
    return Draft(name, Samples(rows, pair_area), f"not computed: {why}", how=f"each right pair against up to {WRONG} wrong ones {kind}")
