"""A language model in use: messages in, its answer out, word by word if somebody listens."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from mmedge.errors import MmedgeError
from mmedge.families.chat import Config
from mmedge.generate.cache import Cache
from mmedge.generate.decode import GREEDY, Sampling, Step
from mmedge.generate.template import ChatTemplate, Messages
from mmedge.generate.text import write
from mmedge.processors.tokenizer import read_tokenizer
from mmedge.runner import Runner
from mmedge.spans import timed


class Session:
    """The verbs of a chat model.

    Args:
        runners: ``language``.
        assets: ``tokenizer.json`` and ``chat_template.jinja``, where the checkpoint brought them.
        config: what export found out.
    """

    def __init__(self, runners: Mapping[str, Runner], assets: Mapping[str, Path], config: Config) -> None:
        self._language, self._config = runners["language"], config
        self._tokenizer = read_tokenizer(assets["tokenizer.json"]) if config.tokenizer else None
        self._template = ChatTemplate(assets["chat_template.jinja"].read_text(encoding="utf-8"), config.special) if config.template else None

    def chat(self, messages: Messages | str, *, sampling: Sampling = GREEDY, on_text: Callable[[str], None] | None = None) -> str:
        """The model's answer.

        Args:
            messages: the talk so far, such as ``[{"role": "user", "content": "Hello"}]``; or what a user says, alone. A model without a chat template
                takes a text only, and writes on where it ends.
            on_text: called with each new piece of the answer, in whole characters.

        Raises:
            MmedgeError: the checkpoint brought no tokenizer, its template refuses the messages, or they are too long.
        """
        return self.write_on(self.prompt(messages), sampling=sampling, on_text=on_text)

    def prompt(self, messages: Messages | str) -> list[int]:
        """The tokens that the model reads."""
        return encode(self._words(), self._template, messages)

    def write_on(self, tokens: Sequence[int], *, sampling: Sampling = GREEDY, on_text: Callable[[str], None] | None = None) -> str:
        """What follows ``tokens``, whatever they are."""
        tokenizer, room = self._words(), self._room(len(tokens))
        limited = replace(sampling, max_tokens=min(sampling.max_tokens, room))
        return write(self.step(), tokens, tokenizer, stop=frozenset(self._config.stop), sampling=limited, on_text=on_text)

    def step(self) -> Step:
        """A text of its own to write: see ``mmedge.generate.decode``."""
        cache = Cache(self._language)

        def step(tokens: NDArray[np.int64]) -> NDArray[np.float32]:
            logits: NDArray[np.float32] = cache(len(tokens), {"input_ids": tokens[None]})["logits"][0, -1]
            return logits

        return step

    def _words(self) -> Tokenizer:
        if self._tokenizer is None:
            raise MmedgeError("the checkpoint brought no tokenizer, so this model has no words", "add tokenizer.json to the checkpoint and export it again")
        return self._tokenizer

    def _room(self, tokens: int) -> int:
        """How many tokens may follow a prompt of ``tokens``."""
        limit = min([self._config.limit, *(size for spec in self._language.inputs if spec.name == "past_key_0" and isinstance(size := spec.shape[2], int))])
        if not 0 < tokens < limit:
            raise MmedgeError(
                f"the messages are {tokens} tokens long; the model takes 1 to {limit - 1}", "leave the oldest messages out" if tokens else "say something"
            )
        return limit - tokens


@timed("processors")
def encode(tokenizer: Tokenizer, template: ChatTemplate | None, messages: Messages | str) -> list[int]:
    """The tokens of a prompt. Raises MmedgeError: the template refuses the messages, or there is none and they are more than a text."""
    if template is not None:
        talk = [{"role": "user", "content": messages}] if isinstance(messages, str) else messages
        ids: list[int] = tokenizer.encode(template.render(talk), add_special_tokens=False).ids
        return ids
    if not isinstance(messages, str):
        raise MmedgeError("this model has no chat template: it writes on where a text ends", "give it a text; or add chat_template.jinja and export it again")
    return list(tokenizer.encode(messages).ids)


def is_dated(template: ChatTemplate, text: str) -> bool:
    """Whether the template writes the date."""
    days = (datetime.datetime(2001, 2, 3, 4, 5, 6), datetime.datetime(2032, 11, 12, 13, 14, 15))
    return len({template.render([{"role": "user", "content": text}], now=day) for day in days}) > 1
