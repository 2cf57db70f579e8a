"""Small vision-language checkpoints, what transformers makes of them, and what the family does: for tests/families/vlm."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from checkpoints.vlm import CHECKPOINTS
from checks import on_one_thread

from mmedge.build.golden import media
from mmedge.families.vlm import Options
from mmedge.families.vlm.export import export
from mmedge.families.vlm.reference import Reference
from mmedge.families.vlm.session import Session
from mmedge.family import Allow, Exported
from mmedge.generate.cache import Cache
from mmedge.generate.decode import Sampling, decode
from mmedge.nets.checkpoint import load
from mmedge.runner import Copied
from mmedge.tensors import TensorSpec, check_feeds

MEDIA = media()
CAT, COFFEE = MEDIA["cat"], MEDIA["coffee"]


def said(role, *parts):
    """A message: strings are texts, everything else is a picture."""
    return {"role": role, "content": [{"type": "text", "text": part} if isinstance(part, str) else {"type": "image", "image": part} for part in parts]}


NOTHING_ASKED = Options()

CHATS = {
    "a caption": [said("user", CAT, "Can you describe this image?")],
    "a question": [said("user", COFFEE, "Is there a cat?")],
    "two pictures": [said("user", CAT, "a cat", COFFEE, "a cup of coffee?")],
    "text alone": [{"role": "user", "content": "Is there a bicycle in front of the house?"}],
    "a second question": [said("user", COFFEE, "coffee?"), said("assistant", "a cup on a table"), said("user", "Is there a cat?")],
}


def _spec(name, tensor, axes):
    return TensorSpec(name, str(tensor.dtype).removeprefix("torch."), tuple(axes.get(axis, size) for axis, size in enumerate(tensor.shape)))


class ModuleRunner:
    """A graph's module as a runner, so that the session can be tried without waiting for ONNX."""

    reuses_outputs = False

    def __init__(self, graph):
        self.module, self.runs = graph.module, 0
        self.inputs = tuple(
            TensorSpec(
                name, str(tensor.dtype).removeprefix("torch."), tuple(graph.dynamic.get(name, {}).get(axis, size) for axis, size in enumerate(tensor.shape))
            )
            for name, tensor in graph.inputs.items()
        )
        self.outputs = tuple(TensorSpec(name, "float32", ()) for name in graph.outputs)

    def run(self, feeds):
        self.runs += 1
        with torch.no_grad():
            results = self.module(*(torch.from_numpy(array) for array in check_feeds(self.inputs, feeds).values()))
        return {spec.name: result.numpy() for spec, result in zip(self.outputs, (results,) if torch.is_tensor(results) else results)}

    def carry(self, pairs, start):
        return Copied(self, pairs, start)


def tokens(session, messages):
    """What a session says in 20 tokens."""
    config, prompt = session.config, session._prompt(messages)
    step = session._step(prompt, Cache(session._runners["language"]))
    return list(decode(step, prompt.ids.tolist(), stop=frozenset(config.stop), suppress=config.suppress, sampling=Sampling(max_tokens=20)).tokens)


@dataclass
class Made:
    """A small checkpoint, what transformers makes of it, and what the family does."""

    folder: Path
    reference: Reference
    exported: Exported
    model: Any

    def session(self, folder, *, fixed=False):
        """A session over torch modules; ``folder`` takes its assets."""
        graphs = dict(self.exported.graphs)
        if fixed:
            graphs["language"] = graphs["language"].fixed("ScatterND")
        assets = {}
        for name, content in self.exported.assets.items():
            assets[name] = folder / name
            assets[name].write_bytes(content)
        return Session({name: ModuleRunner(graph) for name, graph in graphs.items()}, assets, self.exported.config)


def make(folder, maker, options=NOTHING_ASKED, **kind):
    on_one_thread()
    architecture = next((name for name, known in CHECKPOINTS.items() if known is maker))
    maker(folder, **kind)
    exported = export(folder, options, MEDIA)
    model = load(architecture, folder, Allow())
    reference = Reference(folder, exported.config, model) if (folder / "tokenizer.json").is_file() else None
    return Made(folder, reference, exported, model)
