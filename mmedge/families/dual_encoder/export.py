"""Checkpoint -> two encoders, and what the session needs to answer questions about ImageNet's classes in any words."""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from mmedge.errors import MmedgeError
from mmedge.families.dual_encoder import JOINED_FILES, Config, Options, takes
from mmedge.families.dual_encoder.checkpoint import MODELS, load_bert, load_tokenizer, load_towers, read_json, text_settings
from mmedge.families.dual_encoder.nouns import CLASSES, class_names, phrases, things
from mmedge.families.dual_encoder.session import CONSE_CLASSES
from mmedge.family import Allow, Case, Exported, Media, TorchGraph
from mmedge.nets.efficientnet_lite import SIDE, load_efficientnet_lite0
from mmedge.nets.embedders import ImageTower, SentenceEncoder, TextTower
from mmedge.processors.pixels import ImageProcessor, ImageSettings
from mmedge.processors.text import TextProcessor
from mmedge.tensors import Array

EFFICIENTNET = ImageSettings(resize=(SIDE, SIDE), scale=1 / 255, mean=(127 / 255,) * 3, std=(128 / 255,) * 3)
"""As it was trained, but for the shape: the whole picture is squeezed into the square, so that nothing at its sides is lost."""

SENTENCE_TOKENS = 128
"""What MiniLM-L6 was trained on."""

JOINED_SCALE = 20.0
"""Cosines between sentences lie close together; 1/20 tells them apart (loose, not fitted)."""

YES, NO = 0.6, 0.008
"""Found by ``bench/questions.py --tune`` for the shipped joined model, whose probabilities needed no temperature. CLIP and SigLIP take them unmeasured."""

BATCH = 100
CAPTIONS = ["text_1", "text_2", "text_3"]


def export(folder: Path, options: Options, media: Media, allow: Allow = Allow()) -> Exported:
    """``image_encoder`` and ``text_encoder``; see the package for their tensors.

    Raises:
        MmedgeError: the folder is no such checkpoint, or it is damaged.
    """
    joined = takes(folder)
    if not joined and not (folder / "config.json").is_file():
        raise MmedgeError(f"{folder} holds neither a config.json nor all of {', '.join(JOINED_FILES)}", "give a CLIP or SigLIP folder of transformers")
    torch.manual_seed(0)
    return _joined(folder, media) if joined else _towers(folder, media)


def _joined(folder: Path, media: Media) -> Exported:
    labels = read_json(folder / "labels.json", list)
    if len(labels) != CLASSES or not all(isinstance(label, str) for label in labels):
        raise MmedgeError(f"{folder / 'labels.json'} holds {len(labels)} names instead of {CLASSES}", "give the names of ImageNet-1k's classes, in their order")
    image, text = load_efficientnet_lite0(folder / "efficientnet_lite0.pth"), SentenceEncoder(load_bert(folder))
    tokenizer = (folder / "tokenizer.json").read_bytes()
    config = Config(
        kind="joined",
        image=EFFICIENTNET,
        text=text_settings(tokenizer, "[PAD]", min(SENTENCE_TOKENS, text.bert.config.max_position_embeddings), fixed=False),
        text_inputs=("input_ids", "attention_mask"),
        scale=JOINED_SCALE,
        bias=0.0,
        yes=YES,
        no=NO,
    )
    return _exported(config, image, text, "logits", tokenizer, class_names(labels), None, media)


def _towers(folder: Path, media: Media) -> Exported:
    kind = read_json(folder / "config.json", dict).get("model_type")
    if kind not in MODELS:
        raise MmedgeError(f"{folder} is a {kind} model", f"this family takes {' and '.join(MODELS)}")
    model = load_towers(folder, kind)
    tokenizer, text = load_tokenizer(folder, kind, model.config.text_config.max_position_embeddings)
    preprocessor = folder / "preprocessor_config.json"
    config = Config(
        kind=kind,
        image=ImageSettings.from_preprocessor(read_json(preprocessor, dict) if preprocessor.is_file() else {"image_processor_type": kind}),
        text=text,
        text_inputs=("input_ids", "attention_mask") if kind == "clip" else ("input_ids",),
        scale=float(model.logit_scale.detach().exp()),
        bias=float(model.logit_bias.detach()) if kind == "siglip" else 0.0,
        yes=YES,
        no=NO,
    )
    return _exported(config, ImageTower(model), TextTower(model), "image_embedding", tokenizer, class_names(None), "a photo of a {}", media)


