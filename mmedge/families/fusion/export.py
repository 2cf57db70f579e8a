"""Checkpoint of a fusion -> a graph per encoder, and the head."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mmedge.errors import MmedgeError
from mmedge.families.fusion import Config, Options
from mmedge.family import Allow, Case, Exported, Media, TorchGraph
from mmedge.nets.encoders import INPUTS
from mmedge.nets.fusing import Encoded
from mmedge.nets.multimodal import Fusion
from mmedge.nets.multimodal_checkpoint import load_checkpoint, tokenizer_of
from mmedge.nets.multimodal_config import Modality
from mmedge.processors.audio import sound_at
from mmedge.processors.log_mel import RATE_HZ, LogMel
from mmedge.processors.pixels import ImageProcessor
from mmedge.processors.text import TextProcessor

GOLDEN: dict[Modality, tuple[str, str]] = {"image": ("cat", "coffee"), "text": ("text_2", "text_3"), "audio": ("question", "remark")}
"""Two of each, told apart by every encoder."""

Feeds = dict[str, Tensor]


class Encoding(nn.Module):
    """One encoder up to what the head reads."""

    def __init__(self, model: Fusion, modality: Modality) -> None:
        super().__init__()
        self.encoder, self.projection = model.encoders[modality], model.projections[modality]
        self.names, self.attends = INPUTS[modality], model.config.fusion == "cross_attention"

    def forward(self, *feeds: Tensor) -> Tensor:
        found: Encoded = self.encoder(**dict(zip(self.names, feeds)))
        projected: Tensor = self.projection(found.tokens if self.attends else found.pooled)
        return projected


class Head(nn.Module):
    """present, then what each encoder gave, and with cross-attention the mask of the text."""

    def __init__(self, model: Fusion) -> None:
        super().__init__()
        self.joint, self.config = model.joint, model.config

    def forward(self, present: Tensor, *given: Tensor) -> Tensor:
        rest, items = list(given), []
        for name in self.config.modalities:
            value = rest.pop(0)
            if self.config.fusion == "cross_attention":
                items.append(Encoded(value[:, 0], value, rest.pop(0) if name == "text" else None))
            else:
                items.append(Encoded(value, value))
        logits: Tensor = self.joint(items, present != 0)[0]
        return logits if self.config.head == "classify" else logits[:, None]


def export(folder: Path, options: Options, media: Media, allow: Allow = Allow()) -> Exported:
    """A graph for each encoder and ``head``; see the package for their tensors.

    Raises:
        MmedgeError: the folder is no such checkpoint, or it is damaged.
    """
    model = load_checkpoint(folder, allow)
    if not isinstance(model, Fusion):
        raise MmedgeError(f"{folder} is no MmedgeFusion", "export it as what its config.json names")
    told = model.config
    config = Config(**{name: getattr(told, name).prepared for name in told.modalities}, attends=told.fusion == "cross_attention", labels=told.labels)
    words = tokenizer_of(folder) if "text" in told.modalities else None
    feeds = {name: _prepared(name, config, words, media) for name in told.modalities}
    graphs = {f"{name}_encoder": _encoder(model, config, name, *feeds[name]) for name in told.modalities}
    return Exported(
        graphs={**graphs, "head": _head(model, config, graphs, feeds)},
        assets={} if words is None else {"tokenizer.json": words},
        config=config,
        cases=_cases(model, config, media, feeds),
    )


def _prepared(name: Modality, config: Config, words: bytes | None, media: Media) -> tuple[Feeds, Feeds]:
    """The two golden media of one modality as its encoder takes them, each by itself."""
    one, other = (media[key] for key in GOLDEN[name])
    if name == "image":
        assert config.image is not None
        make = ImageProcessor(config.image)
        return {"pixel_values": torch.from_numpy(make([one]))}, {"pixel_values": torch.from_numpy(make([other]))}
    if name == "audio":
        assert config.audio is not None
        heard = [LogMel(config.audio.mels)(sound_at(sound, RATE_HZ), config.audio.window_s) for sound in (one, other)]
        return {"input_features": torch.from_numpy(heard[0])}, {"input_features": torch.from_numpy(heard[1])}
    assert config.text is not None and words is not None
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "tokenizer.json"
        path.write_bytes(words)
        read = TextProcessor(path, config.text)
    first, second = ({key: torch.from_numpy(array) for key, array in read([text]).items()} for text in (one, other))
    return first, second


def _encoder(model: Fusion, config: Config, name: Modality, feeds: Feeds, other: Feeds) -> TorchGraph:
    dynamic = {key: {1: "tokens"} for key in feeds} if name == "text" and config.text is not None and not config.text.fixed else {}
    return TorchGraph(Encoding(model, name), feeds, (f"{name}_{config.gives}",), dynamic, other)


def _head(model: Fusion, config: Config, graphs: Mapping[str, TorchGraph], feeds: Mapping[Modality, tuple[Feeds, Feeds]]) -> TorchGraph:
    """Traced with everything there; the second example lacks the first modality, unless the model needs all."""
    examples = []
    for turn in (0, 1):
        present = torch.ones(1, len(config.modalities), dtype=torch.int64)
        present[0, 0] = 0 if turn and config.labels and len(config.modalities) > 1 else 1
        example: Feeds = {"present": present}
        for name in model.config.modalities:
            with torch.no_grad():
                example[f"{name}_{config.gives}"] = graphs[f"{name}_encoder"].module(*feeds[name][turn].values())
            if config.attends and name == "text":
                example["text_mask"] = feeds[name][turn]["attention_mask"]
        examples.append(example)
    words = config.attends and config.text is not None and not config.text.fixed
    dynamic = {name: {1: "tokens"} for name in examples[0] if words and name.startswith("text_")}
    return TorchGraph(Head(model), examples[0], ("logits",), dynamic, examples[1])


def _cases(model: Fusion, config: Config, media: Media, feeds: Mapping[Modality, tuple[Feeds, Feeds]]) -> list[Case]:
    """What the torch module makes of the golden media: all of them, and with each left out."""
    source = f"torch {metadata.version('torch')}"
    calls: dict[Modality, str] = {"image": "pixels", "text": "tokens", "audio": "log_mel"}
    cases = []
    for name, (first, _) in feeds.items():
        arrays = {key: value.numpy() for key, value in first.items()}
        expected = arrays if name == "text" else next(iter(arrays.values()))
        cases.append(Case("processor", calls[name], {name: _argument(name, 0, media)}, expected, source=source, atol=0 if name == "text" else 1e-4))
    for turn in (0, 1):
        for lacking in (None, *(model.config.modalities if config.labels and len(feeds) > 1 else ())):
            given = {name: one[turn] for name, one in feeds.items() if name != lacking}
            with torch.no_grad():
                logits = model(given).logits[0]
            arguments: dict[str, Any] = {name: _argument(name, turn, media) for name in given}
            if config.labels:
                chances = logits.softmax(-1)
                best: Any = [[config.labels[int(at)], float(chances[at])] for at in chances.argsort(descending=True, stable=True)]
                cases.append(Case("verb", "classify", arguments, best, source=source, atol=1e-3))
            else:
                cases.append(Case("verb", "match", arguments, float(logits.sigmoid()), source=source, atol=1e-3))
    return cases


def _argument(name: Modality, turn: int, media: Media) -> Any:
    key = GOLDEN[name][turn]
    return media[key] if name == "text" else f"@{key}"
