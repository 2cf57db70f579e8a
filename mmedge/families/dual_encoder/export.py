"""Checkpoint -> two encoders, and what the session needs to answer questions about ImageNet's classes in any words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmedge.documents import read_plain
from mmedge.errors import MmedgeError
from mmedge.families.dual_encoder import JOINED_FILES, RECOGNISES, Config, Options, takes
from mmedge.families.dual_encoder.cases import joined_cases, own_cases, tower_cases
from mmedge.families.dual_encoder.checkpoint import MODELS, load_bert, read_image, read_sound, read_words, text_settings
from mmedge.families.dual_encoder.encoding import TextEncoder, npy
from mmedge.families.dual_encoder.nouns import CLASSES, class_names, phrases, things
from mmedge.family import Allow, Exported, Media, TorchGraph
from mmedge.nets.checkpoint import load
from mmedge.nets.efficientnet_lite import SIDE, load_efficientnet_lite0
from mmedge.nets.embedders import AudioTower, ImageTower, PatchTower, SentenceEncoder, TextTower
from mmedge.nets.encoders import INPUTS
from mmedge.nets.multimodal import PAIR, DualEncoder
from mmedge.nets.multimodal_checkpoint import load_checkpoint, tokenizer_of
from mmedge.processors.audio import sound_at
from mmedge.processors.clap_mel import ClapMel, ClapSettings
from mmedge.processors.patches import PatchProcessor, PatchSettings
from mmedge.processors.pixels import ImageProcessor, ImageSettings

EFFICIENTNET = ImageSettings(resize=(SIDE, SIDE), scale=1 / 255, mean=(127 / 255,) * 3, std=(128 / 255,) * 3)
"""As it was trained, but for the shape: the whole picture is squeezed into the square, so that nothing at its sides is lost."""

SENTENCE_TOKENS = 128
"""What MiniLM-L6 was trained on."""

JOINED_SCALE = 20.0
"""Cosines between sentences lie close together; 1/20 tells them apart (loose, not fitted)."""

YES, NO = 0.6, 0.008
"""Found by ``bench/questions.py --tune`` for the shipped joined model, whose probabilities needed no temperature. CLIP and SigLIP take them unmeasured."""

TEXTS, PICTURES, SOUNDS = ("text_1", "text_2", "text_3"), ("cat", "coffee"), ("question", "remark")
PROMPT = "a photo of a {}"


def export(folder: Path, options: Options, media: Media, allow: Allow = Allow()) -> Exported:
    """``text_encoder``, and ``image_encoder`` or ``audio_encoder``; see the package for their tensors.

    Raises:
        MmedgeError: the folder is no such checkpoint, or it is damaged.
    """
    joined = takes(folder)
    if not joined and not (folder / "config.json").is_file():
        raise MmedgeError(f"{folder} holds neither a config.json nor all of {', '.join(JOINED_FILES)}", "give a CLIP or SigLIP folder of transformers")
    torch.manual_seed(0)
    return _joined(folder, media) if joined else _towers(folder, media, allow)


def _joined(folder: Path, media: Media) -> Exported:
    labels = read_plain(folder / "labels.json", list)
    if len(labels) != CLASSES or not all(isinstance(label, str) for label in labels):
        raise MmedgeError(f"{folder / 'labels.json'} holds {len(labels)} names instead of {CLASSES}", "give the names of ImageNet-1k's classes, in their order")
    image, text = load_efficientnet_lite0(folder / "efficientnet_lite0.pth"), SentenceEncoder(load_bert(folder))
    content = (folder / "tokenizer.json").read_bytes()
    config = Config(
        kind="joined",
        image=EFFICIENTNET,
        text=text_settings(content, "[PAD]", min(SENTENCE_TOKENS, text.bert.config.max_position_embeddings), fixed=False),
        text_inputs=("input_ids", "attention_mask"),
        scale=JOINED_SCALE,
        bias=0.0,
        yes=YES,
        no=NO,
    )
    encoder, names = TextEncoder(config, text, content), class_names(labels)
    words = things(names)
    classes = encoder(phrases(words))
    pixels = [ImageProcessor(EFFICIENTNET)([media[name]]) for name in PICTURES]
    seen, other = ({"pixel_values": torch.from_numpy(one)} for one in pixels)
    texts = [media[name] for name in TEXTS]
    return Exported(
        graphs={
            "image_encoder": TorchGraph(image, seen, ("logits",), other=other),
            "text_encoder": _text_graph(text, encoder.tensors(texts), encoder.tensors([texts[2], texts[1]]), config),
        },
        assets={"tokenizer.json": content, **_recognising(words, classes), "words.npy": npy(encoder(words["bank"]))},
        config=config,
        cases=joined_cases(config, image, encoder, classes, names, dict(zip(PICTURES, pixels)), texts),
    )


def _trained(folder: Path, media: Media, allow: Allow) -> Exported:
    model, content = load_checkpoint(folder, allow), tokenizer_of(folder)
    assert isinstance(model, DualEncoder)
    image, text = (model.towers[name] for name in PAIR)
    config = Config(
        kind="sigmoid" if model.config.similarity == "sigmoid" else "contrastive",
        image=model.config.image.prepared,
        text=model.config.text.prepared,
        text_inputs=INPUTS["text"],
        scale=float(model.logit_scale.detach().exp()),
        bias=0.0 if model.logit_bias is None else float(model.logit_bias.detach()),
        yes=YES,
        no=NO,
    )
    encoder, texts = TextEncoder(config, text, content), [media[name] for name in TEXTS]
    pixels = {name: ImageProcessor(model.config.image.prepared)([media[name]]) for name in PICTURES}
    seen = {name: torch.from_numpy(one) for name, one in pixels.items()}
    with torch.no_grad():
        embeddings = {name: image(one)[0] for name, one in seen.items()}
    first, other = ({"pixel_values": one} for one in seen.values())
    return Exported(
        graphs={
            "image_encoder": TorchGraph(image, first, ("image_embedding",), other=other),
            "text_encoder": _text_graph(text, encoder.tensors(texts), encoder.tensors([texts[2], texts[1]]), config),
        },
        assets={"tokenizer.json": content},
        config=config,
        cases=own_cases(config, encoder, embeddings, pixels, texts),
    )


def _towers(folder: Path, media: Media, allow: Allow) -> Exported:
    told = read_plain(folder / "config.json")
    if told.get("architectures") == ["MmedgeDualEncoder"]:
        return _trained(folder, media, allow)
    kind = told.get("model_type")
    if kind not in MODELS:
        raise MmedgeError(f"{folder} is a {kind} model", f"this family takes {' and '.join(MODELS)}")
    model = load(MODELS[kind], folder, allow)
    hears = kind == "clap"
    settings, told = read_sound(folder, model) if hears else read_image(folder, model)
    words = read_words(folder, kind, _positions(model.config.text_config))
    config = Config(
        kind=kind,
        image=settings if told and not isinstance(settings, ClapSettings) else None,
        sound=settings if told and isinstance(settings, ClapSettings) else None,
        text=None if words is None else words[1],
        text_inputs=("input_ids",) if kind.startswith("siglip") else ("input_ids", "attention_mask"),
        scale=float((model.logit_scale_a if hears else model.logit_scale).detach().exp()),
        bias=float(model.logit_bias.detach()) if kind.startswith("siglip") else 0.0,
        yes=YES,
        no=NO,
    )
    text, assets = TextTower(model), {}
    texts = [media[name] for name in TEXTS]
    if words is None:
        tokens, other = _made_up(model.config.text_config, config, 3, 9), _made_up(model.config.text_config, config, 2, 6)
    else:
        encoder = TextEncoder(config, text, words[0])
        tokens, other = encoder.tensors(texts), encoder.tensors([texts[2], texts[1]])
        names = class_names(None)
        assets = {"tokenizer.json": words[0], **(_recognising(things(names), encoder([PROMPT.format(name) for name in names])) if kind in RECOGNISES else {})}
    feeds = _heard(settings, media) if isinstance(settings, ClapSettings) else _seen(settings, media)
    module = AudioTower(model) if hears else PatchTower(model) if kind == "siglip2" else ImageTower(model)
    first = {name: feed[:1] for name, feed in feeds.items()}
    return Exported(
        graphs={
            f"{'audio' if hears else 'image'}_encoder": TorchGraph(
                module, feeds, ("audio_embedding" if hears else "image_embedding",), {name: {0: "batch"} for name in feeds}, first
            ),
            "text_encoder": _text_graph(text, tokens, other, config),
        },
        assets=assets,
        config=config,
        cases=tower_cases(config, model, folder, media, tokens, feeds),
    )


def _text_graph(module: torch.nn.Module, tokens: dict[str, Tensor], other: dict[str, Tensor], config: Config) -> TorchGraph:
    fixed = config.text.fixed if config.text is not None else config.kind.startswith("siglip")
    axes = {0: "batch"} if fixed else {0: "batch", 1: "tokens"}
    return TorchGraph(module, tokens, ("text_embedding",), dict.fromkeys(tokens, axes), other)


def _recognising(words: dict[str, Any], classes: Any) -> dict[str, bytes | Path]:
    return {"things.json": json.dumps(words, separators=(",", ":")).encode(), "classes.npy": npy(classes)}


def _seen(settings: ImageSettings | PatchSettings, media: Media) -> dict[str, Tensor]:
    pictures = [media[name] for name in PICTURES]
    if isinstance(settings, PatchSettings):
        return {name: torch.from_numpy(array) for name, array in PatchProcessor(settings)(pictures).items()}
    return {"pixel_values": torch.from_numpy(ImageProcessor(settings)(pictures))}


def _heard(settings: ClapSettings, media: Media) -> dict[str, Tensor]:
    """Both golden sounds; where pieces are fused, they do not count for the second, so that both ways are held against the module."""
    made = [ClapMel(settings)(sound_at(media[name], settings.rate_hz)) for name in SOUNDS]
    both: dict[str, Tensor] = {name: torch.from_numpy(np.concatenate([one[name] for one in made])) for name in made[0]}
    if "is_longer" in both:
        both["is_longer"][1] = False
    return both


def _positions(text: Any) -> int:
    """How many tokens the text encoder takes. RoBERTa's positions begin behind the padding token's."""
    return int(text.max_position_embeddings) - (int(text.pad_token_id) + 1 if text.model_type == "clap_text_model" else 0)


def _made_up(text: Any, config: Config, batch: int, length: int) -> dict[str, Tensor]:
    """Golden tokens for a checkpoint without its tokenizer: spread over the vocabulary, the last one the end token that CLIP looks for, some filling."""
    length = _positions(text) if config.kind.startswith("siglip") else min(length, _positions(text))
    ids = 3 + (torch.arange(batch * length).reshape(batch, length) * 7919) % (int(text.vocab_size) - 3)
    end = text.eos_token_id if isinstance(text.eos_token_id, int) and 0 <= text.eos_token_id < text.vocab_size else int(text.vocab_size) - 1
    ids[:, -1] = end
    mask = torch.ones_like(ids)
    if config.kind in ("chinese_clip", "clap"):
        ids[-1, -2:], mask[-1, -2:] = text.pad_token_id, 0
    return {name: array for name, array in (("input_ids", ids), ("attention_mask", mask)) if name in config.text_inputs}
