"""Multimodal networks: a dual encoder, and a fusion of image, text and audio. Both can go on from what their encoders gave earlier.

::

    model = DualEncoder(config)                     # or multimodal_checkpoint.load(folder)
    pooled = model.encode("image", feeds).pooled    # [B, D of the encoder]: may be kept while the encoder is frozen
    image = model.embed("image", pooled)

    model = Fusion(config)
    encoded = {"image": model.encode("image", {"pixel_values": pixels}), "text": model.encode("text", tokens)}
    found = model.fuse(encoded, present)            # Fused(logits, joint, alone)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmedge.errors import MmedgeError
from mmedge.nets.encoders import INPUTS, encoder
from mmedge.nets.fusing import Concat, CrossAttention, Deep, Encoded, WeightedSum
from mmedge.nets.multimodal_config import DualEncoderConfig, FusionConfig, Modality

PAIR: tuple[Modality, Modality] = ("image", "text")

CONSE_CLASSES = 10
"""How many classes speak for a picture; Norouzi et al. (2013) found 10 as good as 1000."""

FIRST_SCALE, FIRST_SIGMOID = (math.log(1 / 0.07), None), (math.log(10.0), -10.0)
"""(log of the scale, bias) in the beginning: of CLIP (Radford et al. 2021), and of SigLIP (Zhai et al. 2023)."""


class Tower(nn.Module):
    """An encoder and its way into the common space.

    With ConSE two spaces side by side: the cosine of two embeddings is (trained cosine + conse x cosine of ConSE) / (1 + conse).

    Args:
        conse: the weight; 0: no ConSE.
        sentences: of pictures with ConSE the width of the text encoder, in whose space the classes' names are; 0 of texts, which are there by themselves.
    """

    def __init__(self, modality: Modality, encoder: Any, config: DualEncoderConfig, sentences: int) -> None:
        super().__init__()
        self.names, self.encoder, self.dropout, self.conse = INPUTS[modality], encoder, config.dropout, config.conse
        self.head = nn.Linear(encoder.width, config.width)
        if self.conse and sentences:
            self.classes: Tensor
            self.register_buffer("classes", torch.zeros(encoder.config.classes, sentences))
        self.looks = bool(sentences)

    def forward(self, *feeds: Tensor, **named: Tensor) -> Tensor:
        """The encoder's inputs, in their order or by name -> embeddings [B, D], length 1."""
        return self.embed(self.encoder(**dict(zip(self.names, feeds)), **named).pooled)

    def project(self, pooled: Tensor) -> Tensor:
        """What is trained: [B, D of the encoder] -> [B, width of the config], length 1."""
        return F.normalize(self.head(F.dropout(pooled, self.dropout, self.training)), dim=-1)

    def embed(self, pooled: Tensor) -> Tensor:
        """[B, D of the encoder] -> [B, D], length 1."""
        trained = self.project(pooled)
        if not self.conse:
            return trained
        given = F.normalize(self._convex(pooled) if self.looks else pooled, dim=-1)
        return torch.cat([trained, math.sqrt(self.conse) * given], -1) / math.sqrt(1 + self.conse)

    def _convex(self, pooled: Tensor) -> Tensor:
        """The likeliest classes' names, weighted by their probabilities."""
        chances, best = self.encoder.network._fc(pooled).softmax(-1).topk(CONSE_CLASSES)
        return (chances.unsqueeze(-1) * self.classes[best]).sum(1)


