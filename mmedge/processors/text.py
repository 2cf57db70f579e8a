"""Texts: from strings to token ids, with the tokenizer that a checkpoint brings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from mmedge.documents import Document
from mmedge.errors import MmedgeError
from mmedge.spans import timed


class TextSettings(Document):
    """How long token sequences are, and what fills the shorter ones."""

    length: int
    """The most tokens an encoder takes, special ones included; longer texts are cut."""
    fixed: bool = False
    """Fill every text up to ``length`` (SigLIP was trained so), instead of up to the longest of the batch."""
    pad_id: int
    pad_token: str
    side: Literal["right", "left"] = "right"
    """Where the filling goes."""


class TextProcessor:
    """A ``tokenizer.json`` with the padding and cutting of ``settings``; what that file itself says of them is overridden."""

    def __init__(self, tokenizer: Path | bytes, settings: TextSettings) -> None:
        """``tokenizer``: the file, or its content. Raises MmedgeError: the file is missing or is no tokenizer."""
        try:
            self._tokenizer = Tokenizer.from_buffer(tokenizer) if isinstance(tokenizer, bytes) else Tokenizer.from_file(str(tokenizer))
        except Exception as error:  # tokenizers raises a bare Exception for everything
            named = "this" if isinstance(tokenizer, bytes) else tokenizer
            raise MmedgeError(f"{named} is no tokenizer: {error}", "export the bundle again") from error
        self.settings = settings
        self._tokenizer.enable_truncation(settings.length)
        self._tokenizer.enable_padding(
            direction=settings.side, pad_id=settings.pad_id, pad_token=settings.pad_token, length=settings.length if settings.fixed else None
        )

    @property
    def size(self) -> int:
        """Tokens of the vocabulary."""
        return int(self._tokenizer.get_vocab_size())

    @timed("processors")
    def __call__(self, texts: Sequence[str]) -> dict[str, NDArray[np.int64]]:
        """Texts -> ``input_ids`` and ``attention_mask`` (1 on tokens, 0 on filling), each int64 [B, T]. Raises MmedgeError: no text."""
        if isinstance(texts, str):
            raise TypeError("give a list of texts")
        if not texts:
            raise MmedgeError("there is no text", "give at least one")
        encoded = self._tokenizer.encode_batch(list(texts))
        return {
            "input_ids": np.array([one.ids for one in encoded], np.int64),
            "attention_mask": np.array([one.attention_mask for one in encoded], np.int64),
        }
