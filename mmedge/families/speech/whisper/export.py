"""Whisper -> an encoder that ends in the decoder's cross-attention, and one decoder for prompt and steps."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from mmedge.families.speech import Config, Options
from mmedge.families.speech.whisper.cases import golden_cases
from mmedge.families.speech.whisper.checkpoint import Checkpoint, read_checkpoint
from mmedge.family import Allow, Exported, Media, TorchGraph
from mmedge.nets.cache import names
from mmedge.nets.decoder import decoder_graph
from mmedge.nets.listening import axes, excerpt
from mmedge.nets.whisper import Body, Encoder
from mmedge.processors.audio import sound_at
from mmedge.processors.log_mel import RATE_HZ, LogMel


def export_whisper(architecture: str, folder: Path, options: Options, media: Media, allow: Allow) -> Exported:
    """Raises MmedgeError: not a Whisper checkpoint, incomplete, damaged, or it does not know the language."""
    checkpoint = read_checkpoint(folder, options, allow)
    encoder = Encoder(checkpoint.model).eval()
    graph = _encoder_graph(checkpoint, encoder, media)
    return Exported(
        graphs={"encoder": graph, "decoder": _decoder_graph(checkpoint, encoder, graph.inputs["input_features"])},
        assets={"tokenizer.json": checkpoint.tokenizer} if checkpoint.tokenizer is not None else {},
        config=Config(checkpoint.config),
        cases=golden_cases(checkpoint, media),
    )


def _encoder_graph(checkpoint: Checkpoint, encoder: Encoder, media: Media) -> TorchGraph:
    """One sound at a time: its frames are the only dynamic axis. Examples in the smallest window and in the largest, or half of the only one."""
    config = checkpoint.config
    other_s = config.windows_s[-1] if len(config.windows_s) > 1 else config.windows_s[0] / 2
    features = [
        torch.from_numpy(LogMel(config.mels)(sound_at(media[name], RATE_HZ), window_s))
        for name, window_s in (("question", config.windows_s[0]), ("remark", other_s))
    ]
    return TorchGraph(
        encoder,
        inputs={"input_features": features[0]},
        outputs=tuple(names("cross", len(encoder.cross))),
        dynamic={"input_features": {2: "frames"}},
        other={"input_features": features[1]},
    )


def _decoder_graph(checkpoint: Checkpoint, encoder: Encoder, features: Tensor) -> TorchGraph:
    config, layers = checkpoint.config, len(encoder.cross)
    body = Body(checkpoint.model).eval()
    with torch.no_grad():
        cross = encoder(features)
    keys = names("cross", layers)
    attention = checkpoint.model.model.decoder.layers[0].self_attn
    return decoder_graph(
        body,
        prompt={"input_ids": torch.tensor([config.prompt]), **dict(zip(keys, cross))},
        step={"input_ids": torch.tensor([[config.stop, config.prompt[0]]]), **dict(zip(keys, excerpt(cross)))},
        dynamic={"input_ids": {1: "tokens"}, **axes(layers)},
        layers=layers,
        heads=attention.num_heads,
        head_dim=attention.head_dim,
        context=config.max_tokens,
    )
