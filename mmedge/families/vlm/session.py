"""A model that talks about pictures, in use."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmedge.errors import MmedgeError
from mmedge.families.vlm import Config
from mmedge.families.vlm.eye import Ready, eye_for
from mmedge.families.vlm.prompt import Messages, Prompt, Prompter, has_pictures
from mmedge.generate.cache import Cache
from mmedge.generate.decode import GREEDY, Sampling, Step
from mmedge.generate.template import ChatTemplate
from mmedge.generate.text import write
from mmedge.processors.image import Picture
from mmedge.processors.tokenizer import read_tokenizer
from mmedge.runner import Runner
from mmedge.tensors import Array, Feeds

Floats = NDArray[np.float32]
OnText = Callable[[str], None]


class Session:
    """Not safe for two threads at once, as its runners are not."""

    def __init__(self, runners: Mapping[str, Runner], assets: Mapping[str, Path], config: Config) -> None:
        self.config = config
        self._runners = runners
        self._eye = eye_for(config)
        self._tokenizer = read_tokenizer(assets["tokenizer.json"]) if config.tokenizer else None
        self._prompter = None
        if config.template and self._tokenizer:
            template = ChatTemplate(assets["chat_template.jinja"].read_text(encoding="utf-8"), config.special_tokens)
            self._prompter = Prompter(template, self._tokenizer, config.image_token)

    def pixels(self, image: Picture) -> dict[str, Array]:
        """What ``image_encoder`` takes of a picture; tiles one after the other along the first axis."""
        pieces = self._ready(image).pieces
        return {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}

    def tokens(self, messages: Messages | str) -> NDArray[np.int64]:
        """The prompt of a chat, int64 [tokens], with an image token for every row of features."""
        return self._prompt(messages).ids

    def caption(self, image: Picture, *, sampling: Sampling = GREEDY, on_text: OnText | None = None) -> str:
        """What the picture shows: the answer to the exported model's ``caption_prompt``. Raises MmedgeError as ``chat``."""
        return self.answer(image, self.config.caption_prompt, sampling=sampling, on_text=on_text)

    def answer(self, image: Picture, question: str, *, sampling: Sampling = GREEDY, on_text: OnText | None = None) -> str:
        """An answer to a question about a picture. Raises MmedgeError as ``chat``."""
        content = [{"type": "image", "image": image}, {"type": "text", "text": question}]
        return self.chat([{"role": "user", "content": content}], sampling=sampling, on_text=on_text)

    def chat(self, messages: Messages | str, *, sampling: Sampling = GREEDY, on_text: OnText | None = None) -> str:
        """The assistant's next message. Without pictures, the image graphs are not touched.

        Args:
            messages: see ``mmedge.families.vlm.prompt.Messages``, any number of pictures in any of them; or what a user says, alone.
            on_text: called with each new piece of text; together they are the result.

        Raises:
            MmedgeError: the checkpoint lacked what this needs; not a picture; contents that the chat template does not take; a chat that is too long.
        """
        prompt = self._prompt(messages)
        assert self._tokenizer is not None
        room = self.config.positions - len(prompt.ids)
        if room < 1:
            raise MmedgeError(
                f"the chat has {len(prompt.ids)} tokens, the model takes {self.config.positions}", "leave out old messages, or give fewer or smaller pictures"
            )
        cache = Cache(self._runners["language"])
        if cache.limit is not None:
            room = min(room, max(cache.limit - len(prompt.ids), 1))
        return write(
            self._step(prompt, cache),
            prompt.ids.tolist(),
            self._tokenizer,
            stop=frozenset(self.config.stop),
            sampling=replace(sampling, max_tokens=min(sampling.max_tokens, room)),
            suppress=self.config.suppress,
            on_text=on_text,
        )

    def look(self, picture: Ready) -> list[Floats]:
        """Features of a picture: those that take the place of its tokens, then those of each DeepStack layer, all float32 [tokens, width]."""
        seen: list[list[Array]] = []
        for piece in picture.pieces:
            features = self._runners["connector"].run(self._eye.connect(self._runners["image_encoder"].run(piece)))
            streams = [features[name] for name in ("image_features", *self._deepstack)]
            seen.append([np.array(stream, np.float32).reshape(-1, stream.shape[-1]) for stream in streams])
        return [np.concatenate(stream) for stream in zip(*seen)]

    def feeds(self, ids: NDArray[np.int64], seen: Sequence[Sequence[Floats]], positions: NDArray[np.int64] | None) -> dict[str, Array]:
        """What ``language`` takes for ``ids``: their embeddings, with the features of pictures in the places of image tokens."""
        embedded = self._runners["token_embedding"].run({"input_ids": ids[None]})["inputs_embeds"]
        feeds: dict[str, Array] = {"inputs_embeds": embedded}
        for index, name in enumerate(("inputs_embeds", *self._deepstack)):
            if seen:
                stream = np.array(embedded, np.float32) if index == 0 else np.zeros(embedded.shape, np.float32)
                stream[0, ids == self.config.image_token_id] = np.concatenate([one[index] for one in seen])
                feeds[name] = stream
            elif index:
                feeds[name] = np.zeros(embedded.shape, np.float32)
        if positions is not None:
            feeds["position_ids"] = positions[:, None]
        return feeds

    @property
    def _deepstack(self) -> tuple[str, ...]:
        return tuple(f"deepstack_{index}" for index in range(self.config.deepstack))

    def _step(self, prompt: Prompt, cache: Cache) -> Step:
        positions = self._eye.positions(prompt.ids, prompt.pictures)

        def step(ids: NDArray[np.int64]) -> Floats:
            if cache.length == 0:
                feeds: Feeds = self.feeds(ids, [self.look(picture) for picture in prompt.pictures], positions)
            else:
                after = None if positions is None else np.full((3, 1), positions.max() + 1 + cache.length - len(prompt.ids))
                feeds = self.feeds(ids, (), after)
            logits: Any = cache(len(ids), feeds)["logits"][0, -1]
            return np.asarray(logits, np.float32)

        return step

    def _prompt(self, messages: Messages | str) -> Prompt:
        talk: Messages = [{"role": "user", "content": messages}] if isinstance(messages, str) else messages
        pictures = has_pictures(talk)
        if self._tokenizer is None:
            raise _missing("tokenizer", "tokenizer.json")
        if self._prompter is None:
            raise _missing("chat template", "chat_template.jinja")
        if pictures and not self.config.processor:
            raise _missing("image processor", "preprocessor_config.json")
        return self._prompter(talk, self._eye if self.config.processor else None)

    def _ready(self, image: Picture) -> Ready:
        if not self.config.processor:
            raise _missing("image processor", "preprocessor_config.json")
        return self._eye.ready(image)


def _missing(what: str, file: str) -> MmedgeError:
    return MmedgeError(f"the checkpoint of this model had no {what}", f"add its {file} to the checkpoint and export again")
