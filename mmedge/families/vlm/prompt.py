"""From messages to a prompt: the chat template writes it, pictures take the place of their tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from mmedge.errors import MmedgeError
from mmedge.families.vlm.eye import Eye, Ready
from mmedge.generate.template import ChatTemplate
from mmedge.processors.image import Picture
from mmedge.spans import timed

Messages = Sequence[Mapping[str, Any]]
"""``{"role": "user", "content": "..."}``; content may also be a list of ``{"type": "text", "text": "..."}`` and ``{"type": "image", "image": a picture}``."""

PROBE = "a word to look for"
TEXT_PART = {"type": "text", "text": PROBE}


@dataclass(frozen=True, eq=False)
class Prompt:
    ids: NDArray[np.int64]
    """[tokens]"""
    pictures: tuple[Ready, ...]


class Prompter:
    """Equal, token for token, to ``apply_chat_template`` of transformers' processor."""

    def __init__(self, template: ChatTemplate, tokenizer: Tokenizer, image_token: str) -> None:
        self._template, self._tokenizer, self._image_token = template, tokenizer, image_token
        self.takes_parts = _takes_parts(template)
        self.takes_pictures = self.takes_parts and image_token in template.render([{"role": "user", "content": [{"type": "image"}, TEXT_PART]}])

    @timed("processors")
    def __call__(self, messages: Messages, eye: Eye | None) -> Prompt:
        """Without an ``eye`` there must be no picture.

        Raises:
            MmedgeError: contents of another kind, a template that does not place the pictures, a text that holds the image token.
        """
        pictures, plain = [], []
        for message in messages:
            found, content = self._content(message)
            pictures += found
            plain.append({**message, "content": content})
        text = self._template.render(plain)
        around = text.split(self._image_token)
        if len(around) != len(pictures) + 1:
            raise MmedgeError(
                f"the prompt has {len(around) - 1} places for {len(pictures)} pictures",
                f"leave {self._image_token} out of the texts, and use a checkpoint whose chat template knows pictures",
            )
        ready = tuple(eye.ready(picture) for picture in pictures) if eye else ()
        pieces = [around[0]]
        for picture, after in zip(ready, around[1:]):
            pieces += [picture.text, after]
        begin = self._template.tokens.get("bos_token")
        whole = "".join(pieces)
        encoded = self._tokenizer.encode(whole, add_special_tokens=not (begin and whole.startswith(begin)))
        return Prompt(np.array(encoded.ids, np.int64), ready)

    def _content(self, message: Mapping[str, Any]) -> tuple[list[Picture], Any]:
        """The pictures of a message, and its content as the template takes it."""
        content = message.get("content") or ""
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else content if isinstance(content, (list, tuple)) else [content]
        pictures = []
        plain = []
        for part in parts:
            kind = part.get("type") if isinstance(part, Mapping) else None
            if kind == "image" and part.get("image") is not None:
                pictures.append(part["image"])
                plain.append({"type": "image"})
            elif kind == "text" and isinstance(part.get("text"), str):
                plain.append({"type": "text", "text": part["text"]})
            else:
                raise MmedgeError(
                    f"a message holds a part of type {kind!r} that is none, or empty",
                    'give {"type": "text", "text": ...} and {"type": "image", "image": a picture}',
                )
        if self.takes_parts:
            return pictures, plain
        return pictures, "".join(part.get("text", self._image_token) for part in plain)


def has_pictures(messages: Messages) -> bool:
    """Raises MmedgeError: something that is no list of messages."""
    if not isinstance(messages, (list, tuple)) or not all(isinstance(message, Mapping) and isinstance(message.get("role"), str) for message in messages):
        raise MmedgeError("a chat is a list of messages, each with a role and a content", 'such as [{"role": "user", "content": "Hello"}]')
    contents = [message.get("content") for message in messages]
    return any(isinstance(part, Mapping) and part.get("type") == "image" for parts in contents if isinstance(parts, (list, tuple)) for part in parts)


def _takes_parts(template: ChatTemplate) -> bool:
    """Whether contents may be lists of parts: templates made for text alone would print the list, or fail."""
    try:
        written = template.render([{"role": "user", "content": [TEXT_PART]}])
    except MmedgeError:
        return False
    return PROBE in written and "'type'" not in written and '"type"' not in written
