"""Pictures and words in one space: CLIP, SigLIP, and a joined image classifier and sentence encoder.

Graphs of ``clip`` and ``siglip`` (transformers checkpoints):
``image_encoder``: pixel_values float32 [batch, 3, H, W] -> image_embedding float32 [batch, D];
``text_encoder``: input_ids (and, for CLIP, attention_mask) int64 [batch, tokens] -> text_embedding float32 [batch, D].
Both embeddings come out with length 1, as those models' own ``forward`` compares them.

Graphs of ``joined``, which needs no joint training:
``image_encoder``: pixel_values float32 [1, 3, 224, 224] -> logits float32 [1, 1000] over ImageNet-1k's classes, static;
``text_encoder`` as above, with a sentence encoder.
A picture's embedding is the mean of its ten likeliest classes' names in the space of sentences, weighted by their probabilities (ConSE, Norouzi et al. 2013).
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from mmedge.documents import Document
from mmedge.processors.pixels import ImageSettings
from mmedge.processors.text import TextSettings

ARCHITECTURES: tuple[str, ...] = ("CLIPModel", "SiglipModel")
PREFER: dict[str, tuple[str, ...]] = {}
CALLS = ("pixels", "tokens", "embed_image", "embed_text", "classify", "rank", "recognise")

JOINED_FILES = ("efficientnet_lite0.pth", "sentence_encoder.safetensors", "sentence_encoder.json", "tokenizer.json", "labels.json")
"""A joined checkpoint: the state dict of EfficientNet-Lite0; weights, config and tokenizer of a BERT-like sentence encoder; the classes' names."""


class Options(Document):
    """Nothing is left to choose: the checkpoint says it all."""


class Config(Document):
    """What the session must know."""

    kind: Literal["clip", "siglip", "joined"]
    image: ImageSettings
    text: TextSettings
    text_inputs: tuple[str, ...]
    """Which of the tokenizer's arrays ``text_encoder`` takes."""
    scale: float
    """Cosines are multiplied by it before they become probabilities (CLIP's and SigLIP's learned ``exp(logit_scale)``)."""
    bias: float
    """And this is added (SigLIP)."""
    yes: float
    """From this chance on, a thing is said to be in the picture."""
    no: float
    """Below this chance, it is said not to be recognised; between the two, nothing can be said."""


def graphs(config: Config) -> tuple[str, ...]:
    return ("image_encoder", "text_encoder")


def assets(config: Config) -> tuple[str, ...]:
    own = ("tokenizer.json", "things.json", "classes.npy")
    return (*own, "words.npy") if config.kind == "joined" else own


def takes(folder: Path) -> bool:
    return all((folder / name).is_file() for name in JOINED_FILES)
