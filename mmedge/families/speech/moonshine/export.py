"""Moonshine -> an encoder that ends in the decoder's cross-attention, and one decoder for prompt and steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers

from mmedge.errors import MmedgeError
from mmedge.families.speech import Config, MoonshineConfig, Options
from mmedge.families.speech.moonshine.session import LONGEST_S, most_tokens
from mmedge.families.speech.parts import examples, feature_cases, read_sound, read_words, sounds, their_values
from mmedge.family import Allow, Case, Exported, Media, TorchGraph
from mmedge.generate.decode import loops, until_loop
from mmedge.nets.cache import names
from mmedge.nets.checkpoint import load
from mmedge.nets.decoder import decoder_graph
from mmedge.nets.listening import axes, excerpt
from mmedge.nets.moonshine import Body, Encoder
from mmedge.nets.wav2vec2 import least_samples
from mmedge.processors.audio import Samples

TOKENS = 20
LEAST = least_samples([127, 7, 3], [64, 3, 2])
"""Moonshine's convolutions are the architecture's, not the configuration's."""


def export_moonshine(architecture: str, folder: Path, options: Options, media: Media, allow: Allow) -> Exported:
    """Raises MmedgeError: not a Moonshine checkpoint, incomplete or damaged."""
    model = load(architecture, folder, allow)
    content, words = read_words(folder)
    config = read_config(folder, model, options, tokenizer=content is not None)
    encoder = Encoder(model).eval()
    return Exported(
        graphs=_graphs(model, encoder, config, media),
        assets={"tokenizer.json": content} if content is not None else {},
        config=Config(config),
        cases=_cases(model, config, words, media),
    )


def read_config(folder: Path, model: Any, options: Options, *, tokenizer: bool) -> MoonshineConfig:
    """Raises MmedgeError: the model groups its heads, which transformers' own Moonshine cannot run, or its tokens lie outside the vocabulary."""
    said, generation = model.config, model.generation_config
    heads = {said.encoder_num_attention_heads, said.encoder_num_key_value_heads, said.decoder_num_attention_heads, said.decoder_num_key_value_heads}
    if len(heads) > 1:
        raise MmedgeError(f"{folder} has heads of different numbers: {sorted(heads)}", "transformers' Moonshine needs as many everywhere")
    start = _token(generation.decoder_start_token_id, said.decoder_start_token_id)
    stop = _token(generation.eos_token_id, said.eos_token_id)
    stops = tuple(stop) if isinstance(stop, list) else (stop,)
    if start is None or None in stops or not all(0 <= token < said.vocab_size for token in (start, *stops)):
        raise MmedgeError(f"{folder} starts texts with token {start} and ends them with {stop}", f"name tokens below {said.vocab_size} in its config.json")
    return MoonshineConfig(
        sound=read_sound(folder, LEAST, normalise=False),
        tokenizer=tokenizer,
        start=start,
        stop=stops,
        suppress=tuple(generation.suppress_tokens or ()),
        suppress_first=tuple(generation.begin_suppress_tokens or ()),
        max_tokens=min(said.max_position_embeddings, generation.max_length or said.max_position_embeddings),
        tokens_per_s=options.tokens_per_s,
    )


def _graphs(model: Any, encoder: Encoder, config: MoonshineConfig, media: Media) -> dict[str, Any]:
    both, longer = examples(media, config.sound)
    keys = names("cross", len(encoder.cross))
    with torch.no_grad():
        cross = encoder(longer)
    attention = model.model.decoder.layers[0].self_attn
    return {
        "encoder": TorchGraph(
            encoder,
            inputs={"input_values": both},
            outputs=tuple(keys),
            dynamic={"input_values": {0: "batch", 1: "samples"}},
            other={"input_values": longer},
        ),
        "decoder": decoder_graph(
            Body(model).eval(),
            prompt={"input_ids": torch.tensor([[config.start]]), **dict(zip(keys, cross))},
            step={"input_ids": torch.tensor([[config.stop[0], config.start, config.stop[0]]]), **dict(zip(keys, excerpt(cross)))},
            dynamic={"input_ids": {1: "tokens"}, **axes(len(encoder.cross))},
            layers=len(encoder.cross),
            heads=attention.k_proj.out_features // attention.head_dim,
            head_dim=attention.head_dim,
            context=config.max_tokens,
        ),
    }


def _token(*found: Any) -> Any:
    return next((token for token in found if token is not None), None)


def reference_tokens(model: Any, config: MoonshineConfig, samples: Samples, max_tokens: int) -> list[int]:
    """Greedy tokens of transformers' own processor and ``generate``, without start and stop, up to where our decoder would notice that it goes in circles.

    Args:
        samples: float32 [n] at the model's rate.
        max_tokens: at most so many, the start counted.
    """
    with torch.no_grad():
        found = model.generate(**their_values(samples, config.sound), max_length=max(2, max_tokens), do_sample=False, num_beams=1)
    tokens: list[int] = found[0, 1:].tolist()
    return until_loop(tokens[: next((at for at, token in enumerate(tokens) if token in config.stop), len(tokens))])


def _cases(model: Any, config: MoonshineConfig, words: Any, media: Media) -> list[Case]:
    cases = feature_cases(media, config.sound, LONGEST_S)
    source = f"transformers {transformers.__version__} generate, greedy"
    for sound, samples in sounds(media, config.sound, LONGEST_S):
        tokens = reference_tokens(model, config, samples, min(TOKENS + 1, config.max_tokens))
        cases.append(Case("verb", "tokens", {"sound": sound, "max_tokens": TOKENS}, tokens, source))
        if words and config.sound.told:
            tokens = reference_tokens(model, config, samples, most_tokens(config, len(samples)))
            text = words.decode(tokens, skip_special_tokens=True).strip()
            cases.append(Case("verb", "transcribe", {"sound": sound}, "" if loops(tokens) else text, source))
    return cases
