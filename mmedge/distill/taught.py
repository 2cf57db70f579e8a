"""A dual encoder whose encoders are trained themselves: students of a teacher, or encoders that are tuned as a whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mmedge.distill.frozen import JUDGED, Features, said
from mmedge.distill.networks import Built
from mmedge.distill.samples import Numbers, Parts, Reader, Samples
from mmedge.distill.teacher import AT_ONCE, Outputs
from mmedge.distill.towers import Towers, given, loss_of, rows
from mmedge.distill.training import Chosen
from mmedge.distill.views import view
from mmedge.evaluate.data import Data
from mmedge.evaluate.metrics.bootstrap import Metric
from mmedge.evaluate.metrics.retrieval import gallery, retrieval
from mmedge.nets.multimodal_checkpoint import save_checkpoint
from mmedge.nets.multimodal_config import Modality
from mmedge.training import Training


@dataclass(frozen=True, eq=False)
class Unlabelled:
    """Pictures that nothing is said of, as they are."""

    data: Data
    keys: tuple[str, ...]
    pooled: Outputs
    """What the teacher's picture encoder gives."""


@dataclass(frozen=True, eq=False)
class Lesson:
    """What all trainings of a report learn from."""

    training: Training
    samples: Samples
    """With the texts that the student reads."""
    its: Parts
    teacher: Built | None
    found: Features | None
    """Of the teacher's encoders."""
    teacher_texts: tuple[tuple[str, ...], ...]
    """Of each sample, what the teacher reads where the student reads ``samples.texts``."""
    unlabelled: Unlabelled | None

    def pairs(self) -> list[tuple[int, str, str]]:
        """(sample, the student's text, the teacher's) of all that is trained on."""
        return [
            (number, text, self.teacher_texts[number][min(at, len(self.teacher_texts[number]) - 1)])
            for number in self.its.train.tolist()
            for at, text in enumerate(self.samples.texts[number])
        ]


