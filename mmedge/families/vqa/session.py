"""Answers to questions about pictures."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmedge.errors import MmedgeError
from mmedge.families.vqa import Config, Writer
from mmedge.generate.cache import Cache
from mmedge.generate.decode import GREEDY, Sampling, Step, decode
from mmedge.generate.text import write
from mmedge.processors.image import Picture
from mmedge.processors.pixels import ImageProcessor, ImageSettings
from mmedge.processors.shortest_edge import ShortestEdgeProcessor
from mmedge.processors.text import TextProcessor
from mmedge.processors.tokenizer import read_tokenizer
from mmedge.runner import Runner
from mmedge.tensors import Array


class Session:
    """Not safe for two threads at once, as its runners are not."""

    def __init__(self, runners: Mapping[str, Runner], assets: Mapping[str, Path], config: Config) -> None:
        self.config, self._runners = config, runners
        self._labels: list[str] = [] if config.writer else json.loads(assets["labels.json"].read_text(encoding="utf-8"))
        self._text = TextProcessor(assets["tokenizer.json"], config.text) if config.text else None
        self._tokenizer = read_tokenizer(assets["tokenizer.json"]) if config.text else None
        image = config.image
        self._image = None if image is None else ImageProcessor(image) if isinstance(image, ImageSettings) else ShortestEdgeProcessor(image)

    def pixels(self, image: Picture) -> dict[str, NDArray[Any]]:
        """What the model takes of a picture: ``pixel_values`` float32 [1, 3, H, W]; for ViLT also ``pixel_mask`` int64 [1, H, W]."""
        if self._image is None:
            raise _lacks("image processor", "preprocessor_config.json")
        made = self._image([image])
        return made if isinstance(made, dict) else {"pixel_values": made}

    def tokens(self, text: str | Sequence[str]) -> dict[str, NDArray[np.int64]]:
        """What the tokenizer makes of questions: ``input_ids`` and ``attention_mask``, int64 [B, T]."""
        if self._text is None:
            raise _lacks("tokenizer", "tokenizer.json")
        return self._text([text] if isinstance(text, str) else list(text))

    def answer(self, image: Picture, question: str, *, sampling: Sampling = GREEDY, on_text: Callable[[str], None] | None = None) -> str:
        """An answer in words. ``sampling`` is for models that write; one that chooses gives its best label, at once.

        Raises:
            MmedgeError: no picture; the checkpoint had no tokenizer or no image processor.
        """
        if self.config.writer is None:
            label = self.scores(image, question, top=1)[0][0]
            if on_text:
                on_text(label)
            return label
        step, sampling = self._ask(image, question, self.config.writer, sampling)
        assert self._tokenizer is not None, "the question had to be read"
        return write(step, self.config.writer.start, self._tokenizer, stop=frozenset(self.config.writer.stop), sampling=sampling, on_text=on_text)

    def answer_tokens(self, image: Picture, question: str, *, sampling: Sampling = GREEDY, max_tokens: int | None = None) -> list[int]:
        """As ``answer``, in tokens, without the stop token. Raises MmedgeError as ``answer``, and for a model that chooses.

        Args:
            max_tokens: instead of that of ``sampling``.
        """
        if self.config.writer is None:
            raise MmedgeError("this model chooses its answers and writes none", "call answer or scores")
        if max_tokens is not None:
            sampling = replace(sampling, max_tokens=max_tokens)
        step, sampling = self._ask(image, question, self.config.writer, sampling)
        return list(decode(step, self.config.writer.start, stop=frozenset(self.config.writer.stop), sampling=sampling).tokens)

    def scores(self, image: Picture, question: str, top: int = 5) -> list[tuple[str, float]]:
        """The best answers with their probabilities, each for itself. Raises MmedgeError as ``answer``, and for a model that writes."""
        if self.config.writer is not None:
            raise MmedgeError("this model writes its answers and has no list of them to score", "call answer")
        feeds = {**self.tokens(question), **self.pixels(image)}
        logits = np.asarray(self._runners["classifier"].run(feeds)["logits"][0], np.float64)
        chances = 1 / (1 + np.exp(-logits))
        return [(self._labels[index], float(chances[index])) for index in np.argsort(-logits, kind="stable")[:top]]

    def _ask(self, image: Picture, question: str, writer: Writer, sampling: Sampling) -> tuple[Step, Sampling]:
        asked: dict[str, Array] = dict(self.tokens(question))
        pixels = self.pixels(image)
        asked |= self._runners["image_encoder"].run(pixels)
        cache = Cache(self._runners["decoder"], self._runners["question_encoder"].run(asked))

        def step(tokens: NDArray[np.int64]) -> NDArray[np.float32]:
            return np.asarray(cache(len(tokens), {"input_ids": tokens[None]})["logits"][0, -1], np.float32)

        return step, replace(sampling, max_tokens=min(sampling.max_tokens, writer.context - len(writer.start)))


def _lacks(what: str, file: str) -> MmedgeError:
    return MmedgeError(f"the checkpoint of this model brought no {what}", f"add its {file} to the checkpoint and export again")
