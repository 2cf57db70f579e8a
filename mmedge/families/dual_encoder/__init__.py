"""Pictures or sounds, and words, in one space: CLIP, Chinese-CLIP, SigLIP, SigLIP 2, CLAP, what mmedge itself trains, and a joined image classifier and
sentence encoder.

Graphs of transformers' checkpoints; every embedding comes out with length 1, as those models' own ``forward`` compares them:
``text_encoder``: input_ids (and attention_mask, but for SigLIP) int64 [batch, tokens] -> text_embedding float32 [batch, D];
``image_encoder``: pixel_values float32 [batch, 3, H, W] -> image_embedding float32 [batch, D]. For SigLIP 2 with pictures of any shape (Siglip2Model):
pixel_values float32 [batch, patches, values], pixel_attention_mask int64 [batch, patches], spatial_shapes int64 [batch, 2];
``audio_encoder``, of CLAP: input_features float32 [batch, 1 or 4, frames, mels] (and is_longer bool [batch, 1] with feature fusion)
-> audio_embedding float32 [batch, D].

Graphs of ``mmedge.nets.multimodal.DualEncoder``, trained with CLIP's loss (``contrastive``) or SigLIP's (``sigmoid``): the same two; pictures one at a time.

Graphs of ``joined``, which needs no joint training:
``image_encoder``: pixel_values float32 [1, 3, 224, 224] -> logits float32 [1, 1000] over ImageNet-1k's classes, static;
``text_encoder`` as above, with a sentence encoder.
A picture's embedding is the mean of its ten likeliest classes' names in the space of sentences, weighted by their probabilities (ConSE, Norouzi et al. 2013).
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from mmedge.documents import Document
from mmedge.processors.clap_mel import ClapSettings
from mmedge.processors.patches import PatchSettings
from mmedge.processors.pixels import ImageSettings
from mmedge.processors.text import TextSettings

ARCHITECTURES: tuple[str, ...] = ("CLIPModel", "ChineseCLIPModel", "SiglipModel", "Siglip2Model", "ClapModel", "MmedgeDualEncoder")
PREFER: dict[str, tuple[str, ...]] = {}
CALLS = ("pixels", "patches", "log_mel", "tokens", "embed_image", "embed_audio", "embed_text", "classify", "rank", "recognise")

JOINED_FILES = ("efficientnet_lite0.pth", "sentence_encoder.safetensors", "sentence_encoder.json", "tokenizer.json", "labels.json")
"""A joined checkpoint: the state dict of EfficientNet-Lite0; weights, config and tokenizer of a BERT-like sentence encoder; the classes' names."""

Kind = Literal["clip", "chinese_clip", "siglip", "siglip2", "clap", "contrastive", "sigmoid", "joined"]
LABELS = 64
"""So many labels, or other texts, may be embedded in one run by an engine that must know their number."""
SIGMOID: tuple[Kind, ...] = ("siglip", "siglip2", "sigmoid")
"""Those that judge each label by itself; with the others labels compete."""
RECOGNISES: tuple[Kind, ...] = ("clip", "siglip", "siglip2", "joined")
"""Those that are asked about ImageNet's classes in English words. Chinese-CLIP hardly knows those, CLAP does not see, and what mmedge trains may
know other words."""


class Options(Document):
    """Nothing is left to choose: the checkpoint says it all."""


class Config(Document):
    """What the session must know."""

    kind: Kind
    image: ImageSettings | PatchSettings | None = None
    """None where the model does not see, or its checkpoint had no image processor."""
    sound: ClapSettings | None = None
    """None where the model does not hear, or its checkpoint had no feature extractor."""
    text: TextSettings | None
    """None where the checkpoint had no tokenizer."""
    text_inputs: tuple[str, ...]
    """Which of the tokenizer's arrays ``text_encoder`` takes."""
    scale: float
    """Cosines are multiplied by it before they become probabilities (the learned ``exp(logit_scale)``)."""
    bias: float
    """And this is added (SigLIP)."""
    yes: float
    """From this chance on, a thing is said to be in the picture."""
    no: float
    """Below this chance, it is said not to be recognised; between the two, nothing can be said."""

    @property
    def recognises(self) -> bool:
        """Whether it comes with ImageNet's classes: their names were embedded when it was exported."""
        return self.kind in RECOGNISES and self.text is not None


def graphs(config: Config) -> tuple[str, ...]:
    return ("audio_encoder" if config.kind == "clap" else "image_encoder", "text_encoder")


def assets(config: Config) -> tuple[str, ...]:
    words = ("tokenizer.json",) if config.text is not None else ()
    own = (*words, "things.json", "classes.npy") if config.recognises else words
    return (*own, "words.npy") if config.kind == "joined" else own


def verbs(config: Config) -> tuple[str, ...]:
    """CLAP hears, the others see; some know ImageNet's classes."""
    others = ("pixels", "patches", "embed_image") if config.kind == "clap" else ("log_mel", "embed_audio")
    return tuple(verb for verb in CALLS if verb not in (*others, *(() if config.kind in RECOGNISES else ("recognise",))))


def lacks(config: Config) -> dict[str, tuple[str, ...]]:
    """What the checkpoint came without -> the verbs that there are not for it."""
    hears = config.kind == "clap"
    part, embed = ("feature extractor", "embed_audio") if hears else ("image processor", "embed_image")
    both = ("classify", "rank", *(("recognise",) if config.kind in RECOGNISES else ()))
    return {**({} if config.image or config.sound else {part: (embed, *both)}), **({} if config.text else {"tokenizer": ("embed_text", *both)})}


def ranges(config: Config) -> dict[str, tuple[int, int, int]]:
    """Pictures and sounds are embedded one by one, the labels of a question together."""
    words = {"tokens": (1, min(8, config.text.length), config.text.length)} if config.text and not config.text.fixed else {}
    return {"batch": (1, 1, 2), "text_encoder/batch": (1, 1, LABELS), **words}


def takes(folder: Path) -> bool:
    return all((folder / name).is_file() for name in JOINED_FILES)
