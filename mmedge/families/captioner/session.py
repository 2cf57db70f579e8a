"""A captioner in use: a picture in, its words out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmedge.errors import MmedgeError
from mmedge.families.captioner import Config
from mmedge.generate.cache import Cache
from mmedge.generate.decode import GREEDY, Sampling, decode
from mmedge.generate.stream import TextStream
from mmedge.processors.image import Picture
from mmedge.processors.pixels import ImageProcessor
from mmedge.processors.tokenizer import read_tokenizer
from mmedge.runner import Runner


class Session:
    """Not safe for two threads at once, as its runners are not."""

    def __init__(self, runners: Mapping[str, Runner], assets: Mapping[str, Path], config: Config) -> None:
        self.config = config
        self._encoder, self._decoder = runners["image_encoder"], runners["decoder"]
        self._processor = ImageProcessor(config.image) if config.image else None
        self._tokenizer = read_tokenizer(assets["tokenizer.json"]) if config.tokenizer else None

    def pixels(self, image: Picture) -> NDArray[np.float32]:
        """What ``image_encoder`` takes, float32 [1, 3, H, W]. Raises MmedgeError: the checkpoint had no image processor; no picture."""
        if self._processor is None:
            raise _lacks("image processor", "preprocessor_config.json")
        return self._processor([image])

    def words(self, tokens: Sequence[int]) -> str:
        """What tokens say, special ones left out. Raises MmedgeError: the checkpoint had no tokenizer."""
        if self._tokenizer is None:
            raise _lacks("tokenizer", "tokenizer.json")
        text: str = self._tokenizer.decode(list(tokens), skip_special_tokens=True)
        return text

    def caption_tokens(self, image: Picture, prompt: str = "", *, sampling: Sampling = GREEDY, max_tokens: int | None = None) -> list[int]:
        """As ``caption``, in tokens: what follows the prompt, without the stop token. Works without a tokenizer where there is no ``prompt``.

        Args:
            max_tokens: instead of that of ``sampling``.
        """
        if max_tokens is not None:
            sampling = replace(sampling, max_tokens=max_tokens)
        return self._decode(image, self._prompt(prompt), sampling)

    def caption(self, image: Picture, prompt: str = "", *, sampling: Sampling = GREEDY, on_text: Callable[[str], None] | None = None) -> str:
        """What the picture shows, or says.

        Args:
            prompt: the caption's first words, which it then goes on from ("a photo of"); they are part of the result.
            on_text: called with each new piece of text, in whole characters; together the pieces are the result.

        Raises:
            MmedgeError: no picture; the prompt fills the model's context; the checkpoint had no tokenizer or no image processor.
        """
        if self._tokenizer is None:
            raise _lacks("tokenizer", "tokenizer.json")
        stream = TextStream(self._tokenizer)

        def show(text: str) -> None:
            if on_text and text:
                on_text(text)

        start = self._prompt(prompt)
        show("".join(map(stream.push, start)))
        tokens = self._decode(image, start, sampling, lambda token: show(stream.push(token)))
        show(stream.end())
        return self.words([*start, *tokens])

    def _prompt(self, text: str) -> list[int]:
        if not text:
            return list(self.config.start)
        if self._tokenizer is None:
            raise _lacks("tokenizer", "tokenizer.json")
        tokens = [*self.config.start, *self._tokenizer.encode(text, add_special_tokens=False).ids]
        if len(tokens) >= self.config.context:
            raise MmedgeError(f"the prompt has {len(tokens)} tokens and the context {self.config.context}", "shorten it, or export with a longer context")
        return tokens

    def _decode(self, image: Picture, prompt: Sequence[int], sampling: Sampling, on_token: Callable[[int], Any] | None = None) -> list[int]:
        config = self.config
        cache = Cache(self._decoder, self._encoder.run({"pixel_values": self.pixels(image)}))
        decoded = decode(
            lambda tokens: np.asarray(cache(len(tokens), {"input_ids": tokens[None]})["logits"][0, -1], np.float32),
            prompt,
            stop=frozenset(config.stop),
            sampling=replace(sampling, max_tokens=min(sampling.max_tokens, config.context - len(prompt))),
            suppress=config.suppress,
            suppress_first=config.suppress_first,
            on_token=on_token,
        )
        return list(decoded.tokens)


def _lacks(what: str, file: str) -> MmedgeError:
    return MmedgeError(f"the checkpoint of this model brought no {what}", f"add its {file} to the checkpoint and export again")
