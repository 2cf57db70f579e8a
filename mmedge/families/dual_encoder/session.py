"""An image-text or audio-text model in use."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mmedge.errors import MmedgeError
from mmedge.families.dual_encoder import SIGMOID, Config
from mmedge.families.dual_encoder.things import Things
from mmedge.processors.audio import Sound, sound_at
from mmedge.processors.clap_mel import ClapMel
from mmedge.processors.image import Picture
from mmedge.processors.patches import PatchProcessor, PatchSettings
from mmedge.processors.pixels import ImageProcessor, ImageSettings
from mmedge.processors.text import TextProcessor
from mmedge.runner import Runner
from mmedge.tensors import Array

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
    """Not safe for two threads at once, as its runners are not.

    A verb raises MmedgeError where the model is of another kind (CLAP hears and does not see), or its checkpoint lacked what the verb needs.
    """

    def __init__(self, runners: Mapping[str, Runner], assets: Mapping[str, Path], config: Config) -> None:
        self.config = config
        self._item, self._text = runners["audio_encoder" if config.kind == "clap" else "image_encoder"], runners["text_encoder"]
        self._tokens = None if config.text is None else TextProcessor(assets["tokenizer.json"], config.text)
        self._pixels = ImageProcessor(config.image) if isinstance(config.image, ImageSettings) else None
        self._patches = PatchProcessor(config.image) if isinstance(config.image, PatchSettings) else None
        self._mel = None if config.sound is None else ClapMel(config.sound)
        self._vocabulary: tuple[Things, Floats] | None = None
        if config.recognises:
            things = Things(json.loads(assets["things.json"].read_text(encoding="utf-8")))
            self._vocabulary = things, np.load(assets["classes.npy"], allow_pickle=False)
        self._words: Floats | None = np.load(assets["words.npy"], allow_pickle=False) if config.kind == "joined" else None

    @property
    def things(self) -> Things:
        """The nouns that it knows, over ImageNet's classes."""
        return self._known()[0]

    def pixels(self, image: Picture) -> Floats:
        """What ``image_encoder`` takes, float32 [1, 3, H, W]; not of SigLIP 2, see ``patches``."""
        self._sees()
        if self.config.kind == "siglip2":
            raise MmedgeError("SigLIP 2 takes patches", "call patches")
        if self._pixels is None:
            raise _lacking("image processor", "preprocessor_config.json")
        return self._pixels([image])

    def patches(self, image: Picture) -> dict[str, Array]:
        """What SigLIP 2's ``image_encoder`` takes; see ``mmedge.processors.patches``."""
        self._sees()
        if self.config.kind != "siglip2":
            raise MmedgeError(f"a model of the kind {self.config.kind} takes whole pictures", "call pixels")
        if self._patches is None:
            raise _lacking("image processor", "preprocessor_config.json")
        return self._patches([image])

    def log_mel(self, sound: Sound) -> dict[str, Array]:
        """What ``audio_encoder`` takes; see ``mmedge.processors.clap_mel``."""
        if self.config.kind != "clap":
            raise MmedgeError(f"a model of the kind {self.config.kind} sees and does not hear", "use embed_image, or a CLAP model for sounds")
        if self._mel is None:
            raise _lacking("feature extractor", "preprocessor_config.json")
        return self._mel(sound_at(sound, self._mel.settings.rate_hz))

    def tokens(self, text: str | Sequence[str]) -> dict[str, NDArray[np.int64]]:
        """What the tokenizer makes of texts: ``input_ids`` and ``attention_mask``, int64 [B, T]."""
        if self._tokens is None:
            raise _lacking("tokenizer", "tokenizer.json")
        return self._tokens(_listed(text))

    def embed_image(self, image: Picture) -> Floats:
        """The picture in the common space, float32 [D], length 1."""
        return self.look(image).embedding if self.config.kind == "joined" else self._embed(image)

    def embed_audio(self, sound: Sound) -> Floats:
        """The sound in the common space, float32 [D], length 1."""
        feeds = self.log_mel(sound)
        return np.array(self._item.run(feeds)["audio_embedding"][0], np.float32)

    def embed_text(self, text: str | Sequence[str]) -> Floats:
        """Texts in the common space, float32 [B, D], each of length 1."""
        tokens = self.tokens(text)
        return np.array(self._text.run({name: tokens[name] for name in self.config.text_inputs})["text_embedding"], np.float32)

    def classify(self, item: Picture | Sound, labels: Sequence[str]) -> list[tuple[str, float]]:
        """The labels, as they are given (CLIP and SigLIP expect phrases such as "a photo of a cat"), with their probabilities, the likeliest first.

        Of these labels against each other, sum 1; trained with SigLIP's loss of each label for itself. Raises MmedgeError: no label.

        Args:
            item: a sound for CLAP, a picture for the others.
        """
        if isinstance(labels, str) or not labels:
            raise MmedgeError("there are no labels to choose from", 'give a list of at least one, such as ["a cat", "a dog"]')
        scores = self.config.scale * self._cosines(item, labels) + self.config.bias
        chances = 1 / (1 + np.exp(-scores)) if self.config.kind in SIGMOID else _softmax(scores)
        return _sorted(labels, chances)

    def rank(self, item: Picture | Sound, texts: Sequence[str]) -> list[tuple[str, float]]:
        """The texts by their cosine with the picture, or with CLAP the sound, the nearest first. Raises MmedgeError: no text."""
        if isinstance(texts, str) or not texts:
            raise MmedgeError("there are no texts to rank", 'give a list of at least one, such as ["a cat", "a dog"]')
        return _sorted(texts, self._cosines(item, texts))

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

    def _known(self) -> tuple[Things, Floats]:
        """The nouns, and the embeddings of ImageNet's classes."""
        if self._vocabulary is None:
            self._sees()
            if self.config.text is None:
                raise _lacking("tokenizer", "tokenizer.json")
            raise MmedgeError(f"a model of the kind {self.config.kind} is not asked about ImageNet's classes", "use classify with labels of your own")
        return self._vocabulary

    def _sees(self) -> None:
        if self.config.kind == "clap":
            raise MmedgeError("a CLAP model hears and does not see", "use embed_audio, classify or rank with a sound, or a CLIP model for pictures")

    def _cosines(self, item: Any, texts: Sequence[str]) -> Floats:
        return self.embed_text(list(texts)) @ (self.embed_audio(item) if self.config.kind == "clap" else self.embed_image(item))

    def _embed(self, image: Picture) -> Floats:
        feeds: Mapping[str, Array] = self.patches(image) if self.config.kind == "siglip2" else {"pixel_values": self.pixels(image)}
        return np.array(self._item.run(feeds)["image_embedding"][0], np.float32)

    def _look(self, image: Picture) -> View:
        classes = self._known()[1]
        if self.config.kind == "joined":
            probabilities = _softmax(np.asarray(self._item.run({"pixel_values": self.pixels(image)})["logits"][0], np.float32))
            best = np.argsort(-probabilities, kind="stable")[:CONSE_CLASSES]
            embedding = probabilities[best] @ classes[best]
            return View(probabilities, (embedding / np.linalg.norm(embedding)).astype(np.float32))
        embedding = self._embed(image)
        return View(_softmax(self.config.scale * (classes @ embedding)), embedding)

    def _contrast(self, view: View, thing: str) -> float:
        """A tower has a text encoder trained on pictures: the thing against all classes."""
        classes = self._known()[1]
        score = self.config.scale * float(self.embed_text(f"a photo of a {thing}")[0] @ view.embedding)
        return float(_softmax(np.append(self.config.scale * (classes @ view.embedding), score))[-1])


def _lacking(part: str, file: str) -> MmedgeError:
    return MmedgeError(f"the checkpoint had no {part}: this verb needs one", f"add its {file} to the checkpoint, and export again")


def _softmax(scores: NDArray[np.floating]) -> Floats:
    powers = np.exp(scores - scores.max())
    return np.asarray(powers / powers.sum(), np.float32)


def _sorted(texts: Sequence[str], scores: NDArray[np.floating]) -> list[tuple[str, float]]:
    return [(texts[index], float(scores[index])) for index in np.argsort(-scores, kind="stable")]


def _listed(text: str | Sequence[str]) -> list[str]:
    return [text] if isinstance(text, str) else list(text)
