"""Image, text and audio fused: classifiers, and matchers of pictures with texts (``mmedge.nets.multimodal.Fusion``), any modality of which may be missing.

One graph per encoder, and the head that joins what they give; so an encoder whose modality is missing does not run, and what one gave can be used again.
All are of batch 1:
``image_encoder``: pixel_values float32 [1, 3, H, W]; ``text_encoder``: input_ids, attention_mask int64 [1, tokens];
``audio_encoder``: input_features float32 [1, mels, frames]; each -> MODALITY_features float32 [1, D], or with cross-attention
MODALITY_tokens float32 [1, T, D];
``head``: present int64 [1, modalities] (0: missing), these, with cross-attention text_mask int64 [1, tokens] -> logits float32 [1, labels], or [1, 1].
"""

from __future__ import annotations

from mmedge.documents import Document
from mmedge.processors.log_mel import LogMelSettings
from mmedge.processors.pixels import ImageSettings
from mmedge.processors.text import TextSettings

ARCHITECTURES: tuple[str, ...] = ("MmedgeFusion",)
PREFER: dict[str, tuple[str, ...]] = {}
CALLS = ("pixels", "tokens", "log_mel", "classify", "match")

MODALITIES = ("image", "text", "audio")
"""In this order wherever there are several."""


class Options(Document):
    """Nothing is left to choose: the checkpoint says it all."""


class Config(Document):
    """What the session must know."""

    image: ImageSettings | None = None
    text: TextSettings | None = None
    audio: LogMelSettings | None = None
    """How each modality is prepared; None: the model has no encoder for it."""
    attends: bool
    """Whether encoders give all their states, for cross-attention, or one vector."""
    labels: tuple[str, ...] = ()
    """Of a classifier; a matcher has none."""

    @property
    def modalities(self) -> tuple[str, ...]:
        """Those that it takes, the columns of ``present``."""
        return tuple(name for name in MODALITIES if getattr(self, name) is not None)

    @property
    def gives(self) -> str:
        """What an encoder's output is called, behind the modality."""
        return "tokens" if self.attends else "features"


def graphs(config: Config) -> tuple[str, ...]:
    return (*(f"{name}_encoder" for name in config.modalities), "head")


def assets(config: Config) -> tuple[str, ...]:
    return ("tokenizer.json",) if config.text is not None else ()


def verbs(config: Config) -> tuple[str, ...]:
    """A classifier has labels; a matcher has none."""
    of = {"pixels": config.image, "tokens": config.text, "log_mel": config.audio, "classify": config.labels, "match": not config.labels}
    return tuple(verb for verb in CALLS if of[verb])


def optional(config: Config) -> tuple[str, ...]:
    """A matcher needs both."""
    return config.modalities if config.labels else ()


def ranges(config: Config) -> dict[str, tuple[int, int, int]]:
    """One sample at a time."""
    return {"tokens": (1, min(16, config.text.length), config.text.length)} if config.text and not config.text.fixed else {}
