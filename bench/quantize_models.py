"""What is quantized in the comparison with other quantizers: models, their data, what goes into their graphs, and what says how good they are.

EfficientNet-Lite0 with MiniLM and Whisper tiny.en have real weights and are judged by their task on the stamps (``mmedge.evaluate.stamps``); CLIP ViT-B/32 and
SmolVLM-256M have their real sizes and random weights, and are judged by how far their outputs agree with fp32 on pictures that nothing was calibrated on.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import assistant_model
import environment
import fp16
import numpy as np
import onnx

from mmedge.build.export import export
from mmedge.build.load import recipe_for
from mmedge.bundle import Bundle
from mmedge.evaluate import stamps
from mmedge.evaluate.choosing import choose
from mmedge.evaluate.data import Data, open_data
from mmedge.evaluate.eval import answered
from mmedge.evaluate.metrics.agreement import cosine
from mmedge.evaluate.metrics.bootstrap import Draft, Metric, Samples, mean, measure
from mmedge.evaluate.tasks import Setting, decode, text_of
from mmedge.generate.decode import Sampling
from mmedge.optimize.calibration import calibrate, in_fp32
from mmedge.optimize.gate import Judged, judge
from mmedge.runner import Candidate, Engine, Graph, Runner, load_backend
from mmedge.target import Target
from mmedge.tensors import Feeds

SEED, HELD_OUT = 0, 12
MOST_BYTES = 1 << 30
AGREES = 0.01
"""What the cosine with fp32 may lose."""

Opens = Callable[[], contextlib.AbstractContextManager[Any]]
"""Opens a contender as a runner."""


def folder() -> Path:
    path = environment.folder() / "quantize"
    path.mkdir(exist_ok=True)
    return path


def stamps_folder() -> Path:
    path = folder() / "stamps"
    if not (path / "metadata.csv").is_file():
        stamps.main([str(path)])
    return path


def tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def smolvlm() -> Path:
    """The bundle of a random SmolVLM-256M that looks at a picture in one piece."""
    path = folder() / "smolvlm.bundle"
    if not (path / "manifest.json").is_file():
        sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
        from checkpoints.vlm import make_smolvlm_256m

        checkpoint = folder() / "smolvlm"
        make_smolvlm_256m(checkpoint)
        recipe = recipe_for(str(checkpoint), offline=True, trace=print)
        ((role, model),) = recipe.models.items()
        recipe = recipe.model_copy(update={"models": {role: model.model_copy(update={"options": {**model.options, "image_splitting": False}})}})
        export(recipe, path, [Target.load("intel-cpu")], report=tell)
    return path


@dataclass(frozen=True)
class Model:
    """A model of a bundle, quantized for a target."""

    label: str
    bundle: Path
    role: str
    metric: str
    """Of its task; empty: agreement with fp32."""
    graphs: Mapping[str, str]
    """Key -> what it is called in the tables; those that are compared."""
    decoders: frozenset[str] = frozenset()
    by_verb: bool = True
    """Whether ``mmedge quantize`` chooses; else the fastest of its makers' that holds."""
    samples: int = 64
    limit: int | None = None
    target: Target = field(default_factory=lambda: Target.load("intel-cpu"))

    @cached_property
    def opened(self) -> Bundle:
        return Bundle.open(self.bundle)

    def graph(self, key: str) -> Graph:
        return self.opened.graph(self.role, key)

    @cached_property
    def data(self) -> Data:
        wanted = ("audio", "transcript") if self.metric == "wer" else ("image", "text")
        return open_data(stamps_folder(), limit=self.limit, seed=SEED).having(wanted)

    @cached_property
    def task(self) -> Any:
        return choose(self.opened.manifest, self.data, self.role, None, Setting())[1]

    def uses(self, session: Any) -> Iterator[object]:
        """The task on one sample after another."""
        for sample in self.data:
            if hasattr(session, "caption"):
                yield session.caption(decode(sample, ("image",))["image"], sampling=Sampling(max_tokens=4))
            elif hasattr(session, "transcribe"):
                yield session.transcribe(decode(sample, ("audio",))["audio"])
            else:
                yield session.embed_image(decode(sample, ("image",))["image"]), session.embed_text(text_of(sample.fields["text"]))

    def feeds(self, key: str, held_out: bool = False) -> list[Path]:
        """Files with the feeds of one graph: of the samples to calibrate on, or of those that are held out."""
        if not self._recorded(key).is_dir():
            self._record()
        return [path for path in sorted(self._recorded(key).iterdir()) if ("held" in path.name) == held_out]

    def _recorded(self, key: str) -> Path:
        return folder() / "feeds" / f"{self.graph(key).sha256[:12]}-{self.samples}-{self.limit}"

    def _record(self) -> None:
        """Record what goes into every graph; the last samples are held out."""
        tell(f"{self.label}: what goes into its graphs")
        count = self.samples + HELD_OUT
        with tempfile.TemporaryDirectory(dir=folder()) as scratch:
            made = calibrate(self.opened, self.role, self.target, self.uses, Path(scratch) / "kept", samples=count, seed=SEED, most_bytes=MOST_BYTES)
            for key in self.graphs:
                every = Path(scratch) / key
                every.mkdir()
                total = sum(1 for _ in made.feeds[key]())
                for number, feeds in enumerate(made.feeds[key]()):
                    held = number >= total - total * HELD_OUT // count
                    np.savez(every / f"{number:05d}{'-held' if held else ''}.npz", **feeds)  # type: ignore[arg-type]
                self._recorded(key).parent.mkdir(exist_ok=True)
                os.replace(every, self._recorded(key))

    def whole(self, key: str) -> Path:
        """A graph in one file without the shapes between its operators, as every tool is given it."""
        graph = self.graph(key)
        path = folder() / "graphs" / graph.sha256[:12] / f"{key}.onnx"
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            model = onnx.load(graph.path)
            model.graph.ClearField("value_info")
            onnx.save(model, path)
        return path

    def judged(self, contenders: Mapping[str, Opens]) -> tuple[Judged, Metric]:
        """A model some of whose graphs are contenders, all others in fp32."""
        if not self.metric:
            found = self._agreements(contenders)
            return judge(agreement([1.0] * len(found)), agreement(found), AGREES), agreement(found)
        metric = self._metric(contenders)
        return judge(self._reference, metric, self.opened.manifest.models[self.role].gate.max_drop), metric

    @cached_property
    def _reference(self) -> Metric:
        return self._metric({})

    @cached_property
    def _remembered(self) -> dict[tuple[str, bytes], dict[str, Any]]:
        return {}

    def _metric(self, contenders: Mapping[str, Opens]) -> Metric:
        @contextlib.contextmanager
        def opens(key: str) -> Iterator[Any]:
            if key in contenders:
                with contenders[key]() as runner:
                    yield runner
            else:
                with in_fp32(self.opened, self.role, self.target, key) as runner:
                    yield Remembering(key, runner, self._remembered)

        with self.opened.session(self.role, self.target, opens=opens) as session:
            found = answered(session, self.task, self.data).scored.metrics
            return next(metric for metric in found if metric.name == self.metric)

    def _agreements(self, contenders: Mapping[str, Opens]) -> list[float]:
        """Cosines with fp32 of the first output of each graph, sample by sample: a decoder's is its logits."""
        found = []
        for key, opens in contenders.items():
            name = self.graph(key).outputs[0].name
            with opens() as ours, in_fp32(self.opened, self.role, self.target, key) as exact:
                for feeds in map(loaded, self.feeds(key, held_out=True)):
                    agreed = cosine(*(np.array(runner.run(feeds)[name], np.float64).reshape(1, -1) for runner in (ours, exact)))
                    found.append(agreed.estimate.value if agreed.estimate else 0.0)
        return found