class Taught:
    """A ``Learner``. Behind the pairs come the pictures that nothing is said of."""

    def __init__(self, student: Built, live: Sequence[Modality], lesson: Lesson, training: Training, *, shuffled: bool = False) -> None:
        self._built, self._live, self._lesson, self._training = student, live, lesson, training
        pairs = lesson.pairs()
        self._numbers = np.array([number for number, _, _ in pairs])
        order = np.random.default_rng([training.seed, 1]).permutation(len(pairs)) if shuffled else np.arange(len(pairs))
        self._texts, self._teacher_texts = [pairs[at][1] for at in order], [pairs[at][2] for at in order]
        known: dict[str, int] = {}
        self._same = np.array([known.setdefault(said(text), len(known)) for text in self._texts])
        self._losses = {alone: loss for alone in (True, False) if (loss := loss_of(training, student, lesson.teacher, alone))}
        self._unlabelled = lesson.unlabelled if True in self._losses else None
        self.keys = [*(lesson.samples.keys[number] for number in self._numbers), *(self._unlabelled.keys if self._unlabelled else ())]
        self._towers = Towers(student, live, list(self._losses.values()))

    @property
    def module(self) -> nn.Module:
        """See ``Work``."""
        return self._towers

    @cached_property
    def parameters(self) -> int:
        """Of both towers."""
        return self._built.parameters

    def inputs(self, chosen: Chosen, step: int) -> dict[str, Tensor]:
        """See ``Work``."""
        feeds = {}
        if self._lesson.teacher is not None and len(self._live) == 1:
            embedded = given(self._lesson.teacher, *self._features(chosen, step))
            feeds = {name: embedded[f"{name}_embedding"] for name in ("image", "text") if name not in self._live}
        if "image" in self._live:
            feeds["pixel_values"] = self._pixels(chosen, step)
        if "text" in self._live:
            tokens = self._built.tokens([self._texts[at] if at < len(self._texts) else self._texts[0] for at in chosen])
            feeds |= {name: torch.from_numpy(value) for name, value in tokens.items()}
        return feeds

    def losses(self, outputs: Mapping[str, Tensor], chosen: Chosen, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """See ``Work``. Pictures by themselves have a part in what is said of pictures alone."""
        device = outputs["scale"].device
        tensors = dict(outputs)
        if self._lesson.teacher is not None:
            tensors |= {f"teacher_{name}": value.to(device) for name, value in given(self._lesson.teacher, *self._features(chosen, step)).items()}
        paired = chosen < len(self._texts)
        total, terms = outputs["scale"].new_zeros(()), dict[str, Tensor]()
        for alone, loss in self._losses.items():
            if not alone and not paired.any():
                continue
            seen = tensors if alone else self._pairs(tensors, chosen[paired], torch.from_numpy(paired).to(device))
            value, its = loss(seen)
            total, terms = total + value, {**terms, **its}
        return total, terms

    def _pairs(self, tensors: Mapping[str, Tensor], chosen: Chosen, paired: Tensor) -> dict[str, Tensor]:
        pictures, texts = self._numbers[chosen], self._same[chosen]
        positives = torch.from_numpy((pictures[:, None] == pictures) | (texts[:, None] == texts))
        return {**rows(tensors, paired), "positives": positives.to(paired.device)}

    def _features(self, chosen: Chosen, step: int) -> tuple[Tensor, Tensor]:
        """Of the teacher's encoders for these: [B, D] of pictures in their views, [B, D] of texts; those without a text have another's, which no loss sees."""
        found, count, pictures = self._lesson.found, len(self._texts), []
        assert found is not None
        for at in chosen.tolist():
            if at < count:
                pictures.append(found.pictures[self._numbers[at], self._view(at, step)])
            elif self._unlabelled is not None:
                pictures.append(torch.from_numpy(self._unlabelled.pooled.rows("pooled", [at - count])[0]))
        return torch.stack(pictures), found.texts[[found.number[self._teacher_texts[at if at < count else 0]] for at in chosen.tolist()]]

    def _view(self, at: int, step: int) -> int:
        return int(np.random.default_rng([self._training.seed, step, at]).integers(self._training.views))

    def _pixels(self, chosen: Chosen, step: int) -> Tensor:
        count, lesson = len(self._texts), self._lesson
        numbers = sorted({int(self._numbers[at]) for at in chosen if at < count})
        others = sorted({at - count for at in chosen.tolist() if at >= count})
        samples = dict(zip(numbers, Reader(lesson.samples.data)(numbers)))
        more = dict(zip(others, Reader(self._unlabelled.data)(others))) if self._unlabelled else {}
        its = lesson.training
        pictures = [
            view(samples[self._numbers[at]], self._view(at, step), its.augment, its.seed) if at < count else more[at - count].picture()
            for at in chosen.tolist()
        ]
        return _prepared(self._built, pictures)

    def validate(self) -> float | None:
        """See ``Work``."""
        if not len(self._lesson.its.validation):
            return None
        found = next(one for one in self.score(self._lesson.its.validation) if one.name == JUDGED).estimate
        return found.value if found else None

    def score(self, numbers: Numbers) -> list[Metric]:
        """Retrieval among these samples, by the pictures as they are."""
        lesson = self._lesson
        texts, relevant = gallery([(lesson.samples.texts if "text" in self._live else lesson.teacher_texts)[number] for number in numbers])
        self._built.model.eval()
        with torch.inference_mode():
            seen, told = self._seen(numbers), self._told(texts)
        scores = nn.functional.normalize(seen, dim=-1) @ nn.functional.normalize(told, dim=-1).T
        return retrieval(scores.double().numpy(), relevant)

    def _seen(self, numbers: Numbers) -> Tensor:
        model, lesson = self._built.model, self._lesson
        if "image" not in self._live:
            assert lesson.teacher is not None and lesson.found is not None
            return lesson.teacher.model.embed("image", lesson.found.pictures[torch.from_numpy(numbers), 0])
        made, read = [], Reader(lesson.samples.data)
        for begin in range(0, len(numbers), AT_ONCE):
            pixels = _prepared(self._built, [one.picture() for one in read(numbers[begin : begin + AT_ONCE].tolist())])
            made.append(model.embed("image", model.encode("image", {"pixel_values": pixels.to(model.logit_scale.device)}).pooled))
        return torch.cat(made).cpu()

    def _told(self, texts: Sequence[str]) -> Tensor:
        model, lesson = self._built.model, self._lesson
        if "text" not in self._live:
            assert lesson.teacher is not None and lesson.found is not None
            return lesson.teacher.model.embed("text", lesson.found.texts[[lesson.found.number[text] for text in texts]])
        tokens = {name: torch.from_numpy(value).to(model.logit_scale.device) for name, value in self._built.tokens(texts).items()}
        return model.embed("text", model.encode("text", tokens).pooled).cpu()

    def save(self, folder: Path) -> None:
        """See ``Learner``."""
        save_checkpoint(folder, self._built.model, self._built.words)


def _prepared(built: Built, pictures: Sequence[Any]) -> Tensor:
    return torch.from_numpy(built.pixels([np.asarray(one) for one in pictures])).contiguous(memory_format=torch.channels_last)
