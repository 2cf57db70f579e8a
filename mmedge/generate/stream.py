"""From tokens to text as it grows, without ever showing half a character."""

from __future__ import annotations

from tokenizers import Tokenizer

UNFINISHED = "\ufffd"
"""What a decoder puts where the bytes of a character have not all come yet."""


class TextStream:
    """Takes one token at a time and gives the text that is certain by then.

    What it has given in all is ``tokenizer.decode`` of all tokens, special ones left out. The one exception is a text that is no valid UTF-8: a decoder with
    byte fallback then takes back characters before the bad byte that were right when they were given.

    A token's text depends on the token before it (whether a space belongs in between), never on more; so a window is decoded, not the whole.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._given: list[int] = []
        """The last tokens whose text was given."""
        self._waiting: list[int] = []

    def push(self, token: int) -> str:
        """The text that is new and final; empty while a character is incomplete, or where the token has no text."""
        self._waiting.append(token)
        text = self._new_text()
        if not text or text.endswith(UNFINISHED):
            return ""
        self._given, self._waiting = self._waiting, []
        return text

    def end(self) -> str:
        """What is left when no more tokens come: broken characters, if anything."""
        text = self._new_text()
        self._given, self._waiting = [], []
        return text

    def _new_text(self) -> str:
        before, both = self._decode(self._given), self._decode(self._given + self._waiting)
        return both[len(before) :] if both.startswith(before) else self._decode(self._waiting)

    def _decode(self, tokens: list[int]) -> str:
        return self._tokenizer.decode(tokens, skip_special_tokens=True) if tokens else ""
