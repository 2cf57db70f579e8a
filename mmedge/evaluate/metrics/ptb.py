"""Words of an English caption, as the Penn Treebank splits them."""

from __future__ import annotations

import re

NAME = "tokenizer: mmedge's own, after the Penn Treebank's"
WORD = re.compile(r"[\w'-]+")


def tokenize(text: str) -> list[str]:
    """The words in lower case, without punctuation."""
    return WORD.findall(text.lower())
