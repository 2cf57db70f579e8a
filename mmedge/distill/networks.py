"""A recipe's network, with the encoders that its files hold."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer

from mmedge.documents import read_plain
from mmedge.errors import MmedgeError
from mmedge.families.dual_encoder.checkpoint import text_settings
from mmedge.families.dual_encoder.nouns import class_names, phrases, things
from mmedge.nets.checkpoint import tokenizer
from mmedge.nets.efficientnet_lite import LITE, load_efficientnet_lite
from mmedge.nets.encoders import EfficientNetEncoder, pretrained
from mmedge.nets.multimodal import DualEncoder
from mmedge.nets.multimodal_checkpoint import load_checkpoint, tokenizer_of
from mmedge.nets.multimodal_config import DualEncoderConfig, ImageEncoder, TextEncoder
from mmedge.nets.preprocessor import image_processor
from mmedge.processors.pixels import ImageProcessor, ImageSettings
from mmedge.processors.text import TextProcessor, TextSettings
from mmedge.training import DualEncoderNetwork, FusionNetwork, Training

TOKENS = 128
"""The most of a text."""


@dataclass(frozen=True, eq=False)
class Built:
    """A network that is ready to be trained, and what prepares its inputs."""

    model: DualEncoder
    words: bytes
    """tokenizer.json."""
    pixels: ImageProcessor
    tokens: TextProcessor
    classes: tuple[str, ...]
    """How the picture encoder's classes are called, each a short text; empty where nobody asks."""

    @property
    def parameters(self) -> int:
        """Of the whole model."""
        return sum(one.numel() for one in self.model.parameters())

    def anew(self, training: Training) -> Built:
        """The same encoders with new heads, which follow from the seed."""
        asked = network_of(training)
        config = self.model.config.model_copy(update={"dropout": training.dropout, "width": asked.width, "conse": asked.conse})
        torch.manual_seed(training.seed)
        towers: Any = self.model.towers
        made = DualEncoder(config, {"image": towers["image"].encoder, "text": towers["text"].encoder})
        return replace(self, model=made)


def network_of(training: Training) -> DualEncoderNetwork:
    """Of a training that ``mmedge.distill.subject`` gave to dual encoders."""
    assert isinstance(training.network, DualEncoderNetwork)
    return training.network


def build(training: Training, folder: Path) -> Built:
    """Raises MmedgeError: an encoder is not named, damaged or of an unknown kind; ConSE or pseudo-pairs want classes that are not named."""
    asked = network_of(training)
    image, picture = image_encoder(asked, folder)
    text, words, read = text_encoder(asked, folder)
    config = DualEncoderConfig(
        image=ImageEncoder(network=image.config, prepared=picture),
        text=TextEncoder(network=text.config, prepared=read),
        width=asked.width,
        dropout=training.dropout,
        similarity="sigmoid" if any(one.kind == "sigmoid" for one in training.objectives) else "softmax",
        conse=asked.conse,
    )
    model = DualEncoder(config, {"image": image, "text": text})
    classes = _classes(asked, training, folder, getattr(image.config, "classes", 0))
    return Built(model, words, ImageProcessor(picture), TextProcessor(folder / asked.text / "tokenizer.json", read), classes)


def from_checkpoint(folder: Path) -> Built:
    """Of what ``mmedge distill`` wrote before. Raises MmedgeError: it is no dual encoder, or damaged."""
    model, words = load_checkpoint(folder), tokenizer_of(folder)
    if not isinstance(model, DualEncoder):
        raise MmedgeError(f"{folder} is a {type(model).__name__}, and no dual encoder", "name a teacher that is one")
    config = model.config
    return Built(model, words, ImageProcessor(config.image.prepared), TextProcessor(words, config.text.prepared), ())


def image_encoder(asked: DualEncoderNetwork | FusionNetwork, folder: Path) -> tuple[Any, ImageSettings]:
    """The encoder, and what prepares its pictures."""
    path = folder / asked.image
    if named := re.search(r"lite([012])\b.*\.pth$", asked.image):
        number = int(named[1])
        side = LITE[number].side
        # As it was trained, but for the shape: the whole picture is squeezed into the square, so that nothing at its sides is lost.
        prepared = ImageSettings(resize=(side, side), scale=1 / 255, mean=(127 / 255,) * 3, std=(128 / 255,) * 3)
        return EfficientNetEncoder(LITE[number], load_efficientnet_lite(path, number)), prepared
    where = encoder_folder(asked, "image", folder)
    told = image_processor(where)
    if not told:
        raise MmedgeError(f"{asked.image} has no preprocessor_config.json", "add it to the model's files")
    return pretrained(where), ImageSettings.from_preprocessor(told)


def text_encoder(asked: DualEncoderNetwork | FusionNetwork, folder: Path) -> tuple[Any, bytes, TextSettings]:
    """The encoder, its tokenizer.json, and what prepares its texts."""
    where = encoder_folder(asked, "text", folder)
    words = tokenizer(where)
    if words is None:
        raise MmedgeError(f"{asked.text} has no tokenizer.json", "add it to the model's files")
    text = pretrained(where)
    return text, words, text_settings(words, _padding(words, where), _longest(text), fixed=False)


def encoder_folder(asked: DualEncoderNetwork | FusionNetwork, modality: str, folder: Path) -> Path:
    """The folder of transformers that a modality's encoder is in. Raises MmedgeError: there is none."""
    name = getattr(asked, modality)
    if not name:
        raise MmedgeError(f"the recipe names no {modality} encoder", f'add to [models.ROLE.train.network]: {modality} = "FILE or FOLDER/ of the files"')
    if not name.endswith("/") or not (folder / name).is_dir():
        raise MmedgeError(f"the {modality} encoder {name} is no folder of the model's files", f'name one with its slash: {modality} = "{modality}/"')
    return folder / name


def _padding(words: bytes, where: Path) -> str:
    told = read_plain(where / "tokenizer_config.json", required=False).get("pad_token")
    known = [told.get("content") if isinstance(told, dict) else told, "[PAD]", "<pad>"]
    found = Tokenizer.from_buffer(words)
    return next((one for one in known if isinstance(one, str) and found.token_to_id(one) is not None), "[PAD]")


def _longest(text: Any) -> int:
    return min(TOKENS, int(getattr(text.network.config, "max_position_embeddings", TOKENS)))


def _classes(asked: DualEncoderNetwork, training: Training, folder: Path, count: int) -> tuple[str, ...]:
    if not (asked.conse or training.pseudo_pairs):
        return ()
    if not asked.classes:
        raise MmedgeError("conse and pseudo_pairs want the names of the picture encoder's classes", 'add to [models.ROLE.train.network]: classes = "FILE"')
    names = read_plain(folder / asked.classes, list)
    if len(names) != count or not all(isinstance(one, str) for one in names):
        raise MmedgeError(f"{asked.classes} has {len(names)} names, the picture encoder {count} classes", "give the names of its classes, in their order")
    return tuple(phrases(things(class_names(names)))) if count == 1000 else tuple(names)
