"""What the config.json of an image-text or fusion checkpoint says: every encoder with what prepares its input, and what joins them. No torch."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from mmedge.documents import Document
from mmedge.processors.log_mel import LogMelSettings
from mmedge.processors.pixels import ImageSettings
from mmedge.processors.text import TextSettings

Modality = Literal["image", "text", "audio"]
MODALITIES: tuple[Modality, ...] = ("image", "text", "audio")
"""In this order wherever there are several."""

FusionKind = Literal["concat", "weighted_sum", "deep", "cross_attention"]

Positive = Annotated[int, Field(ge=1)]
Stage = tuple[Positive, Positive, Positive, Positive, Positive]
"""Repeats, kernel, stride of the first repeat, expansion, output channels."""


class EfficientNetConfig(Document):
    """EfficientNet in its "lite" form (Tan and Le 2019; ``mmedge.nets.efficientnet_lite``). The defaults are Lite0; students have fewer or narrower stages."""

    kind: Literal["efficientnet_lite"] = "efficientnet_lite"
    side: int = Field(default=224, ge=32)
    """Height and width of pictures in pixels."""
    stem: Positive = 32
    stages: tuple[Stage, ...] = (
        (1, 3, 1, 1, 16),
        (2, 3, 2, 6, 24),
        (2, 5, 2, 6, 40),
        (3, 3, 2, 6, 80),
        (3, 5, 1, 6, 112),
        (4, 5, 2, 6, 192),
        (1, 3, 1, 6, 320),
    )
    features: Positive = 1280
    classes: int = Field(default=1000, ge=0)
    """Outputs of its own classifier, 0 for none. ConSE needs it."""


class TransformersConfig(Document):
    """Any encoder of transformers for texts (BERT, MiniLM, RoBERTa), pictures (ViT, DeiT) or sounds (Whisper's encoder)."""

    kind: Literal["transformers"] = "transformers"
    config: dict[str, Any]
    """As its own config.json has it, with ``model_type``."""
    pooling: Literal["mean", "first"] = "mean"
    """How one vector is made of all states: the mean of those that are not filling, or the first one ([CLS])."""


Network = Annotated[EfficientNetConfig | TransformersConfig, Field(discriminator="kind")]


class ImageEncoder(Document):
    """pixel_values float32 [B, 3, H, W]."""

    network: Network
    prepared: ImageSettings

    @model_validator(mode="after")
    def _fits(self) -> ImageEncoder:
        side = self.network.side if isinstance(self.network, EfficientNetConfig) else self.network.config.get("image_size", 224)
        taken = (side, side) if isinstance(side, int) else tuple(side)
        if (made := self.prepared.crop or self.prepared.resize) != taken:
            raise ValueError(f"pictures are prepared as {made}, and the network takes {taken}: height, width")
        return self


class TextEncoder(Document):
    """input_ids, attention_mask int64 [B, T]; the tokenizer lies beside as tokenizer.json."""

    network: TransformersConfig
    prepared: TextSettings

    @model_validator(mode="after")
    def _fits(self) -> TextEncoder:
        if self.prepared.length > (most := self.network.config.get("max_position_embeddings", 512)):
            raise ValueError(f"texts are cut to {self.prepared.length} tokens, and the network takes {most}")
        return self


class AudioEncoder(Document):
    """input_features float32 [B, mels, frames], for an encoder of Whisper's form (``mmedge.nets.encoders.listener``)."""

    network: TransformersConfig
    prepared: LogMelSettings

    @model_validator(mode="after")
    def _fits(self) -> AudioEncoder:
        told = self.network.config
        if told.get("model_type") != "whisper":
            raise ValueError(f"an encoder of sounds is whisper's, at any size, and not {told.get('model_type')}")
        made, taken = (self.prepared.mels, self.prepared.frames), (told.get("num_mel_bins", 80), 2 * told.get("max_source_positions", 1500))
        if made != taken:
            raise ValueError(f"sounds are prepared as {made}, and the network takes {taken}: bands, frames")
        return self


class DualEncoderConfig(Document):
    """Pictures and texts in one space: ``mmedge.nets.multimodal.DualEncoder``."""

    architectures: tuple[Literal["MmedgeDualEncoder"]] = ("MmedgeDualEncoder",)
    image: ImageEncoder
    text: TextEncoder
    width: int = Field(default=256, ge=1)
    """Of the common space."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """On the features that are projected, while training."""
    similarity: Literal["softmax", "sigmoid"] = "softmax"
    """Labels compete (CLIP), or each is judged by itself (SigLIP): what ``classify`` makes of the scaled cosines."""
    conse: float = Field(default=0.0, ge=0)
    """The weight of the ConSE score beside the trained cosine, 0 for none: a picture's likeliest ImageNet classes as sentences (Norouzi et al. 2013)."""


class FusionConfig(Document):
    """Several modalities, any of which may be missing, become one answer: ``mmedge.nets.multimodal.Fusion``."""

    architectures: tuple[Literal["MmedgeFusion"]] = ("MmedgeFusion",)
    image: ImageEncoder | None = None
    text: TextEncoder | None = None
    audio: AudioEncoder | None = None
    fusion: FusionKind = "concat"
    width: int = Field(default=128, ge=1)
    """Of every modality where they are joined."""
    layers: int = Field(default=2, ge=1)
    """Of ``deep`` and ``cross_attention``."""
    heads: int = Field(default=4, ge=1)
    """Of ``cross_attention``."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    head: Literal["classify", "match"] = "classify"
    labels: tuple[str, ...] = ()
    """Of ``classify``: one logit each. ``match`` has one logit, how well a picture and a text belong together."""

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """Those that it has an encoder for: the columns of a presence mask."""
        return tuple(one for one in MODALITIES if getattr(self, one) is not None)

    @model_validator(mode="after")
    def _fits(self) -> FusionConfig:
        if not self.modalities:
            raise ValueError("there is no encoder: give image, text or audio")
        if self.head == "classify" and len(set(self.labels)) < max(2, len(self.labels)):
            raise ValueError("a classifier needs at least two labels, all different")
        if self.head == "match" and (self.modalities != ("image", "text") or self.labels):
            raise ValueError("matching is between image and text, and has no labels")
        if self.fusion == "cross_attention" and (self.width % self.heads or len(self.modalities) < 2):
            raise ValueError(f"cross_attention needs two modalities, and a width ({self.width}) that its {self.heads} heads divide")
        return self
