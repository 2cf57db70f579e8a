"""ONNX models in use: by the verb of their kind, and graph by graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmedge.errors import MmedgeError
from mmedge.families.onnx import Config
from mmedge.family import PlainSession
from mmedge.generate.cache import Cache
from mmedge.generate.decode import GREEDY, Sampling, Step
from mmedge.generate.template import ChatTemplate, Messages
from mmedge.generate.text import write
from mmedge.processors.audio import Sound, load_sound
from mmedge.processors.fbank import Fbank
from mmedge.processors.image import Picture
from mmedge.processors.log_mel import RATE_HZ, LogMel
from mmedge.processors.pixels import ImageProcessor
from mmedge.processors.resample import resample
from mmedge.processors.text import TextProcessor
from mmedge.processors.tokenizer import read_tokenizer
from mmedge.processors.waveform import waveform
from mmedge.runner import Runner
from mmedge.tensors import Array

Floats = NDArray[np.float32]

WINDOW_S, LAST_S = 30, 5
"""What Whisper hears at once; and where in it a longer sound is cut: at the quietest moment of the last seconds."""


class Session(PlainSession):
    """Not safe for two threads at once, as its runners are not. Verbs of another kind of model, and those whose files were missing, raise MmedgeError."""

    def __init__(self, runners: Mapping[str, Runner], assets: Mapping[str, Path], config: Config) -> None:
        super().__init__(runners, assets, config)
        self.config = config
        self._texts = TextProcessor(assets["tokenizer.json"], config.text) if config.tokenizer and config.text else None
        self._tokenizer = read_tokenizer(assets["tokenizer.json"]) if config.tokenizer else None
        self._template = ChatTemplate(assets["chat_template.jinja"].read_text(encoding="utf-8"), config.special) if config.template else None

    def pixels(self, image: Picture) -> Floats:
        """float32 [1, 3, H, W]."""
        if self.config.image is None:
            raise _lacks("image processor", "preprocessor_config.json")
        return ImageProcessor(self.config.image)([image])

    def features(self, sound: Sound) -> Floats:
        """What the encoder or classifier of sounds takes."""
        samples, rate_hz = load_sound(sound)
        config = self.config
        if config.mels:
            return LogMel(config.mels)(resample(samples, rate_hz, RATE_HZ), WINDOW_S)
        if config.fbank:
            return Fbank(config.fbank)(resample(samples, rate_hz, config.fbank.rate_hz))
        if config.waveform:
            return waveform(resample(samples, rate_hz, config.waveform.rate_hz), config.waveform)
        raise _lacks("feature extractor", "preprocessor_config.json")

    def transcribe(self, sound: Sound, *, sampling: Sampling = GREEDY, on_text: Callable[[str], None] | None = None) -> str:
        """The words of a sound of any length."""
        self._is("speech", "transcribe")
        samples, rate_hz = load_sound(sound)
        pieces = _cut(resample(samples, rate_hz, RATE_HZ))
        said = (self._write(self._encoded(self.features((piece, RATE_HZ))), self.config.start, sampling, on_text).strip() for piece in pieces)
        return " ".join(text for text in said if text)

    def caption(self, image: Picture, *, sampling: Sampling = GREEDY, on_text: Callable[[str], None] | None = None) -> str:
        """What the picture shows, or says."""
        self._is("captioner", "caption")
        return self._write(self._encoded(self.pixels(image)), self.config.start, sampling, on_text).strip()

    def chat(self, messages: Messages | str, *, sampling: Sampling = GREEDY, on_text: Callable[[str], None] | None = None) -> str:
        """The answer to messages, or to what a user says; without a chat template a text is written on where it ends."""
        self._is("chat", "chat")
        return self._write({}, self.prompt(messages), sampling, on_text)

    def prompt(self, messages: Messages | str) -> list[int]:
        """The tokens that a chat model reads."""
        if self._tokenizer is None:
            raise _lacks("tokenizer", "tokenizer.json")
        if self._template is None and not isinstance(messages, str):
            raise _lacks("chat template", "chat_template.jinja")
        if self._template is None:
            return list(self._tokenizer.encode(messages).ids)
        talk = [{"role": "user", "content": messages}] if isinstance(messages, str) else messages
        return list(self._tokenizer.encode(self._template.render(talk), add_special_tokens=False).ids)

    def classify(self, item: Any, labels: Sequence[str] | None = None) -> list[tuple[str, float]]:
        """Labels by probability, likeliest first.

        Args:
            item: a picture, a sound or a text, whichever the model takes.
            labels: what to choose from, in any words: for image-text models, and only for them.
        """
        if self.config.kind == "dual":
            if not labels:
                raise MmedgeError("this model has no labels of its own", "give some: classify(image, labels)")
            return _sorted(labels, self.config.scale * (self.embed_text(labels) @ self.embed_image(item)))
        self._is("classifier", "classify")
        if labels is not None:
            raise MmedgeError("this model has labels of its own", "leave them out: classify(item)")
        main = {"image": self.pixels, "audio": self.features}
        feeds = self._tokens([item], "classifier") if self.config.takes == "text" else {self._inputs("classifier")[0]: main[self.config.takes](item)}
        return _sorted(self.config.labels, self.run("classifier", **feeds)["logits"][0])

    def embed_image(self, image: Picture) -> Floats:
        """float32 [D], of length 1."""
        self._is("dual", "embed_image")
        return _unit(self.run("image_encoder", pixel_values=self.pixels(image))["image_embeds"])[0]

    def embed_text(self, text: str | Sequence[str]) -> Floats:
        """One text: float32 [D]; several: [B, D]. Each of length 1."""
        self._is("dual", "embed_text")
        rows = _unit(self.run("text_encoder", **self._tokens([text] if isinstance(text, str) else list(text), "text_encoder"))["text_embeds"])
        return rows[0] if isinstance(text, str) else rows

    def decoder(self, constants: Mapping[str, Array]) -> Step:
        """A step over a cache of its own, after what an encoder gave."""
        name = "language" if self.config.kind == "chat" else "decoder"
        taken = set(self._inputs(name))
        cache = Cache(self._runners[name], {key: value for key, value in constants.items() if key in taken})

        def step(tokens: NDArray[np.int64]) -> Floats:
            for some in [tokens] if self.config.at_once else np.split(tokens, len(tokens)):
                before, total = cache.length, cache.length + len(some)
                extra = {"attention_mask": np.ones((1, total), np.int64), "position_ids": np.arange(before, total, dtype=np.int64)[None]}
                outputs = cache(len(some), {"input_ids": some[None], **{key: value for key, value in extra.items() if key in taken}})
            return np.asarray(outputs["logits"][0, -1], np.float32)

        return step

    def _encoded(self, main: Array) -> dict[str, Array]:
        """What the decoder is given of a sound or a picture."""
        states = next(iter(self.run("encoder", **{self._inputs("encoder")[0]: main}).values()))
        given = {"encoder_hidden_states": states, "input_ids": np.array([self.config.start[:1]], np.int64)}
        crossed = self.run("cross", **{key: given[key] for key in self._inputs("cross")}) if "cross" in self._runners else {}
        return {"encoder_hidden_states": states, **crossed}

    def _write(self, constants: Mapping[str, Array], prompt: Sequence[int], sampling: Sampling, on_text: Callable[[str], None] | None) -> str:
        if self._tokenizer is None:
            raise _lacks("tokenizer", "tokenizer.json")
        config, room = self.config, self.config.limit - len(prompt)
        if room < 1:
            raise MmedgeError(f"the prompt has {len(prompt)} tokens, and the model takes {config.limit}", "shorten it")
        return write(
            self.decoder(constants),
            prompt,
            self._tokenizer,
            stop=frozenset(config.stop),
            sampling=replace(sampling, max_tokens=min(sampling.max_tokens, room)),
            suppress=config.suppress,
            suppress_first=config.suppress_first,
            on_text=on_text,
        )

    def _tokens(self, texts: list[str], graph: str) -> dict[str, Array]:
        if self._texts is None:
            raise _lacks("tokenizer", "tokenizer.json")
        arrays: dict[str, Array] = {**self._texts(texts)}
        arrays["token_type_ids"] = np.zeros_like(arrays["input_ids"])
        return {name: arrays[name] for name in self._inputs(graph)}

    def _inputs(self, graph: str) -> list[str]:
        return [spec.name for spec in self._runners[graph].inputs]

    def _is(self, kind: str, verb: str) -> None:
        if self.config.kind != kind:
            raise MmedgeError(f"this {self.config.kind} model cannot {verb}", f"run its graphs: run(graph, ...) with one of {', '.join(self.config.graphs)}")


def _lacks(what: str, file: str) -> MmedgeError:
    return MmedgeError(f"this model was exported without a {what}", f"add its {file} to the folder and export again")


def _unit(rows: Array) -> Floats:
    found = np.asarray(rows, np.float32)
    return found / np.linalg.norm(found, axis=-1, keepdims=True)


def _sorted(labels: Sequence[str], scores: NDArray[np.floating]) -> list[tuple[str, float]]:
    chances = np.exp(scores - scores.max())
    return sorted(zip(labels, (chances / chances.sum()).tolist()), key=lambda pair: -pair[1])


def _cut(samples: Floats) -> list[Floats]:
    pieces, whole, last = [], WINDOW_S * RATE_HZ, LAST_S * RATE_HZ
    while len(samples) > whole:
        loud = np.convolve(np.square(samples[whole - last : whole]), np.ones(RATE_HZ // 5), mode="valid")
        at = whole - last + int(loud.argmin()) + RATE_HZ // 10
        pieces.append(samples[:at])
        samples = samples[at:]
    return [*pieces, samples]
