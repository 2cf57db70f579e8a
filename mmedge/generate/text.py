"""The decode loop with words on both sides of it: what is written is text, and whoever listens hears it as it grows."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tokenizers import Tokenizer

from mmedge.generate.decode import GREEDY, Sampling, Step, decode
from mmedge.generate.stream import TextStream


def write(
    step: Step,
    prompt: Sequence[int],
    tokenizer: Tokenizer,
    *,
    stop: frozenset[int],
    sampling: Sampling = GREEDY,
    suppress: Sequence[int] = (),
    suppress_first: Sequence[int] = (),
    on_text: Callable[[str], None] | None = None,
) -> str:
    """Decode (see ``mmedge.generate.decode``) and return the text, special tokens left out.

    Args:
        on_text: called with each new piece of text, in whole characters; together the pieces are the result.
    """
    stream = TextStream(tokenizer)

    def show(text: str) -> None:
        if on_text and text:
            on_text(text)

    decoded = decode(
        step,
        prompt,
        stop=stop,
        sampling=sampling,
        suppress=suppress,
        suppress_first=suppress_first,
        on_token=(lambda token: show(stream.push(token))) if on_text else None,
    )
    show(stream.end())
    text: str = tokenizer.decode(list(decoded.tokens), skip_special_tokens=True)
    return text
