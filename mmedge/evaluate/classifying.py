"""What a sample is, among classes: those that a model was trained for, or for an image-text model, those of the data."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mmedge.errors import MmedgeError
from mmedge.evaluate.data import Data
from mmedge.evaluate.metrics.classification import AVERAGES, FIGURES, classification
from mmedge.evaluate.tasks import Answer, Ask, Inputs, Scored, Setting, text_of
from mmedge.family import optional_of, verbs_of
from mmedge.manifest import Model


@dataclass(frozen=True)
class Classification:
    """Raises MmedgeError when it is made: a label of the data is no class of the model's, or there are fewer than two."""

    model: Model
    data: Data
    inputs: tuple[str, ...]
    wants: str
    setting: Setting
    name: str = "classification"
    depends: tuple[str, ...] = ("prompt",)
    metrics: tuple[str, ...] = ("accuracy", *(f"{figure}_{average}" for average in AVERAGES for figure in FIGURES), "roc_auc")
    agreement: tuple[str, ...] = ("cosine", "spearman", "top1_agreement")

    def __post_init__(self) -> None:
        own = self._own
        for label in self.data.labels:
            if own and self._named(label) not in own:
                near = difflib.get_close_matches(label, own, n=1)
                known = f"it has {len(own)}: {', '.join(own[:10])}{', ...' if len(own) > 10 else ''}"
                raise MmedgeError(
                    f"the label {label!r} of {self.data.name} is none of the model's classes", f"rename it: did you mean {near[0]!r}?" if near else known
                )
        if len(self.classes) < 2:
            raise MmedgeError(f"all samples of {self.data.name} have the label {', '.join(self.classes)!r}", "give data with at least two classes")

    @property
    def judged(self) -> str:
        return "accuracy" if self.wants else "top1_agreement"

    @property
    def classes(self) -> tuple[str, ...]:
        return self._own or self.data.labels

    @property
    def _own(self) -> tuple[str, ...]:
        return tuple(self.model.config.get("labels") or ())

    def _named(self, label: str) -> str:
        """A label's name, where the data have numbers and the model has names."""
        own = self._own
        return own[int(label)] if own and label not in own and label.isdecimal() and int(label) < len(own) else label

    @property
    def optional(self) -> tuple[str, ...]:
        return optional_of(self.model)

    def open(self, session: Any) -> Ask:
        if self._compares:
            return self._compared(session)
        chosen = {} if self._own else {"labels": [self.setting.prompt.replace("{}", name) for name in self.classes]}
        all_of_them = {"top": len(self.classes)} if "top" in inspect.signature(session.classify).parameters else {}

        def ask(inputs: Inputs) -> Answer:
            given = [] if self.optional else [inputs[column] for column in self.inputs]
            named = {column: inputs[column] for column in self.optional if column in inputs}
            scores = dict(session.classify(*given, **named, **chosen, **all_of_them))
            vector = np.array([scores[name] for name in chosen.get("labels", self.classes)], np.float64)
            return Answer(self.classes[int(vector.argmax())], vector)

        return ask

    def use(self, session: Any, inputs: Inputs, reference: Any) -> None:
        if self._compares:
            (item,) = self.inputs
            getattr(session, f"embed_{item}")(inputs[item])
            session.embed_text(self.setting.prompt.replace("{}", text_of(reference)))
        else:
            self.open(session)(inputs)

    @property
    def _compares(self) -> bool:
        """Whether pictures or sounds are compared with the names of classes."""
        return not self._own and {"embed_text", *(f"embed_{column}" for column in self.inputs)} <= verbs_of(self.model)

    def _compared(self, session: Any) -> Ask:
        """As ``classify`` does, but the classes' names are embedded once: softmax of the scaled cosines."""
        (item,) = self.inputs
        names = np.stack([np.array(session.embed_text(self.setting.prompt.replace("{}", name)), np.float64).reshape(-1) for name in self.classes])
        embed, scale = getattr(session, f"embed_{item}"), float(self.model.config.get("scale", 1.0))

        def ask(inputs: Inputs) -> Answer:
            scores = scale * (names @ np.array(embed(inputs[item]), np.float64).reshape(-1))
            powers = np.exp(scores - scores.max())
            return Answer(self.classes[int(scores.argmax())], powers / powers.sum())

        return ask

    def score(self, session: Any, answers: Sequence[Answer], references: Sequence[Any]) -> Scored:
        scores = np.stack([answer.vector for answer in answers if answer.vector is not None])
        said = [answer.text for answer in answers]
        if not self.wants:
            return Scored([], said, scores)
        found = classification(said, [self._named(label) for label in references], self.classes, scores)
        return Scored(found.metrics, said, scores, classes=found.classes)
