"""Checkpoint -> the graphs that answer questions about pictures; see the package for their tensors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from mmedge.errors import MmedgeError
from mmedge.families.vqa import ARCHITECTURES, Config, Options, Writer
from mmedge.families.vqa.cases import golden_cases
from mmedge.family import Allow, Exported, Media, TorchGraph
from mmedge.nets.blip_vqa import QuestionEncoder, image_encoder
from mmedge.nets.cache import names
from mmedge.nets.checkpoint import architecture_in, load, tokenizer
from mmedge.nets.cross_decoder import BertDecoder
from mmedge.nets.decoder import decoder_graph
from mmedge.nets.preprocessor import image_processor
from mmedge.nets.vilt import ViltAnswers
from mmedge.processors.pixels import ImageProcessor, ImageSettings
from mmedge.processors.shortest_edge import VILT, ShortestEdgeProcessor, ShortestEdgeSettings
from mmedge.processors.text import TextSettings

PICTURES = ("cat", "coffee")


def export(folder: Path, options: Options, media: Media, allow: Allow = Allow()) -> Exported:
    """``image_encoder``, ``question_encoder`` and ``decoder``, or ``classifier``.

    Raises:
        MmedgeError: not such a model, damaged, or its image processor makes pictures that it does not take.
    """
    architecture = architecture_in(folder, ARCHITECTURES, "does not answer questions about pictures")
    model, words, processor = load(architecture, folder, allow), tokenizer(folder), image_processor(folder)
    pictures = [media[name] for name in PICTURES]
    if architecture.startswith("Vilt"):
        model.config.max_image_length = -1  # a positive one makes transformers drop patches at random
        shaped = ShortestEdgeSettings.from_preprocessor(processor) if processor else None
        config = Config(architecture=architecture, image=shaped, text=_text(words, model.config), writer=None)
        made = {name: torch.from_numpy(value) for name, value in ShortestEdgeProcessor(shaped or _by_rule(model.config))(pictures).items()}
        graphs = {"classifier": _classifier(model, made)}
    else:
        text = model.config.text_config
        # As BlipForQuestionAnswering.generate begins and stops; it does not look at generation_config.json.
        writer = Writer(start=(text.bos_token_id,), stop=(text.sep_token_id,), context=min(options.context, text.max_position_embeddings))
        size = (model.config.vision_config.image_size,) * 2
        squared = ImageSettings.from_preprocessor(processor) if processor else None
        config = Config(architecture=architecture, image=squared, text=_text(words, text), writer=writer)
        pixels = torch.from_numpy(ImageProcessor(squared or ImageSettings(resize=size, mean=(0.5,) * 3, std=(0.5,) * 3))(pictures))
        if tuple(pixels.shape[2:]) != size:
            raise MmedgeError(
                f"the image processor makes pictures of {pixels.shape[3]} x {pixels.shape[2]}, the model takes {size[1]} x {size[0]}",
                "get the preprocessor_config.json that was saved with the model",
            )
        graphs = _blip(model, writer, pixels)
    assets: dict[str, bytes | Path] = {} if words is None else {"tokenizer.json": words}
    if config.writer is None:
        labels = model.config.id2label
        assets["labels.json"] = json.dumps([labels[index] for index in sorted(labels)], ensure_ascii=False).encode()
    return Exported(graphs=dict(graphs), assets=assets, config=config, cases=golden_cases(model, config, folder, words, processor, media))


def _text(words: bytes | None, text: Any) -> TextSettings | None:
    """As long as the model has positions for, filled with its padding token."""
    if words is None:
        return None
    pad = text.pad_token_id or 0
    return TextSettings(length=text.max_position_embeddings, pad_id=pad, pad_token=Tokenizer.from_buffer(words).id_to_token(pad) or "[PAD]")


def _by_rule(config: Any) -> ShortestEdgeSettings:
    return ShortestEdgeSettings.from_preprocessor({**VILT, "size": {"shortest_edge": config.image_size}, "size_divisor": config.patch_size})


def _questions(vocabulary: int, lengths: tuple[int, ...]) -> dict[str, Tensor]:
    """Made-up questions of these lengths, the shorter ones filled up."""
    ids, mask = np.zeros((len(lengths), max(lengths)), np.int64), np.zeros((len(lengths), max(lengths)), np.int64)
    for row, length in enumerate(lengths):
        ids[row, :length], mask[row, :length] = (7 * np.arange(length) + 3 * row + 5) % vocabulary, 1
    return {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask)}


def _classifier(model: Any, made: Mapping[str, Tensor]) -> TorchGraph:
    """Examples: two pictures of unequal shapes with two questions of unequal lengths, and one picture alone, cut smaller."""
    rows, columns = (max(model.config.patch_size, side // 2 // model.config.patch_size * model.config.patch_size) for side in made["pixel_values"].shape[2:])
    cut = {"pixel_values": made["pixel_values"][:1, :, :rows, :columns].contiguous(), "pixel_mask": made["pixel_mask"][:1, :rows, :columns].contiguous()}
    sizes = {1: "height", 2: "width"}
    return TorchGraph(
        ViltAnswers(model),
        inputs={**_questions(model.config.vocab_size, (9, 6)), **made},
        outputs=("logits",),
        dynamic={
            "input_ids": {0: "batch", 1: "tokens"},
            "attention_mask": {0: "batch", 1: "tokens"},
            "pixel_values": {0: "batch", 2: "height", 3: "width"},
            "pixel_mask": {0: "batch", **sizes},
        },
        other={**_questions(model.config.vocab_size, (4,)), **cut},
    )


def _blip(model: Any, writer: Writer, pixels: Tensor) -> dict[str, TorchGraph]:
    text = model.config.text_config
    layers, heads = text.num_hidden_layers, text.num_attention_heads
    eye, ear = image_encoder(model).eval(), QuestionEncoder(model).eval()
    image, cross = names("image", layers), names("cross", layers)
    two, one = _questions(text.vocab_size, (9, 6)), _questions(text.vocab_size, (5,))
    with torch.no_grad():
        seen = [dict(zip(image, eye(pixels[index : index + 1]))) for index in range(len(pixels))]
        heard = [dict(zip(cross, ear(*one.values(), *seen[1].values()))), dict(zip(cross, ear(*(value[:1] for value in two.values()), *seen[0].values())))]
    made = [writer.start[0], *((7 * index + 5) % text.vocab_size for index in range(4))]
    words = {"input_ids": {0: "batch", 1: "tokens"}, "attention_mask": {0: "batch", 1: "tokens"}}
    return {
        "image_encoder": TorchGraph(
            eye, inputs={"pixel_values": pixels}, outputs=tuple(image), dynamic={"pixel_values": {0: "batch"}}, other={"pixel_values": pixels[:1]}
        ),
        "question_encoder": TorchGraph(ear, inputs={**two, **seen[0]}, outputs=tuple(cross), dynamic=dict(words), other={**one, **seen[1]}),
        "decoder": decoder_graph(
            BertDecoder(model.text_decoder),
            prompt={"input_ids": torch.tensor([made[:3]]), **heard[0]},
            step={"input_ids": torch.tensor([made[3:]]), **heard[1]},
            dynamic={"input_ids": {1: "tokens"}, **{name: {2: "asked"} for name in cross}},
            layers=layers,
            heads=heads,
            head_dim=text.hidden_size // heads,
            context=writer.context,
        ),
    }
