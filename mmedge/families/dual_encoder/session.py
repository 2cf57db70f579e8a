"""An image-text model in use."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mmedge.errors import MmedgeError
from mmedge.families.dual_encoder import Config
from mmedge.families.dual_encoder.things import Things
from mmedge.processors.image import Picture
from mmedge.processors.pixels import ImageProcessor
from mmedge.processors.text import TextProcessor
from mmedge.runner import Runner

Floats = NDArray[np.float32]

CONSE_CLASSES = 10
"""How many classes make a joined model's embedding; Norouzi et al. found 10 as good as 1000."""

NEAR_WORD = 0.75
"""From this cosine on, a word that WordNet lacks is taken for the nearest one of the bank."""


@dataclass(frozen=True, eq=False)
class View:
    """What was seen in one look: a picture, or the average over several frames of the same."""

    probabilities: Floats
    """[1000], over ImageNet-1k's classes."""
    embedding: Floats
    """[D], length 1."""


@dataclass(frozen=True)
class Verdict:
    """An answer to "is there a ...?"."""

    answer: Literal["yes", "unsure", "no"]
    """``no``: none was recognised, though the model knows what one looks like. ``unsure``: nothing can be said."""
    chance: float


class Session:
    """Not safe for two threads at once, as its runners are not."""

    def __init__(self, runners: Mapping[str, Runner], assets: Mapping[str, Path], config: Config) -> None:
        self.config = config
        self.things = Things(json.loads(assets["things.json"].read_text(encoding="utf-8")))
        self._image, self._text = runners["image_encoder"], runners["text_encoder"]
        self._pixels, self._tokens = ImageProcessor(config.image), TextProcessor(assets["tokenizer.json"], config.text)
        self._classes: Floats = np.load(assets["classes.npy"], allow_pickle=False)
        self._words: Floats | None = np.load(assets["words.npy"], allow_pickle=False) if config.kind == "joined" else None

    def pixels(self, image: Picture) -> Floats:
        """What ``image_encoder`` takes, float32 [1, 3, H, W]."""
        return self._pixels([image])

    def tokens(self, text: str | Sequence[str]) -> dict[str, NDArray[np.int64]]:
        """What the tokenizer makes of texts: ``input_ids`` and ``attention_mask``, int64 [B, T]."""
        return self._tokens(_listed(text))

    def embed_image(self, image: Picture) -> Floats:
        """The picture in the common space, float32 [D], length 1."""
        return self.look(image).embedding

    def embed_text(self, text: str | Sequence[str]) -> Floats:
        """Texts in the common space, float32 [B, D], each of length 1."""
        tokens = self.tokens(text)
        return np.array(self._text.run({name: tokens[name] for name in self.config.text_inputs})["text_embedding"], np.float32)

    def classify(self, image: Picture, labels: Sequence[str]) -> list[tuple[str, float]]:
        """The labels, as they are given (CLIP and SigLIP expect phrases such as "a photo of a cat"), with their probabilities, the likeliest first.

        CLIP, joined: of these labels against each other, sum 1. SigLIP: of each label for itself. Raises MmedgeError: no label.
        """
        if not labels:
            raise MmedgeError("there are no labels to choose from", "give at least one")
        scores = self.config.scale * (self.embed_text(list(labels)) @ self.embed_image(image)) + self.config.bias
        chances = 1 / (1 + np.exp(-scores)) if self.config.kind == "siglip" else _softmax(scores)
        return _sorted(labels, chances)

    def rank(self, image: Picture, texts: Sequence[str]) -> list[tuple[str, float]]:
        """The texts by their cosine with the picture, the nearest first. Raises MmedgeError: no text."""
        if not texts:
            raise MmedgeError("there are no texts to rank", "give at least one")
        return _sorted(texts, self.embed_text(list(texts)) @ self.embed_image(image))

    def look(self, images: Picture | Sequence[Picture]) -> View:
        """Recognise one picture, or several frames of one scene, whose probabilities are averaged."""
        frames: list[Any] = list(images) if isinstance(images, (list, tuple)) else [images]
        if not frames:
            raise MmedgeError("there is no picture to look at", "give at least one")
        found = [self._look(frame) for frame in frames]
        embedding = np.mean([view.embedding for view in found], axis=0)
        return View(np.mean([view.probabilities for view in found], axis=0), (embedding / np.linalg.norm(embedding)).astype(np.float32))

    def recognise(self, image: Picture | View, top: int = 5) -> list[tuple[str, float]]:
        """The likeliest of ImageNet-1k's classes with their probabilities."""
        view = image if isinstance(image, View) else self.look(image)
        best = np.argsort(-view.probabilities, kind="stable")[:top]
        return [(self.things.labels[index], float(view.probabilities[index])) for index in best]

    def presence(self, view: View, thing: str) -> tuple[float, bool]:
        """(the chance that the picture shows ``thing``, a noun in any form; whether the model has classes for it and so may say no)."""
        word = self.things.find(thing)
        likeness = 1.0
        if word is None:
            if self._words is None:
                return self._contrast(view, thing), True
            cosines = self._words @ self.embed_text(thing)[0]
            best = int(cosines.argmax())
            if cosines[best] < NEAR_WORD:
                return 0.0, False
            word, likeness = self.things.bank[best], float(cosines[best])
        return likeness * self.things.chance(view.probabilities, word), self.things.covered(word)

    def verdict(self, view: View, thing: str) -> Verdict:
        """Whether the picture shows ``thing``. Never that it does not: "no" means that none was recognised."""
        chance, covered = self.presence(view, thing)
        if chance >= self.config.yes:
            return Verdict("yes", chance)
        return Verdict("no" if covered and chance < self.config.no else "unsure", chance)

    def _look(self, image: Picture) -> View:
        output = self._image.run({"pixel_values": self.pixels(image)})
        if self.config.kind == "joined":
            probabilities = _softmax(np.asarray(output["logits"][0], np.float32))
            best = np.argsort(-probabilities, kind="stable")[:CONSE_CLASSES]
            embedding = probabilities[best] @ self._classes[best]
            return View(probabilities, (embedding / np.linalg.norm(embedding)).astype(np.float32))
        embedding = np.array(output["image_embedding"][0], np.float32)
        return View(_softmax(self.config.scale * (self._classes @ embedding)), embedding)

    def _contrast(self, view: View, thing: str) -> float:
        """A tower has a text encoder trained on pictures: the thing against all classes."""
        score = self.config.scale * float(self.embed_text(f"a photo of a {thing}")[0] @ view.embedding)
        return float(_softmax(np.append(self.config.scale * (self._classes @ view.embedding), score))[-1])


def _softmax(scores: NDArray[np.floating]) -> Floats:
    powers = np.exp(scores - scores.max())
    return np.asarray(powers / powers.sum(), np.float32)


def _sorted(texts: Sequence[str], scores: NDArray[np.floating]) -> list[tuple[str, float]]:
    return [(texts[index], float(scores[index])) for index in np.argsort(-scores, kind="stable")]


def _listed(text: str | Sequence[str]) -> list[str]:
    return [text] if isinstance(text, str) else list(text)
