"""A checkpoint's ``tokenizer.json``."""

from __future__ import annotations

from pathlib import Path

from tokenizers import Tokenizer

from mmedge.errors import MmedgeError


def read_tokenizer(path: Path) -> Tokenizer:
    """Without cutting and filling, whatever the file says of them. Raises MmedgeError: missing, or no tokenizer."""
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # tokenizers raises a bare Exception for everything
        raise MmedgeError(f"{path} is no tokenizer: {error}", "export the bundle again") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def spread_ids(tokenizer: Tokenizer, count: int = 100) -> list[int]:
    """About ``count`` token ids from all over the vocabulary: a tokenizer that belongs to another model makes other words of them."""
    size = tokenizer.get_vocab_size(with_added_tokens=True)
    return list(range(0, size, max(1, size // count)))
