"""A tokenizer of characters, made from texts: for languages that are written without spaces, and data too small for longer pieces."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from tokenizers import Tokenizer, models, normalizers, processors

from mmedge.nets.encoders import CLS, PAD

UNKNOWN = "[UNK]"
BYTES = tuple(f"<0x{byte:02X}>" for byte in range(256))
"""As tokenizers names them: a character that is no token becomes those of its UTF-8, so that none is unknown."""


def character_tokenizer(texts: Iterable[str]) -> bytes:
    """A tokenizer.json: every character of these texts is a token, after compatibility composition (NFKC) and in lower case; [CLS] begins every text.

    Args:
        texts: only those that are trained on. A token that no training has seen would be noise, where bytes have seen others.
    """
    plain = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase(), normalizers.Strip()])
    counts = Counter(character for text in texts for character in plain.normalize_str(text))
    tokens = [PAD, CLS, UNKNOWN, *BYTES, *sorted(counts, key=lambda one: (-counts[one], one))]
    made = Tokenizer(models.BPE({token: index for index, token in enumerate(tokens)}, [], unk_token=UNKNOWN, byte_fallback=True))
    made.normalizer = plain
    made.add_special_tokens([PAD, CLS, UNKNOWN])
    made.post_processor = processors.TemplateProcessing(single=f"{CLS} $A", special_tokens=[(CLS, 1)])
    return bytes(made.to_str().encode())
