"""Checkpoint -> an image encoder that ends in the decoder's cross-attention, and one decoder for prompt and steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mmedge.errors import MmedgeError
from mmedge.families.captioner import ARCHITECTURES, Config, Options
from mmedge.families.captioner.cases import golden_cases
from mmedge.family import Allow, Exported, Media, TorchGraph
from mmedge.nets.cache import names
from mmedge.nets.captioners import Parts, take_apart
from mmedge.nets.checkpoint import architecture_in, load, tokenizer
from mmedge.nets.decoder import decoder_graph
from mmedge.nets.preprocessor import image_processor
from mmedge.processors.pixels import ImageProcessor, ImageSettings

PICTURES = ("cat", "coffee")


def export(folder: Path, options: Options, media: Media, allow: Allow = Allow()) -> Exported:
    """``image_encoder`` and ``decoder``; see the package for their tensors.

    Raises:
        MmedgeError: not a captioner, damaged, or its image processor makes pictures of a size that the encoder does not take.
    """
    architecture = architecture_in(folder, ARCHITECTURES, "is no captioner")
    model = load(architecture, folder, allow)
    parts, words, processor = take_apart(model), tokenizer(folder), image_processor(folder)
    config = _config(architecture, model, parts, options, ImageSettings.from_preprocessor(processor) if processor else None, words is not None)
    make = ImageProcessor(config.image or ImageSettings(resize=parts.size, mean=(0.5,) * 3, std=(0.5,) * 3))
    pixels = torch.from_numpy(make([media[name] for name in PICTURES]))
    if tuple(pixels.shape[2:]) != parts.size:
        height, width = parts.size
        raise MmedgeError(
            f"the image processor makes pictures of {pixels.shape[3]} x {pixels.shape[2]}, the model takes {width} x {height}",
            "get the preprocessor_config.json that was saved with the model",
        )
    cross = names("cross", parts.layers)
    return Exported(
        graphs={
            "image_encoder": TorchGraph(
                parts.encoder,
                inputs={"pixel_values": pixels},
                outputs=tuple(cross),
                dynamic={"pixel_values": {0: "batch"}},
                other={"pixel_values": pixels[:1]},
            ),
            "decoder": _decoder(parts, config, dict(zip(cross, _seen(parts, pixels[:1]))), dict(zip(cross, _seen(parts, pixels[1:])))),
        },
        assets={} if words is None else {"tokenizer.json": words},
        config=config,
        cases=golden_cases(model, config, folder, words, processor, media),
    )


def _config(architecture: str, model: Any, parts: Parts, options: Options, image: ImageSettings | None, words: bool) -> Config:
    if parts.start is None:
        raise MmedgeError("the checkpoint names no token that texts begin with", "add decoder_start_token_id or bos_token_id to its generation_config.json")
    # BLIP's generate hands over to its text decoder, whose settings come from the text config.
    settings = model.text_decoder.generation_config if architecture.startswith("Blip") else model.generation_config
    forced = settings.forced_bos_token_id
    return Config(
        architecture=architecture,
        image=image,
        tokenizer=words,
        start=(parts.start,) if forced is None else (parts.start, forced),
        stop=parts.stop,
        suppress=tuple(settings.suppress_tokens or ()),
        suppress_first=tuple(settings.begin_suppress_tokens or ()),
        context=min(options.context, parts.positions),
    )


def _seen(parts: Parts, pixels: Tensor) -> list[Tensor]:
    with torch.no_grad():
        return list(parts.encoder(pixels))


def _decoder(parts: Parts, config: Config, seen: dict[str, Tensor], other: dict[str, Tensor]) -> TorchGraph:
    """Examples: two tokens about one picture after a past of three about it, and those three with nothing before them."""
    made = [config.start[0], *((7 * index + 5) % parts.vocabulary for index in range(4))]
    prompt, step = torch.tensor([made[:3]]), torch.tensor([made[3:]])
    return decoder_graph(
        parts.body,
        prompt={"input_ids": prompt, **other},
        step={"input_ids": step, **seen},
        dynamic={"input_ids": {1: "tokens"}},
        layers=parts.layers,
        heads=parts.heads,
        head_dim=parts.head_dim,
        context=config.context,
    )