def agreement(found: list[float]) -> Metric:
    """The mean of cosines."""
    return measure([Draft("cosine", Samples(np.array(found)[:, None], mean))])[0]


class Remembering:
    """A runner in fp32 that is asked the same for every contender: it answers from memory."""

    def __init__(self, key: str, runner: Runner, memory: dict[tuple[str, bytes], dict[str, Any]]) -> None:
        self._key, self._runner, self._memory = key, runner, memory
        self.inputs, self.outputs, self.reuses_outputs = runner.inputs, runner.outputs, False

    def run(self, feeds: Feeds) -> dict[str, Any]:
        digest = hashlib.sha256()
        for name in sorted(feeds):
            digest.update(np.ascontiguousarray(feeds[name]).tobytes())
        key = self._key, digest.digest()
        if key not in self._memory:
            self._memory[key] = {name: np.array(array) for name, array in self._runner.run(feeds).items()}
        return dict(self._memory[key])

    def carry(self, pairs: Mapping[str, str], start: Feeds) -> Any:
        return self._runner.carry(pairs, start)

    def executed(self) -> dict[str, str]:
        return self._runner.executed()


def loaded(path: Path) -> Feeds:
    with np.load(path) as stored:
        return {name: np.ascontiguousarray(array).reshape(array.shape) for name, array in stored.items()}


def open_file(graph: Graph, backend: str, file: Path | None, precision: str, target: Target) -> Runner:
    """A contender's file in place of a graph, or the graph itself, by mmedge's own runner."""
    if file is None:
        return load_backend(backend).open(Engine(Candidate(graph, precision)), target)  # type: ignore[arg-type]
    weights = next((path for path in file.parent.iterdir() if path.suffix in (".bin", ".data")), None)
    candidate = Candidate(replace(graph, path=file, weights=weights, precision=precision, variants={}), precision)  # type: ignore[arg-type]
    return load_backend(backend).open(Engine(candidate), target)


def models(assistant: Path | None, only: list[str]) -> list[Model]:
    known = {"eyes": _eyes, "ears": _ears, "clip": _clip, "smolvlm": _smolvlm}
    path = assistant or assistant_model.bundle([Target.load("cpu"), Target.load("intel-cpu")])
    return [known[name](path) for name in only or known]


def _eyes(assistant: Path) -> Model:
    graphs = {"image_encoder": "EfficientNet-Lite0", "text_encoder": "MiniLM"}
    return Model("EfficientNet-Lite0 + MiniLM", assistant, "eyes", "image_to_text_r5", graphs)


def _ears(assistant: Path) -> Model:
    graphs = {"encoder": "Whisper's encoder", "decoder": "Whisper's decoder"}
    return Model("Whisper tiny.en", assistant, "ears", "wer", graphs, decoders=frozenset({"decoder"}))


def _clip(_: Path) -> Model:
    graphs = {"image_encoder": "ViT-B/32", "text_encoder": "CLIP's text encoder"}
    path = fp16.clip(environment.folder() / "fp16", False)
    return Model("CLIP ViT-B/32, random weights", path, next(iter(Bundle.open(path).manifest.models)), "", graphs, samples=32, limit=64)


def _smolvlm(_: Path) -> Model:
    path = smolvlm()
    ((role, model),) = Bundle.open(path).manifest.models.items()
    language = next(key for key in model.graphs_for(Target.load("intel-cpu")).values() if key.startswith("language"))
    graphs = {"image_encoder": "SmolVLM's picture encoder", language: "SmolVLM's language model"}
    return Model("SmolVLM-256M, random weights", path, role, "", graphs, decoders=frozenset({language}), by_verb=False, samples=12, limit=48)
