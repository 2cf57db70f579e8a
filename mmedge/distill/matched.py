"""A fusion that tells whether a picture and a text belong together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import PurePosixPath

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from mmedge.distill.fused import Fused, Material
from mmedge.distill.modalities import network_of
from mmedge.distill.samples import Numbers
from mmedge.distill.training import Chosen
from mmedge.errors import MmedgeError
from mmedge.evaluate.matching import METRICS, areas, wrong_texts
from mmedge.evaluate.metrics.bootstrap import Metric
from mmedge.training import Training

JUDGED = METRICS[0]

Judge = Callable[[Numbers, Numbers], Tensor]
"""(numbers of samples [N], rows of texts [N]) -> how well each belongs together [N]."""


class Matched(Fused):
    """A ``Learner``. In a step each picture is shown with its own text and with wrong ones, every other of its group."""

    def __init__(self, material: Material, training: Training, *, shuffled: bool = False) -> None:
        super().__init__(material, training)
        samples, at = material.samples, material.known["text"].texts
        pairs = [(number, at[text]) for number in material.parts.train for text in samples.texts[number]]
        self._pictures, self._texts = np.array([one for one, _ in pairs]), np.array([one for _, one in pairs])
        if shuffled:
            self._texts = np.random.default_rng([training.seed, 1]).permutation(self._texts)
        self.keys = [samples.keys[number] for number in self._pictures]
        self._own: dict[int, set[int]] = defaultdict(set)
        self._of_group: dict[str, set[int]] = defaultdict(set)
        for picture, text in zip(self._pictures.tolist(), self._texts.tolist()):
            self._own[picture].add(text)
            self._of_group[samples.groups[picture]].add(text)
        self._every = np.unique(self._texts)
        if len(self._every) < 2:
            raise MmedgeError("all samples to train on have the same text: there is nothing wrong to match", "give data with different texts")

    def inputs(self, chosen: Chosen, step: int) -> dict[str, Tensor]:
        pictures = self._pictures[chosen]
        shown = np.stack([[self._texts[at], *self._wrong(int(self._pictures[at]), [self._training.seed, step, at])] for at in chosen.tolist()])
        present = torch.ones(len(chosen), len(self._names), dtype=torch.bool)
        return {"present": present, **self._given({"image": self._rows["image"][pictures], "text": shown})}

    def _wrong(self, picture: int, seed: list[int]) -> list[int]:
        random, count = np.random.default_rng(seed), network_of(self._training).negatives
        others = np.setdiff1d(self._every, list(self._own[picture]))
        alike = np.setdiff1d(list(self._of_group[self._material.samples.groups[picture]]), list(self._own[picture]))
        return [int(random.choice(alike if turn % 2 and len(alike) else others)) for turn in range(count)]

    def losses(self, outputs: Mapping[str, Tensor], chosen: Chosen, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        logits, pictures, texts = outputs["logits"], self._pictures[chosen], self._texts[chosen]
        labels = torch.zeros_like(logits)
        labels[:, 0] = 1
        positives = torch.from_numpy((pictures[:, None] == pictures) | (texts[:, None] == texts)).to(logits.device)
        total, terms = self._loss({**outputs, "labels": labels.flatten(), "positives": positives})
        return total, terms

    def validate(self) -> float | None:
        numbers = self._material.parts.validation
        found = next(one for one in self.score(numbers) if one.name == JUDGED).estimate if len(numbers) else None
        return found.value if found else None

    def score(self, numbers: Numbers) -> list[Metric]:
        """The areas under the ROC curve, against any wrong texts and against those of the same folder."""
        return scored(self._material, numbers, self._judged)

    def _judged(self, pictures: Numbers, texts: Numbers) -> Tensor:
        present = np.ones((len(pictures), len(self._names)), bool)
        return self._answers(present, {"image": self._rows["image"][pictures], "text": texts[:, None]})[:, 0]


def scored(material: Material, numbers: Numbers, judge: Judge) -> list[Metric]:
    """As ``mmedge eval`` judges a matcher, on the same wrong texts."""
    samples, at = material.samples, material.known["text"].texts
    texts = [samples.texts[number][0] for number in numbers]
    folders: dict[str, set[str]] = defaultdict(set)
    for number, text in zip(numbers, texts):
        folders[text].add(str(PurePosixPath(samples.keys[number]).parent))
    drawn = wrong_texts(texts, [{*samples.texts[number]} for number in numbers], folders, samples.data.seed)
    asked = [(number, one) for number, (text, wrong) in enumerate(zip(texts, drawn)) for one in sorted({text, *wrong[0], *wrong[1]})]
    said = judge(np.array([numbers[number] for number, _ in asked]), np.array([at[one] for _, one in asked])).tolist()
    scores: list[dict[str, float]] = [{} for _ in texts]
    for (number, one), value in zip(asked, said):
        scores[number][one] = value
    return areas(texts, drawn, scores)


def nearest(material: Material) -> list[Metric]:
    """How near a text is to the caption of the training picture that is most like the one in question."""
    image, text = material.known["image"], material.known["text"]
    pictures, captions = F.normalize(image.pooled, dim=-1), F.normalize(text.pooled, dim=-1)
    train = material.parts.train

    def judge(asked: Numbers, texts: Numbers) -> Tensor:
        best = (pictures[image.rows[asked]] @ pictures[image.rows[train]].T).argmax(-1).numpy()
        return (captions[text.rows[train[best]]] * captions[texts]).sum(-1).double()

    return scored(material, material.parts.test, judge)
