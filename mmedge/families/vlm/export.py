"""A vision-language checkpoint -> four graphs, and what transformers itself makes of the golden pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor, nn

from mmedge.families.vlm import KINDS, Config, Options
from mmedge.families.vlm.checkpoint import read_config
from mmedge.families.vlm.eye import Eye, Ready, eye_for
from mmedge.families.vlm.prompt import Prompter
from mmedge.families.vlm.qwen3_vl import rope_positions
from mmedge.families.vlm.reference import golden_cases
from mmedge.families.vlm.session import Session
from mmedge.family import Allow, Exported, Media, OnnxGraph, TorchGraph
from mmedge.generate.template import read_template
from mmedge.nets.checkpoint import architecture_in, load
from mmedge.nets.checkpoint import tokenizer as read_tokenizer
from mmedge.nets.decoder import decoder_graph, set_attention
from mmedge.nets.language import DeepstackLanguage, Language, TokenEmbedding
from mmedge.nets.light import lighten
from mmedge.nets.qwen_vision import Mergers, PatchEncoder
from mmedge.nets.vision import Connector, LayerEncoder, TileEncoder
from mmedge.processors.image import Picture, load_image
from mmedge.tensors import Array, Feeds

PROMPT = (*range(4), *[-1] * 4, *range(4, 9))
"""The golden prompt of ``language``: text, a picture of 2 x 2 tokens, text. Short, because all that the cache holds of it is stored."""


def export(folder: Path, options: Options, media: Media, allow: Allow = Allow()) -> Exported:
    """See the package for the graphs and their tensors.

    Raises:
        MmedgeError: the folder is no such checkpoint, its files do not belong together, or it is damaged.
    """
    architecture = architecture_in(folder, KINDS, "is no image-text model that answers")
    model = load(architecture, folder, allow, attention="sdpa")  # eager attention over all tiles at once would take gigabytes
    tokenizer, template = read_tokenizer(folder), read_template(folder)
    config = read_config(folder, options, model, KINDS[architecture], tokenizer, template)
    parts = _parts(model, config)
    if config.kind != "qwen3_vl":
        config = config.model_copy(update={"image_tokens": _image_tokens(config, parts, media)})
    prompter = Prompter(template, Tokenizer.from_str(tokenizer.decode()), config.image_token) if template and tokenizer else None
    cases = golden_cases(folder, config, model, media, prompter)
    set_attention(model)
    if config.kind != "qwen3_vl":
        lighten(parts.language.text_model)  # after the reference has spoken
    return Exported(
        graphs=_graphs(config, parts, media, options),
        assets={
            **({"tokenizer.json": tokenizer} if tokenizer is not None else {}),
            **({"chat_template.jinja": template.text.encode()} if template else {}),
        },
        config=config,
        cases=cases,
    )


@dataclass(frozen=True)
class _Parts:
    """What is traced."""

    image_encoder: nn.Module
    connector: nn.Module
    token_embedding: nn.Module
    language: nn.Module
    text: Any
    """The text model's config."""


def _parts(model: Any, config: Config) -> _Parts:
    inner, text = model.model, model.config.text_config
    encoder: nn.Module
    connector: nn.Module
    language: nn.Module
    if config.kind == "qwen3_vl":
        encoder, connector = PatchEncoder(inner.visual), Mergers(inner.visual)
        language = DeepstackLanguage(inner.language_model, model.lm_head, config.deepstack)
    elif config.kind == "llava":
        strategy, layer = model.config.vision_feature_select_strategy, model.config.vision_feature_layer
        encoder, connector = LayerEncoder(inner.vision_tower, layer, strategy == "default"), Connector(inner.multi_modal_projector)
        language = Language(inner.language_model, model.lm_head)
    else:
        assert config.tiles is not None
        encoder, connector = TileEncoder(inner.vision_model, config.tiles.side), Connector(inner.connector)
        language = Language(inner.text_model, model.lm_head)
    return _Parts(encoder.eval(), connector.eval(), TokenEmbedding(model.get_input_embeddings()).eval(), language.eval(), text)


class _Module:
    """A module as a runner: so the golden inputs of later graphs are what the session itself makes of earlier ones."""

    def __init__(self, module: nn.Module, outputs: Sequence[str]) -> None:
        self._module, self._outputs = module, outputs

    def run(self, feeds: Feeds) -> dict[str, Array]:
        with torch.no_grad():
            results = self._module(*(torch.from_numpy(np.ascontiguousarray(array)) for array in feeds.values()))
        return {name: result.numpy() for name, result in zip(self._outputs, (results,) if torch.is_tensor(results) else results)}


