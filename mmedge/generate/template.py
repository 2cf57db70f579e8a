"""Chat templates: a checkpoint's own Jinja text turns messages into a prompt. It is somebody else's program, so it runs in a sandbox on plain data.

The dialect is that of transformers (``utils/chat_template_utils.py``): blocks trimmed, ``break`` and ``continue``, a ``generation`` block that only marks text,
``tojson`` without HTML escapes, ``raise_exception``, ``strftime_now``.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from jinja2 import Environment, TemplateError, nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

from mmedge.documents import read_plain
from mmedge.errors import MmedgeError
from mmedge.spans import timed

Messages = Sequence[Mapping[str, Any]]
"""``{"role": "user", "content": "..."}`` and so on; content may be a list of parts, ``{"type": "text", "text": "..."}`` or ``{"type": "image"}``."""

TOKENS = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
"""The special tokens that templates write."""


class ChatTemplate:
    """A compiled template.

    Args:
        text: of the template.
        tokens: ``bos_token`` and so on, as the template names them.

    Raises:
        MmedgeError: not a template.
    """

    def __init__(self, text: str, tokens: Mapping[str, str]) -> None:
        self.text, self.tokens = text, dict(tokens)
        try:
            self._template = _environment().from_string(text)
        except (TemplateError, RecursionError) as error:
            raise MmedgeError(f"the chat template cannot be read: {error}", "get an undamaged checkpoint") from error

    @timed("processors")
    def render(self, messages: Messages, add_generation_prompt: bool = True, *, now: datetime.datetime | None = None) -> str:
        """The prompt for ``messages``; it holds its special tokens as text, so encode it without adding any.

        Args:
            add_generation_prompt: end where the assistant's answer begins.
            now: what a template that writes the date takes for now.

        Raises:
            MmedgeError: the template refuses the messages, or fails on them.
        """
        plain, clock = _plain(messages), now or datetime.datetime.now()
        try:
            return self._template.render(
                messages=plain,
                tools=None,
                documents=None,
                add_generation_prompt=add_generation_prompt,
                strftime_now=clock.strftime,
                **self.tokens,
            )
        except SecurityError as error:
            raise MmedgeError(f"the chat template wants what no template needs: {error}", "do not use this checkpoint") from error
        except Exception as error:  # a template is a program: what it raises is up to it
            raise MmedgeError(
                f"the chat template does not take these messages: {str(error) or type(error).__name__}", "change their roles or contents"
            ) from error


def read_template(folder: Path) -> ChatTemplate | None:
    """The template of a checkpoint folder, from chat_template.jinja, chat_template.json or tokenizer_config.json; None where it has none.

    Raises:
        MmedgeError: one of these files is damaged, or the template is.
    """
    settings, extra = read_plain(folder / "tokenizer_config.json", required=False), read_plain(folder / "chat_template.json", required=False)
    text = extra.get("chat_template") or settings.get("chat_template")
    if isinstance(text, list):
        named = {entry.get("name"): entry.get("template") for entry in text if isinstance(entry, dict)}
        text = named.get("default")
    if (folder / "chat_template.jinja").is_file():
        text = (folder / "chat_template.jinja").read_text(encoding="utf-8")
    if not isinstance(text, str):
        return None
    given = {**read_plain(folder / "special_tokens_map.json", required=False), **settings}
    tokens = {name: value.get("content") if isinstance(value, dict) else value for name in TOKENS if (value := given.get(name)) is not None}
    return ChatTemplate(text, {name: value for name, value in tokens.items() if isinstance(value, str)})


def _plain(messages: Messages) -> Any:
    """Copies of JSON's own kinds: pictures and other objects have methods that a template could call."""
    if isinstance(messages, (str, Mapping)) or not all(isinstance(message, Mapping) and isinstance(message.get("role"), str) for message in messages):
        raise MmedgeError("these are no messages of a chat", 'give a list such as [{"role": "user", "content": "Hello"}]')
    return json.loads(json.dumps([dict(message) for message in messages], default=lambda value: f"<{type(value).__name__}>"))


def _environment() -> Environment:
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols])
    environment.filters["tojson"] = _tojson
    environment.globals.update(raise_exception=_refuse, namespace=_Names)
    del environment.globals["lipsum"]
    return environment


def _tojson(value: Any, ensure_ascii: bool = False, indent: int | None = None, separators: tuple[str, str] | None = None, sort_keys: bool = False) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _refuse(message: str) -> NoReturn:
    raise TemplateError(message)


class _Names(Namespace):
    """Jinja's ``namespace()`` without names that begin with an underscore: those lead to Python's internals."""

    def __init__(self, **names: Any) -> None:
        for name in names:
            _public(name)
        super().__init__(**names)

    def __setitem__(self, name: str, value: Any) -> None:
        _public(name)
        super().__setitem__(name, value)


def _public(name: str) -> None:
    if name.startswith("_"):
        raise SecurityError(f"a namespace holds no {name!r}")


class _Generation(Extension):
    """``{% generation %}`` marks the assistant's words for training; here it only is a scope of its own."""

    tags = {"generation"}

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        return nodes.Scope(parser.parse_statements(("name:endgeneration",), drop_needle=True), lineno=line)