class DualEncoder(nn.Module):
    """Pictures and texts in one space.

    Args:
        encoders: ready ones; those that are not given are made with new weights.

    Raises:
        MmedgeError: an encoder cannot be made, or ConSE is asked for of pictures without a classifier.
    """

    def __init__(self, config: DualEncoderConfig, encoders: Mapping[Modality, Any] | None = None) -> None:
        super().__init__()
        self.config = config
        if config.conse and getattr(config.image.network, "classes", 0) < CONSE_CLASSES:
            raise MmedgeError("ConSE needs an image encoder with a classifier", "use an EfficientNet with its classes, or set conse = 0")
        image, text = ((encoders or {}).get(name) or encoder(getattr(config, name).network) for name in PAIR)
        self.towers = nn.ModuleDict({"image": Tower("image", image, config, text.width), "text": Tower("text", text, config, 0)})
        scale, bias = FIRST_SIGMOID if config.similarity == "sigmoid" else FIRST_SCALE
        self.logit_scale = nn.Parameter(torch.tensor(scale))
        """The natural logarithm of what cosines are multiplied by."""
        self.logit_bias = None if bias is None else nn.Parameter(torch.tensor(bias))
        """Then added; None without sigmoid."""

    def encode(self, modality: Modality, feeds: Mapping[str, Tensor]) -> Encoded:
        """What the encoder makes of a batch. ``feeds``: see ``mmedge.nets.encoders.INPUTS``."""
        found: Encoded = self._tower(modality).encoder(**feeds)
        return found

    def project(self, modality: Modality, pooled: Tensor) -> Tensor:
        """See ``Tower.project``."""
        return self._tower(modality).project(pooled)

    def embed(self, modality: Modality, pooled: Tensor) -> Tensor:
        """See ``Tower.embed``."""
        return self._tower(modality).embed(pooled)

    def forward(self, image: Mapping[str, Tensor], text: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """(image, text) embeddings, [B, D] each."""
        return self._tower("image")(**image), self._tower("text")(**text)

    def set_classes(self, pooled: Tensor) -> None:
        """What ConSE compares with: the names of the image encoder's classes as the text encoder pools them, [classes, D]."""
        self._tower("image").classes.copy_(F.normalize(pooled, dim=-1))

    def _tower(self, modality: Modality) -> Any:
        return self.towers[modality]


@dataclass
class Fused:
    """What a fusion makes of a batch."""

    logits: Tensor
    """[B, labels] of a classifier, [B] of a matcher."""
    joint: Tensor
    """[B, J], what the head reads."""
    alone: dict[Modality, Tensor]
    """[B, labels] by each modality that was given alone, for losses beside the joint one; rows where it is missing say nothing. Empty for a matcher."""


class Joint(nn.Module):
    """A fusion and its head: what was projected, of all modalities -> (logits, joint).

    The head of a matcher also sees the product of both modalities' parts (low-rank bilinear pooling, Kim et al. 2017): side by side alone two vectors know
    of no likeness.
    """

    def __init__(self, config: FusionConfig) -> None:
        super().__init__()
        width, count, self.matches = config.width, len(config.modalities), config.head == "match"
        makers: dict[str, Callable[[], Any]] = {
            "concat": lambda: Concat(count, width),
            "weighted_sum": lambda: WeightedSum(count, width),
            "deep": lambda: Deep(count, width, config.layers, config.dropout),
            "cross_attention": lambda: CrossAttention(count, width, config.layers, config.heads, config.dropout),
        }
        self.fusion = fusion = makers[config.fusion]()
        reads: int = fusion.width
        if self.matches:
            self.head: nn.Module = nn.Sequential(nn.Linear(reads + width, width), nn.GELU(), nn.Dropout(config.dropout), nn.Linear(width, 1))
        else:
            self.head = nn.Sequential(nn.Dropout(config.dropout), nn.Linear(reads, len(config.labels)))

    def forward(self, items: Sequence[Encoded], present: Tensor) -> tuple[Tensor, Tensor]:
        """``present``: bool [B, modalities]."""
        joint, parts = self.fusion(items, present)
        if self.matches:
            return self.head(torch.cat([joint, parts[:, 0] * parts[:, 1]], -1))[:, 0], joint
        return self.head(joint), joint


class Fusion(nn.Module):
    """Encoders, each with a projection to one width, and what joins them.

    Args:
        encoders: ready ones; those that are not given are made with new weights.
    """

    def __init__(self, config: FusionConfig, encoders: Mapping[Modality, Any] | None = None) -> None:
        super().__init__()
        self.config, width = config, config.width
        made: dict[str, Any] = {name: (encoders or {}).get(name) or encoder(getattr(config, name).network) for name in config.modalities}
        self.encoders = nn.ModuleDict(made)
        self.projections = nn.ModuleDict({name: nn.Sequential(nn.Linear(one.width, width), nn.LayerNorm(width)) for name, one in made.items()})
        self.joint = Joint(config)
        if config.head == "classify":
            self.alone = nn.ModuleDict({name: nn.Linear(width, len(config.labels)) for name in config.modalities})

    def encode(self, modality: Modality, feeds: Mapping[str, Tensor]) -> Encoded:
        """What the encoder makes of a batch. ``feeds``: see ``mmedge.nets.encoders.INPUTS``."""
        found: Encoded = self.encoders[modality](**feeds)
        return found

    def project(self, modality: Modality, encoded: Encoded) -> Encoded:
        """To the width of the fusion; only what the fusion reads of it."""
        project = self.projections[modality]
        tokens = project(encoded.tokens) if self.config.fusion == "cross_attention" else encoded.tokens
        return Encoded(project(encoded.pooled), tokens, encoded.mask)

    def fuse(self, encoded: Mapping[Modality, Encoded], present: Tensor | None = None) -> Fused:
        """What the encoders gave -> an answer.

        Args:
            encoded: a modality that is not in it is missing in all of the batch.
            present: bool [B, modalities] in the order of ``config.modalities``; None: whatever was encoded.

        Raises:
            MmedgeError: everything is missing somewhere.
        """
        if not encoded:
            raise MmedgeError("every modality is missing", f"give one of: {', '.join(self.config.modalities)}")
        some = next(iter(encoded.values())).pooled
        there = torch.tensor([name in encoded for name in self.config.modalities], device=some.device).expand(len(some), -1)
        there = there if present is None else there & present
        if not bool(there.any(1).all()):
            raise MmedgeError("every modality of a sample is missing", f"give one of: {', '.join(self.config.modalities)}")
        nothing = some.new_zeros(len(some), 1, self.config.width)
        items = {
            name: self.project(name, encoded[name]) if name in encoded else Encoded(nothing[:, 0], nothing, nothing[:, :, 0]) for name in self.config.modalities
        }
        logits, joint = self.joint(list(items.values()), there)
        alone = {name: self.alone[name](items[name].pooled) for name in encoded} if self.config.head == "classify" else {}
        return Fused(logits, joint, alone)

    def forward(self, feeds: Mapping[Modality, Mapping[str, Tensor]], present: Tensor | None = None) -> Fused:
        """``encode`` and ``fuse``."""
        return self.fuse({name: self.encode(name, one) for name, one in feeds.items()}, present)