def _names(config: Config) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Outputs of ``image_encoder`` and of ``connector``."""
    layers = range(config.deepstack)
    return ("image_states", *(f"deepstack_states_{layer}" for layer in layers)), ("image_features", *(f"deepstack_{layer}" for layer in layers))


def _session(config: Config, parts: _Parts) -> Session:
    """Only for what it makes of pictures and tokens: it has no words, and no language."""
    states, features = _names(config)
    modules: dict[str, Any] = {
        "image_encoder": _Module(parts.image_encoder, states),
        "connector": _Module(parts.connector, features),
        "token_embedding": _Module(parts.token_embedding, ("inputs_embeds",)),
    }
    return Session(modules, {}, config.model_copy(update={"tokenizer": False, "template": False}))


def _image_tokens(config: Config, parts: _Parts, media: Media) -> int:
    return len(_session(config, parts).look(_last_piece(eye_for(config), media["cat"]))[0])


def _last_piece(eye: Eye, picture: Picture) -> Ready:
    """The whole picture without its tiles: enough to learn what features look like."""
    ready = eye.ready(picture)
    return replace(ready, pieces=ready.pieces[-1:])


def _graphs(config: Config, parts: _Parts, media: Media, options: Options) -> dict[str, TorchGraph | OnnxGraph]:
    eye, session = eye_for(config), _session(config, parts)
    states, features = _names(config)
    coffee = load_image(media["coffee"])
    square = coffee[:, : len(coffee)]  # where pictures keep their shape, the two differ in it
    first, second = (eye.ready(picture).pieces[-1] for picture in (media["cat"], square))
    axis = "patches" if config.kind == "qwen3_vl" else "batch"
    # Patches of one picture are as many as they are; pictures of one size make a batch, of two, because torch takes 1 for a constant.
    traced = first if config.kind == "qwen3_vl" else {name: np.concatenate([first[name], second[name]]) for name in first}
    seen, other = (eye.connect(_Module(parts.image_encoder, states).run(feeds)) for feeds in (traced, second))
    ids = _ids(config, parts.text.vocab_size)
    prompt, step = _examples(config, session, ids, [np.resize(stream, (4, stream.shape[1])) for stream in session.look(_last_piece(eye, media["cat"]))])
    return {
        "image_encoder": _with_axis(parts.image_encoder, traced, second, states, axis),
        "connector": _with_axis(parts.connector, seen, other, features, "tokens" if config.kind == "qwen3_vl" else "batch"),
        "token_embedding": TorchGraph(
            parts.token_embedding,
            inputs={"input_ids": torch.from_numpy(ids[None])},
            outputs=("inputs_embeds",),
            dynamic={"input_ids": {1: "tokens"}},
            other={"input_ids": torch.from_numpy(ids[None, :2])},
        ),
        "language": decoder_graph(
            parts.language,
            prompt=prompt,
            step=step,
            dynamic={name: {2 if name == "position_ids" else 1: "tokens"} for name in prompt},
            layers=parts.text.num_hidden_layers,
            heads=getattr(parts.text, "num_key_value_heads", None) or parts.text.num_attention_heads,
            head_dim=getattr(parts.text, "head_dim", None) or parts.text.hidden_size // parts.text.num_attention_heads,
            context=min(options.context, config.positions),
        ),
    }


def _with_axis(module: nn.Module, traced: Feeds, other: Feeds, outputs: tuple[str, ...], axis: str) -> TorchGraph:
    """Every input's first axis is the same dynamic one."""
    return TorchGraph(module, inputs=_tensors(traced), outputs=outputs, dynamic={name: {0: axis} for name in traced}, other=_tensors(other))


def _tensors(arrays: Feeds) -> dict[str, Tensor]:
    return {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}


def _ids(config: Config, vocabulary: int) -> NDArray[np.int64]:
    """The golden prompt by rule: words far apart in the vocabulary."""
    words = [word for word in ((7919 * index + 13) % vocabulary for index in range(2 * len(PROMPT))) if word != config.image_token_id]
    return np.array([config.image_token_id if at < 0 else words[at] for at in PROMPT], np.int64)


def _examples(config: Config, session: Session, ids: NDArray[np.int64], features: list[Any]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """(prompt, step) of ``language``."""
    positions = rope_positions(ids, config.image_token_id, [(2, 2)]) if config.kind == "qwen3_vl" else None
    after = None if positions is None else positions.max() + 1 + np.tile(np.arange(2), (3, 1))
    return _tensors(session.feeds(ids, [features], positions)), _tensors(session.feeds(ids[:2], (), after))
