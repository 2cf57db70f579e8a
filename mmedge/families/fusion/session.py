"""A fusion of modalities in use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmedge.errors import MmedgeError
from mmedge.families.fusion import Config
from mmedge.processors.audio import Sound, sound_at
from mmedge.processors.image import Picture
from mmedge.processors.log_mel import RATE_HZ, LogMel
from mmedge.processors.pixels import ImageProcessor
from mmedge.processors.text import TextProcessor
from mmedge.runner import Runner
from mmedge.tensors import Array


@dataclass(frozen=True, eq=False)
class Features:
    """What an encoder gave: stands for the picture, text or sound that it was made of in every verb, as often as wanted."""

    modality: str
    feeds: Mapping[str, Array]
    """Of the graph ``head``."""

    @property
    def vector(self) -> NDArray[np.float64]:
        """[n], all of its numbers."""
        return np.array(next(iter(self.feeds.values())), np.float64).reshape(-1)


class Session:
    """Not safe for two threads at once, as its runners are not. Verbs raise MmedgeError for a modality that the model has no encoder for."""

    def __init__(self, runners: Mapping[str, Runner], assets: Mapping[str, Path], config: Config) -> None:
        self.config = config
        self._runners, self._head = runners, runners["head"]
        self._pixels = None if config.image is None else ImageProcessor(config.image)
        self._tokens = None if config.text is None else TextProcessor(assets["tokenizer.json"], config.text)
        self._mel = None if config.audio is None else LogMel(config.audio.mels)

    def pixels(self, image: Picture) -> NDArray[np.float32]:
        """What ``image_encoder`` takes: float32 [1, 3, H, W]."""
        if self._pixels is None:
            raise self._no("image")
        return self._pixels([image])

    def tokens(self, text: str) -> dict[str, NDArray[np.int64]]:
        """What ``text_encoder`` takes: ``input_ids`` and ``attention_mask``, int64 [1, tokens]. Raises MmedgeError: no token is in it."""
        if self._tokens is None:
            raise self._no("text")
        found = self._tokens([text])
        if not found["input_ids"].size:
            raise MmedgeError(f"the text {text!r} holds no token", "leave it out: a missing text is known to be missing")
        return found

    def log_mel(self, audio: Sound) -> NDArray[np.float32]:
        """What ``audio_encoder`` takes: float32 [1, mels, frames] of its window."""
        if self._mel is None or self.config.audio is None:
            raise self._no("audio")
        return self._mel(sound_at(audio, RATE_HZ), self.config.audio.window_s)

    def encode_image(self, image: Picture) -> Features:
        """Run the image encoder alone, for verbs that shall use the same picture again."""
        return self._encoded("image", {"pixel_values": self.pixels(image)})

    def encode_text(self, text: str) -> Features:
        """The same of a text."""
        tokens = self.tokens(text)
        found = self._encoded("text", tokens)
        return Features("text", {**found.feeds, "text_mask": tokens["attention_mask"]}) if self.config.attends else found

    def encode_audio(self, audio: Sound) -> Features:
        """The same of a sound."""
        return self._encoded("audio", {"input_features": self.log_mel(audio)})

    def classify(
        self, image: Picture | Features | None = None, text: str | Features | None = None, audio: Sound | Features | None = None
    ) -> list[tuple[str, float]]:
        """The model's labels with their probabilities, sum 1, the likeliest first. None: missing, which the model knows; its encoder does not run.

        Raises:
            MmedgeError: everything is missing, or the model is a matcher.
        """
        if not self.config.labels:
            raise MmedgeError("this model has no labels: it tells whether a picture and a text belong together", "use match")
        logits = self._joined({"image": image, "text": text, "audio": audio})
        powers = np.exp(logits - logits.max())
        chances = powers / powers.sum()
        return [(self.config.labels[index], float(chances[index])) for index in np.argsort(-chances, kind="stable")]

    def match(self, image: Picture | Features, text: str | Features) -> float:
        """How likely a picture and a text belong together, 0 to 1. Raises MmedgeError: one is missing, or the model is a classifier."""
        if self.config.labels:
            raise MmedgeError("this model tells what something is, and does not match", "use classify")
        if image is None or text is None:
            raise MmedgeError("there is nothing to match", "give a picture and a text")
        return float(1 / (1 + np.exp(-self._joined({"image": image, "text": text})[0])))

    def _encoded(self, modality: str, feeds: Mapping[str, Array]) -> Features:
        found = self._runners[f"{modality}_encoder"].run(feeds)
        return Features(modality, {name: np.array(value) for name, value in found.items()})

    def _joined(self, given: Mapping[str, object]) -> NDArray[np.float64]:
        """Logits. What is missing is zeros of the smallest size, which ``present`` says are not to be read."""
        present = [given.get(name) is not None for name in self.config.modalities]
        for name, item in given.items():
            if item is not None and name not in self.config.modalities:
                raise self._no(name)
        if not any(present):
            raise MmedgeError("every modality is missing", f"give at least one of: {', '.join(self.config.modalities)}")
        feeds: dict[str, Array] = {"present": np.array([present], np.int64)}
        for name, there in zip(self.config.modalities, present):
            if there:
                feeds |= self._features(name, given[name]).feeds
        for spec in self._head.inputs:
            if spec.name not in feeds:
                feeds[spec.name] = np.zeros([size if isinstance(size, int) else 1 for size in spec.shape], spec.dtype)
        return np.array(self._head.run(feeds)["logits"][0], np.float64)

    def _features(self, modality: str, item: object) -> Features:
        if not isinstance(item, Features):
            found: Features = getattr(self, f"encode_{modality}")(item)
            return found
        if item.modality != modality:
            raise MmedgeError(f"features of {item.modality} were given as {modality}", f"give them as {item.modality}")
        return item

    def _no(self, modality: str) -> MmedgeError:
        return MmedgeError(f"this model has no encoder for {modality}", f"it takes: {', '.join(self.config.modalities)}")