def _exported(
    config: Config, image: nn.Module, text: nn.Module, output: str, tokenizer: bytes, labels: list[str], prompt: str | None, media: Media
) -> Exported:
    words = things(labels)
    encoder = _TextEncoder(config, text, tokenizer)
    classes = encoder(phrases(words) if prompt is None else [prompt.format(label) for label in labels])
    assets: dict[str, bytes | Path] = {
        "tokenizer.json": tokenizer,
        "things.json": json.dumps(words, separators=(",", ":")).encode(),
        "classes.npy": _npy(classes),
    }
    if config.kind == "joined":
        assets["words.npy"] = _npy(encoder(words["bank"]))
    pixels = {name: ImageProcessor(config.image)([media[name]]) for name in ("cat", "coffee")}
    tokens = encoder.tokens([media[name] for name in CAPTIONS])
    dynamic, both = output == "image_embedding", np.concatenate([pixels["cat"], pixels["coffee"]])
    text_axes = {0: "batch"} if config.text.fixed else {0: "batch", 1: "tokens"}
    return Exported(
        graphs={
            "image_encoder": TorchGraph(
                image,
                _tensors({"pixel_values": both if dynamic else pixels["cat"]}),  # torch takes a batch of 1 for a constant
                (output,),
                {"pixel_values": {0: "batch"}} if dynamic else {},
                _tensors({"pixel_values": pixels["coffee"]}),
            ),
            "text_encoder": TorchGraph(
                text,
                _tensors(tokens),
                ("text_embedding",),
                dict.fromkeys(tokens, text_axes),
                _tensors(encoder.tokens([media["text_3"], media["text_2"]])),
            ),
        },
        assets=assets,
        config=config,
        cases=_cases(config, image, encoder, classes, labels, pixels, media),
    )


class _TextEncoder:
    """The torch module with its tokenizer: what the session does, without a runner."""

    def __init__(self, config: Config, module: nn.Module, tokenizer: bytes) -> None:
        self._config, self._module = config, module
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch) / "tokenizer.json"
            path.write_bytes(tokenizer)
            self._processor = TextProcessor(path, config.text)

    def tokens(self, texts: list[str]) -> dict[str, Array]:
        arrays = self._processor(texts)
        return {name: arrays[name] for name in self._config.text_inputs}

    def __call__(self, texts: list[str]) -> Array:
        """float32 [B, D]; texts of like length go together."""
        order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
        rows: list[Any] = [None] * len(texts)
        with torch.inference_mode():
            for begin in range(0, len(order), BATCH):
                chosen = order[begin : begin + BATCH]
                for index, row in zip(chosen, self._module(**_tensors(self.tokens([texts[at] for at in chosen]))).numpy()):
                    rows[index] = row
        return np.stack(rows)


def _tensors(arrays: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def _npy(array: Array) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.ascontiguousarray(array, np.float32), allow_pickle=False)
    return buffer.getvalue()


def _cases(config: Config, image: nn.Module, encoder: _TextEncoder, classes: Array, labels: list[str], pixels: Mapping[str, Array], media: Media) -> list[Case]:
    """Golden data of the processor and of the verbs, worked out with the torch modules."""
    source = f"torch {metadata.version('torch')}, transformers {metadata.version('transformers')}"
    texts = [media[name] for name in CAPTIONS]
    embedded = encoder(texts)
    cases = [
        Case("processor", "pixels", {"image": "@cat"}, pixels["cat"], source=f"Pillow {metadata.version('Pillow')}", atol=1e-5),
        Case("processor", "tokens", {"text": texts}, encoder._processor(texts), source=f"tokenizers {metadata.version('tokenizers')}", atol=0),
        Case("verb", "embed_text", {"text": texts}, embedded, source=source),
    ]
    for name in ("cat", "coffee"):
        with torch.inference_mode():
            output = image(torch.from_numpy(pixels[name]))[0]
            if config.kind == "joined":
                chances, best = output.softmax(-1).topk(CONSE_CLASSES)
                embedding = nn.functional.normalize(chances @ torch.from_numpy(classes)[best], dim=-1)
                cases.append(Case("verb", "recognise", {"image": f"@{name}", "top": 1}, [[labels[int(best[0])], float(chances[0])]], source=source, atol=1e-3))
            else:
                embedding = output
            scores = config.scale * (torch.from_numpy(embedded) @ embedding) + config.bias
            likely = scores.sigmoid() if config.kind == "siglip" else scores.softmax(-1)
        order = likely.argsort(descending=True, stable=True)
        cases.append(Case("verb", "embed_image", {"image": f"@{name}"}, embedding.numpy(), source=source))
        cases.append(
            Case("verb", "classify", {"image": f"@{name}", "labels": texts}, [[texts[int(at)], float(likely[at])] for at in order], source=source, atol=1e-3)
        )
    return cases
