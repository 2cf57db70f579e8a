"""ONNX files -> graphs with golden feeds, decoders rewritten and held against what they were."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mmedge.documents import read_plain
from mmedge.errors import GateFailed, MmedgeError
from mmedge.families.onnx import Config, Options, layout, surgery
from mmedge.families.onnx.proof import TOKENS, Evaluated, Whole, drift_of
from mmedge.families.onnx.session import Session
from mmedge.families.onnx.settings import settings
from mmedge.family import Allow, Case, Exported, Media, OnnxGraph
from mmedge.generate.decode import Sampling
from mmedge.generate.text import write
from mmedge.processors.tokenizer import read_tokenizer
from mmedge.tensors import Array, Feeds, TensorSpec

TEXTS, PICTURES, SOUNDS = ("text_3", "text_2"), ("cat", "coffee"), ("question", "remark")


def export(folder: Path, options: Options, media: Media, allow: Allow = Allow()) -> Exported:
    """The graphs of a file or a folder; see the package.

    Raises:
        MmedgeError: a file is damaged, incomplete, or does not run on its golden inputs.
        GateFailed: a rewritten decoder does not compute what the file it was made from computes.
    """
    if folder.is_file():
        name, model = options.graph or layout.graph_name(folder.stem), surgery.read(folder)
        surgery.rename(model, _known(options, model, folder))
        found, where, config_json = layout.Parts("plain", {name: model}), folder.parent, {}
    else:
        config_json = read_plain(folder / "config.json", required=False)
        found, where = layout.parts(folder, config_json), folder
    for model in found.models.values():
        surgery.rename(model, surgery.cache_names(model) if found.kind in ("speech", "captioner", "chat") else {})
    content = (folder / "tokenizer.json").read_bytes() if found.kind != "plain" and (folder / "tokenizer.json").is_file() else None
    config, template = settings(where, found, config_json, options, content)
    assets: dict[str, bytes | Path] = {"tokenizer.json": content} if content else {}
    if template:
        assets["chat_template.jinja"] = template.encode()
    with tempfile.TemporaryDirectory() as scratch:
        work = _Work(found, config, options, media, Path(scratch), assets)
        feeds = work.feeds()
        cases = work.cases()
        graphs = {name: OnnxGraph(model, dict(feeds[name])) for name, model in found.models.items()}
        return Exported(graphs=dict(graphs), assets=assets, config=work.config, cases=cases)


def _known(options: Options, model: Any, path: Path) -> dict[str, str]:
    for side, names, given in (("input", surgery.input_names(model), options.inputs), ("output", surgery.output_names(model), options.outputs)):
        if unknown := [name for name in given if name not in names]:
            raise MmedgeError(f"{path} has no {side} {unknown[0]}", f"it has: {', '.join(names)}")
    return {**options.inputs, **options.outputs}


@dataclass
class _Work:
    """One export: the rewritten graphs opened, and what is fed to them."""

    parts: layout.Parts
    config: Config
    options: Options
    media: Media
    scratch: Path
    assets: Mapping[str, bytes | Path]

    def __post_init__(self) -> None:
        self.paths = {}
        for name, content in self.assets.items():
            self.paths[name] = self.scratch / name
            self.paths[name].write_bytes(content if isinstance(content, bytes) else content.read_bytes())
        self.runners = {name: Evaluated(surgery.save(model, self.scratch / f"{name}.onnx")) for name, model in self.parts.models.items()}
        self.session = Session(self.runners, self.paths, self.config)

    def feeds(self) -> dict[str, Feeds]:
        """Golden feeds by graph: real media where the folder says how to read them."""
        kind = self.config.kind
        if kind in ("speech", "captioner", "chat"):
            return self._decoding()
        made: dict[str, Feeds] = {}
        for name, runner in self.runners.items():
            main = {spec.name for spec in runner.inputs}
            if "pixel_values" in main and len(main) == 1 and self.config.image:
                made[name] = {"pixel_values": self.session.pixels(self.media["cat"])}
            elif self.config.takes == "audio" and (self.config.waveform or self.config.fbank):
                made[name] = {"input_values": self.session.features(self.media["question"])}
            elif kind != "plain" and self.config.text and "input_ids" in main:
                made[name] = self.session._tokens([self.media[text] for text in TEXTS], name)
            else:
                made[name] = self._by_rule(name)
            self._try(name, made[name])
        return made

    def _try(self, name: str, feeds: Feeds) -> None:
        try:
            results = self.runners[name].run(feeds)
        except MmedgeError as error:
            sizes = ", ".join(f"{key} {list(np.shape(value))}" for key, value in feeds.items())
            raise MmedgeError(
                f"{name} on {sizes}: {error.what}", "name the sizes of its dimensions in a recipe: options = { sizes = { height = 224, width = 224 } }"
            ) from error
        if bad := [key for key, value in results.items() if value.dtype.kind == "f" and not np.isfinite(value).all()]:
            raise MmedgeError(f"{name} gives NaN or infinity in {bad[0]} on its golden inputs", "get an undamaged copy")

    def _by_rule(self, name: str) -> Feeds:
        """Random numbers; ones for masks; small numbers for ids."""
        random, made = np.random.default_rng(0), dict[str, Array]()
        for spec in self.runners[name].inputs:
            shape = [self._size(spec, axis) for axis in range(len(spec.shape))]
            if spec.dtype == "bool" or "mask" in spec.name:
                made[spec.name] = np.ones(shape, spec.dtype)
            elif spec.dtype.startswith(("int", "uint")):
                made[spec.name] = (np.arange(int(np.prod(shape))) % 2).reshape(shape).astype(spec.dtype)
            else:
                made[spec.name] = random.standard_normal(shape).astype(spec.dtype)
        return made

    def _size(self, spec: TensorSpec, axis: int) -> int:
        """As the file, the recipe or the name says; ``past + tokens`` is the sum of both."""
        size = spec.shape[axis]
        if isinstance(size, int):
            return size
        if size in self.options.sizes:
            return self.options.sizes[size]
        parts = [part.strip() for part in size.split("+")]
        sizes = [int(part) if part.isdigit() else self.options.sizes.get(part, _default(part)) for part in parts]
        return sum(sizes)

    def _decoding(self) -> dict[str, Feeds]:
        """Feed the encoder with a real medium, the rest with what it gave, and the decoder with the prompt; then prove the decoder on it."""
        made: dict[str, Feeds] = {}
        constants: dict[str, Array] = {}
        if self.config.kind != "chat":
            main = next(spec for spec in self.runners["encoder"].inputs)
            made["encoder"] = {main.name: self._medium(0, main)}
            states = next(iter(self.runners["encoder"].run(made["encoder"]).values()))
            constants = {"encoder_hidden_states": states}
        if "cross" in self.runners:
            given = {**constants, "input_ids": np.array([self.config.start[:1]], np.int64)}
            made["cross"] = {spec.name: given[spec.name] for spec in self.runners["cross"].inputs}
            constants |= self.runners["cross"].run(made["cross"])
        prompt = self._prompt(0)
        self._prove(prompt, constants)
        made["language" if self.config.kind == "chat" else "decoder"] = self._step(prompt, constants)
        return made

    def _medium(self, index: int, main: TensorSpec) -> Array:
        if self.config.kind == "speech":
            return self.session.features(self.media[SOUNDS[index]])
        if self.config.image:
            return self.session.pixels(self.media[PICTURES[index]])
        shape = [1 if axis == 0 else size if isinstance(size, int) else (3 if axis == 1 else self.config.limit) for axis, size in enumerate(main.shape)]
        return np.random.default_rng(0).standard_normal(shape).astype(np.float32)

    def _prompt(self, index: int) -> list[int]:
        if self.config.kind != "chat":
            return list(self.config.start)
        if self.session._tokenizer is None:
            return list(range(1, 8))
        return self.session.prompt(self.media[TEXTS[index]])[: max(1, self.config.limit - TOKENS)]

    def _prove(self, prompt: list[int], constants: Mapping[str, Array]) -> None:
        """Set ``at_once`` to what holds. Raises GateFailed: neither way gives what the untouched file gives."""
        assert self.parts.prompt is not None
        whole = Evaluated(self.parts.prompt)
        for at_once in (True, False) if len(prompt) > 1 else (False,):
            self.config = self.session.config = self.config.model_copy(update={"at_once": at_once})
            drift = drift_of(self.session.decoder(constants), Whole(whole, constants), prompt, self.config.limit - len(prompt))
            if drift <= 1.0:
                return
        raise GateFailed(f"the decoder with a cache differs from {self.parts.prompt.name} by {drift:.3g} times the bound", "report it with the folder")

    def _step(self, prompt: list[int], constants: Mapping[str, Array]) -> Feeds:
        """The feeds of one step after the prompt, over the past that the prompt left."""
        seen: list[Feeds] = []
        name = "language" if self.config.kind == "chat" else "decoder"
        runner = self.runners[name]
        run = runner.run
        runner.run = lambda feeds: seen.append(dict(feeds)) or run(feeds)  # type: ignore[method-assign, func-returns-value]
        step = self.session.decoder(constants)
        token = int(step(np.array(prompt, np.int64)).argmax())
        step(np.array([token], np.int64))
        runner.run = run  # type: ignore[method-assign]
        return seen[-1]

    def cases(self) -> list[Case]:
        """What the untouched files say to real media, token by token without a cache; the labels of a classifier; embeddings."""
        kind, words = self.config.kind, self.session._tokenizer is not None
        source = "the files as they were, in onnxruntime without optimisation"
        if kind in ("speech", "captioner", "chat") and words and (kind != "captioner" or self.config.image):
            verb, argument, names = {
                "speech": ("transcribe", "sound", SOUNDS),
                "captioner": ("caption", "image", PICTURES),
                "chat": ("chat", "messages", TEXTS),
            }[kind]
            return [Case("verb", verb, {argument: f"@{name}", "sampling": {"max_tokens": TOKENS}}, self._said(name), source) for name in names]
        if kind == "dual" and self.config.image:
            return [Case("verb", "embed_image", {"image": f"@{name}"}, self.session.embed_image(self.media[name]), source) for name in PICTURES]
        if kind == "classifier" and (found := {"image": PICTURES, "audio": SOUNDS, "text": TEXTS}[self.config.takes]) and self._can_classify():
            return [Case("verb", "classify", {"item": f"@{name}"}, [list(pair) for pair in self.session.classify(self.media[name])], source) for name in found]
        return []

    def _can_classify(self) -> bool:
        config = self.config
        return bool({"image": config.image, "audio": config.waveform or config.fbank, "text": config.tokenizer}[config.takes])

    def _said(self, name: str) -> str:
        config, session = self.config, self.session
        constants: dict[str, Array] = {}
        if config.kind != "chat":
            feed = session.features(self.media[name]) if config.kind == "speech" else session.pixels(self.media[name])
            encoder = self.runners["encoder"]
            constants = {"encoder_hidden_states": next(iter(encoder.run({encoder.inputs[0].name: feed}).values()))}
        assert self.parts.prompt is not None
        prompt = list(config.start) if config.kind != "chat" else session.prompt(self.media[name])
        text = write(
            Whole(Evaluated(self.parts.prompt), constants),
            prompt,
            read_tokenizer(self.paths["tokenizer.json"]),
            stop=frozenset(config.stop),
            sampling=Sampling(max_tokens=min(TOKENS, config.limit - len(prompt))),
            suppress=config.suppress,
            suppress_first=config.suppress_first,
        )
        return text if config.kind == "chat" else text.strip()


def _default(name: str) -> int:
    if re.search("batch", name):
        return 1
    if re.search("channel", name):
        return 3
    return 224 if re.search("height|width", name) else 8
