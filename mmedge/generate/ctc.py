"""Text from a CTC model: one label per frame, repeated labels merged, blanks dropped (Graves et al. 2006, section 3.2: best path decoding)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby

from mmedge.documents import Document

TIDY = ((" .", "."), (" ?", "?"), (" !", "!"), (" ,", ","), (" ' ", "'"), (" n't", "n't"), (" 'm", "'m"), (" 's", "'s"), (" 've", "'ve"), (" 're", "'re"))
"""What transformers replaces where a tokenizer asks for clean_up_tokenization_spaces, in its order."""


class CtcSettings(Document):
    """How labels become text, as transformers' Wav2Vec2CTCTokenizer has it."""

    blank: str
    """The label of frames in which nothing new is said (``pad_token``)."""
    delimiter: str
    """The label between words."""
    space: str = " "
    """What is written for it."""
    lower: bool = False
    tidy: bool = False
    """No spaces before punctuation."""


def ctc_text(ids: Iterable[int], labels: Sequence[str], settings: CtcSettings) -> str:
    """The likeliest label of each frame -> text."""
    merged = (label for label, _ in groupby(labels[index] for index in ids))
    text = "".join(settings.space if label == settings.delimiter else label for label in merged if label != settings.blank).strip()
    text = text.lower() if settings.lower else text
    if settings.tidy:
        for loose, tight in TIDY:
            text = text.replace(loose, tight)
    return text
