from __future__ import annotations

import struct

import numpy as np
import pytest
import torch
from checkpoints.speech import WINDOW_S, make_hubert, make_moonshine, make_wav2vec2, make_wav2vec2_layer, make_whisper

from mmedge.build import golden
from mmedge.families.speech import Options
from mmedge.families.speech.export import export
from mmedge.families.speech.session import Session
from mmedge.families.speech.whisper.checkpoint import read_checkpoint
from mmedge.processors.wav import write_wav
from mmedge.runner import Copied
from mmedge.tensors import TensorSpec

MAKERS = {"whisper": make_whisper, "moonshine": make_moonshine, "wav2vec2": make_wav2vec2, "wav2vec2_layer": make_wav2vec2_layer, "hubert": make_hubert}


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    """Kind -> a small checkpoint of it, which is not to be changed."""
    torch.set_num_threads(1)
    made = {}

    def folder(kind, complete=True):
        if (kind, complete) not in made:
            made[kind, complete] = tmp_path_factory.mktemp(kind)
            MAKERS[kind](made[kind, complete], complete)
        return made[kind, complete]

    return folder


@pytest.fixture(scope="session")
def folder(folders):
    """A random Whisper of two layers in transformers' form. Its weights are spread widely: five sounds give five texts."""
    return folders("whisper")


@pytest.fixture(scope="session")
def checkpoint(folder):
    return read_checkpoint(folder, Options(windows_s=(WINDOW_S,)))


@pytest.fixture(scope="session")
def sounds():
    """Five seconds-long sounds that differ."""
    rng = np.random.default_rng(3)
    at = np.arange(16_000) / 16_000
    tones = [sum(np.sin(2 * np.pi * hz * at * (1 + 0.2 * at)) for hz in rng.uniform(100, 4_000, 4)) / 4 for _ in range(5)]
    return [(0.3 * tone * np.abs(np.sin(np.pi * (index + 2) * at)) + 0.01 * rng.standard_normal(16_000)).astype(np.float32) for index, tone in enumerate(tones)]


@pytest.fixture
def media(tmp_path, sounds):
    """Golden media of the right names; the real ones need a model that knows speech."""
    for name, samples in zip(("question", "remark"), sounds):
        write_wav(tmp_path / f"{name}.wav", samples, 16_000)
    return {name: tmp_path / f"{name}.wav" for name in ("question", "remark")}


class TorchRunner:
    """An exported module as a runner, so that what is under test is the session and the module, not a runtime."""

    reuses_outputs = False

    def __init__(self, graph):
        self.graph, self.module = graph, graph.module
        self.inputs = tuple(
            TensorSpec(name, str(tensor.dtype).removeprefix("torch."), tuple(axes.get(axis, size) for axis, size in enumerate(tensor.shape)))
            for name, tensor in graph.inputs.items()
            for axes in [graph.dynamic.get(name, {})]
        )
        self.outputs = tuple(TensorSpec(name, "float32", ()) for name in graph.outputs)

    def run(self, feeds):
        with torch.no_grad():
            results = self.module(*(torch.from_numpy(np.ascontiguousarray(feeds[spec.name])) for spec in self.inputs))
        return {spec.name: result.numpy() for spec, result in zip(self.outputs, results if isinstance(results, tuple) else (results,))}

    def carry(self, pairs, start):
        return Copied(self, pairs, start)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass


@pytest.fixture(scope="session")
def written(tmp_path_factory):
    """The assets of an export as files."""

    def written(exported):
        folder = tmp_path_factory.mktemp("assets")
        for name, content in exported.assets.items():
            (folder / name).write_bytes(content)
        return {name: folder / name for name in exported.assets}

    return written


@pytest.fixture(scope="session")
def laid_out(folders, written):
    """Kind -> (export of the small checkpoint, its assets as files); the modules are shared: put back what you change."""
    made = {}

    def laid_out(kind):
        if kind not in made:
            exported = export(folders(kind), Options(), golden.media())
            made[kind] = exported, written(exported)
        return made[kind]

    return laid_out


