"""A fusion that tells what a sample is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from mmedge.distill.fused import Fused, Material, Present
from mmedge.distill.known import lacking
from mmedge.distill.samples import Numbers
from mmedge.distill.training import Chosen
from mmedge.evaluate.metrics.bootstrap import Metric
from mmedge.evaluate.metrics.classification import classification
from mmedge.training import Training

JUDGED = "accuracy"
FIGURES = (JUDGED, "f1_macro")


class Classified(Fused):
    """A ``Learner``. A sample of which nothing is there is not trained on, and is said to be of the most frequent class."""

    def __init__(self, material: Material, training: Training, *, shuffled: bool = False) -> None:
        super().__init__(material, training)
        train = material.parts.train
        self._train = train[self._there[train].any(1)]
        if shuffled:
            told = self._train[self._rows["text"][self._train] >= 0]
            texts = self._rows["text"].copy()
            texts[told] = np.random.default_rng([training.seed, 1]).permutation(texts[told])
            self._learned = {**self._rows, "text": texts}
        else:
            self._learned = self._rows
        self.keys = [material.samples.keys[number] for number in self._train]
        number = {label: at for at, label in enumerate(material.labels)}
        self._labels = np.array([number.get(label, -1) for label in material.samples.labels])

    def inputs(self, chosen: Chosen, step: int) -> dict[str, Tensor]:
        numbers = self._train[chosen]
        return {"present": torch.from_numpy(self._shown(numbers, step)), **self._given({name: rows[numbers] for name, rows in self._learned.items()})}

    def losses(self, outputs: Mapping[str, Tensor], chosen: Chosen, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        numbers, device = self._train[chosen], outputs["logits"].device
        labels, present = torch.from_numpy(self._labels[numbers]).to(device), torch.from_numpy(self._shown(numbers, step)).to(device)
        alone = {name: outputs[f"{name}_alone"] for name in self._names}
        total, terms = self._loss({"logits": outputs["logits"], "labels": labels, "alone": alone, "present": present})
        return total, terms

    def validate(self) -> float | None:
        numbers = self._material.parts.validation
        if not len(numbers):
            return None
        said = self._said(numbers, self._there[numbers])
        return float(np.mean([label == self._material.samples.labels[number] for label, number in zip(said, numbers)]))

    def score(self, numbers: Numbers) -> list[Metric]:
        """Accuracy and macro F1, then the same without each modality."""
        there = self._there[numbers]
        found = scored(self._material, self._said(numbers, there), numbers, how=lacking(self._material.samples, self._names, numbers))
        for at, name in enumerate(self._names if len(self._names) > 1 else ()):
            without = there.copy()
            without[:, at] = False
            found += scored(self._material, self._said(numbers, without), numbers, f"_without_{name}")
        return found

    def _said(self, numbers: Numbers, present: Present) -> list[str]:
        said, some = [majority(self._material)] * len(numbers), np.flatnonzero(present.any(1))
        if len(some):
            best = self._answers(present[some], {name: rows[numbers[some]] for name, rows in self._rows.items()}).argmax(-1)
            for at, label in zip(some.tolist(), best.tolist()):
                said[at] = self._material.labels[label]
        return said


def scored(material: Material, said: Sequence[str], numbers: Numbers, suffix: str = "", how: str = "") -> list[Metric]:
    """Of the labels that were given to samples. ``how``: what else is to be said of the figures."""
    expected = [material.samples.labels[number] for number in numbers]
    found = {one.name: one for one in classification(said, expected, material.labels).metrics}
    return [replace(found[name], name=f"{name}{suffix}", how="; ".join(filter(None, [found[name].how, how]))) for name in FIGURES]


def majority(material: Material) -> str:
    """The most frequent class of what is trained on; of equals the first by name."""
    return _most(material.samples.labels[number] for number in material.parts.train)


def _most(labels: Iterable[str]) -> str:
    counts = Counter(labels)
    return min(counts, key=lambda label: (-counts[label], label))


def nearest(material: Material) -> list[str]:
    """The label of the training sample whose text is nearest to each test sample's; without a text the most frequent one."""
    known, test = material.known["text"], material.parts.test
    train = material.parts.train[known.rows[material.parts.train] >= 0]
    embedded = torch.nn.functional.normalize(known.pooled, dim=-1)
    best = (embedded[np.maximum(known.rows[test], 0)] @ embedded[known.rows[train]].T).argmax(-1).numpy()
    labels, most = material.samples.labels, majority(material)
    return [labels[train[at]] if known.rows[number] >= 0 else most for number, at in zip(test, best)]
