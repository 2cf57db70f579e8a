"""Whether a picture and a text belong together: right pairs against wrong ones."""

from __future__ import annotations

import zlib
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from mmedge.evaluate.data import Data
from mmedge.evaluate.metrics.bootstrap import Draft, Samples, Values, measure
from mmedge.evaluate.metrics.roc import pair_area
from mmedge.evaluate.tasks import Answer, Ask, Inputs, Scored, Setting, text_of
from mmedge.manifest import Model

WRONG = 5
"""Wrong texts that each picture is also compared with, of each kind, at most."""


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
    metrics: tuple[str, ...] = ("auc_random", "auc_folder")
    agreement: tuple[str, ...] = ("cosine", "top1_agreement")
    judged: str = "auc_random"

    def open(self, session: Any) -> Ask:
        def ask(inputs: Inputs) -> Answer:
            features = session.encode_image(inputs["image"])
            return Answer(vector=features.vector, kept=features)

        return ask

    def use(self, session: Any, inputs: Inputs, reference: Any) -> None:
        session.match(inputs["image"], text_of(reference))

    def score(self, session: Any, answers: Sequence[Answer], references: Sequence[Any]) -> Scored:
        texts = [text_of(one) for one in references]
        everything, folders = sorted({*texts}), self._folders()
        several = len(set().union(*folders.values())) > 1
        encoded = {text: session.encode_text(text) for text in everything}
        rows = np.full((2, len(texts), 1 + WRONG), np.nan)
        said = []
        for number, (answer, text, reference) in enumerate(zip(answers, texts, references)):
            own = {text, *(reference if isinstance(reference, list) else ())}
            near = [other for other in everything if several and folders[other] & folders[text]]
            drawn = [self._drawn(kind, text, own, among) for kind, among in (("random", everything), ("folder", near))]
            scores = {one: session.match(answer.kept, encoded[one]) for one in {text, *drawn[0], *drawn[1]}}
            for row, wrong in zip(rows[:, number], drawn):
                row[: 1 + len(wrong)] = [scores[one] for one in (text, *wrong)]
            said.append(max(sorted(scores), key=lambda one: scores[one]))
        return Scored(measure([_draft(name, found) for name, found in zip(self.metrics, rows)]), said)

    def _folders(self) -> dict[str, set[str]]:
        """Text -> the folders of the samples that have it."""
        found: dict[str, set[str]] = defaultdict(set)
        for sample in self.data:
            if self.wants in sample.fields:
                found[text_of(sample.fields[self.wants])].add(str(PurePosixPath(sample.key).parent))
        return found

    def _drawn(self, kind: str, text: str, own: Collection[str], among: Sequence[str]) -> list[str]:
        others = [one for one in among if one not in own]
        random = np.random.default_rng([self.data.seed, zlib.crc32(kind.encode()), zlib.crc32(text.encode())])
        return [others[at] for at in random.choice(len(others), min(WRONG, len(others)), replace=False)]


def _draft(name: str, rows: Values) -> Draft:
    kind = "of the same folder" if name == "auc_folder" else "of other samples"
    why = "there are no folders with several different texts" if name == "auc_folder" else "all texts are the same"
    return Draft(name, Samples(rows, pair_area), f"not computed: {why}", how=f"each right pair against up to {WRONG} wrong ones {kind}")