@pytest.fixture
def torch_session(laid_out):
    """Kind -> a session over the export's own modules, and their runners; ``scatter`` asks for the fixed form of the cache."""

    def make(kind, scatter=None):
        exported, assets = laid_out(kind)
        graphs = {name: graph.fixed(scatter) if scatter and graph.fixed else graph for name, graph in exported.graphs.items()}
        runners = {name: TorchRunner(graph) for name, graph in graphs.items()}
        return Session(runners, assets, exported.config), runners

    return make


def _text(text):
    return struct.pack("<H", len(text) + 1) + text.encode() + b"\0"


KINDS = {"float32": 0, "int8": 1, "int16": 2, "int32": 3, "float16": 4}


def _variable(name, array):
    array = np.asarray(array)
    head = _text(name) + struct.pack("<B", array.ndim) + struct.pack(f"<{array.ndim}I", *array.shape)
    return head + struct.pack("<BI", KINDS[array.dtype.name], array.nbytes) + array.tobytes()


@pytest.fixture(scope="session")
def ctranslate2_bytes():
    """Writes variables as CTranslate2's converter does."""

    def write(variables, aliases=(), spec="WhisperSpec", version=6):
        body = b"".join(_variable(name, array) for name, array in variables.items())
        tail = struct.pack("<I", len(aliases)) + b"".join(_text(alias) + _text(name) for alias, name in aliases)
        return struct.pack("<I", version) + _text(spec) + struct.pack("<II", 3, len(variables)) + body + tail

    return write


@pytest.fixture(scope="session")
def ctranslate2_variables(checkpoint):
    """The random model's weights as CTranslate2 names and fuses them (ctranslate2/converters/transformers.py)."""
    state = {name: value.numpy() for name, value in checkpoint.model.state_dict().items()}
    found = {}

    def linear(key, *names):
        found[f"{key}/weight"] = np.concatenate([state[f"{name}.weight"] for name in names])
        width = state[f"{names[0]}.weight"].shape[0]
        found[f"{key}/bias"] = np.concatenate([state.get(f"{name}.bias", np.zeros(width, np.float32)) for name in names])

    def norm(key, name):
        found[f"{key}/gamma"], found[f"{key}/beta"] = state[f"{name}.weight"], state[f"{name}.bias"]

    for conv in ("conv1", "conv2"):
        linear(f"encoder/{conv}", f"model.encoder.{conv}")
    found["decoder/embeddings/weight"] = state["model.decoder.embed_tokens.weight"]
    for side in ("encoder", "decoder"):
        found[f"{side}/num_heads"] = np.asarray(2, np.int16)
        found[f"{side}/position_encodings/encodings"] = state[f"model.{side}.embed_positions.weight"]
        norm(f"{side}/layer_norm", f"model.{side}.layer_norm")
        for index in range(2):
            key, name = f"{side}/layer_{index}", f"model.{side}.layers.{index}"
            norm(f"{key}/self_attention/layer_norm", f"{name}.self_attn_layer_norm")
            linear(f"{key}/self_attention/linear_0", *(f"{name}.self_attn.{part}_proj" for part in "qkv"))
            linear(f"{key}/self_attention/linear_1", f"{name}.self_attn.out_proj")
            if side == "decoder":
                norm(f"{key}/attention/layer_norm", f"{name}.encoder_attn_layer_norm")
                linear(f"{key}/attention/linear_0", f"{name}.encoder_attn.q_proj")
                linear(f"{key}/attention/linear_1", *(f"{name}.encoder_attn.{part}_proj" for part in "kv"))
                linear(f"{key}/attention/linear_2", f"{name}.encoder_attn.out_proj")
            norm(f"{key}/ffn/layer_norm", f"{name}.final_layer_norm")
            linear(f"{key}/ffn/linear_0", f"{name}.fc1")
            linear(f"{key}/ffn/linear_1", f"{name}.fc2")
    return found
