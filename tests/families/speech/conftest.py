from __future__ import annotations

import json
import struct

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import WhisperConfig, WhisperForConditionalGeneration

from mmedge.families.speech import Options
from mmedge.families.speech.checkpoint import read_checkpoint
from mmedge.families.speech.export import Decoder, Encoder, names
from mmedge.processors.wav import write_wav
from mmedge.tensors import TensorSpec

SPECIAL = ["<|endoftext|>", "<|startoftranscript|>", "<|en|>", "<|de|>", "<|transcribe|>", "<|nospeech|>", "<|notimestamps|>"]
WORDS = [f"word{index}" for index in range(120)]
WINDOW_S = 2


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """A random Whisper of two layers in transformers' form. Its weights are spread widely: five sounds give five texts."""
    path = tmp_path_factory.mktemp("whisper")
    torch.manual_seed(7)
    config = WhisperConfig(
        vocab_size=len(SPECIAL) + len(WORDS), d_model=32, encoder_layers=2, decoder_layers=2, encoder_attention_heads=2, decoder_attention_heads=2,
        encoder_ffn_dim=64, decoder_ffn_dim=64, max_source_positions=50 * WINDOW_S, max_target_positions=40, init_std=0.35,
        pad_token_id=0, bos_token_id=0, eos_token_id=0, decoder_start_token_id=1,
    )  # fmt: skip
    model = WhisperForConditionalGeneration(config).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "layer_norm" in name or name.endswith(".bias"):
                weight += 0.1 * torch.randn_like(weight)
    model.save_pretrained(path)
    (path / "generation_config.json").write_text(json.dumps({"suppress_tokens": [10, 11, 12], "begin_suppress_tokens": [20, 0], "is_multilingual": True}))
    tokenizer = Tokenizer(WordLevel({text: index for index, text in enumerate(SPECIAL + WORDS)}, unk_token="<|endoftext|>"))
    tokenizer.add_special_tokens(SPECIAL)
    tokenizer.save(str(path / "tokenizer.json"))
    return path


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
    """An export module as a runner, so that what is under test is the session and the module, not a runtime."""

    reuses_outputs = False

    def __init__(self, module, inputs, outputs):
        self.module = module
        self.inputs, self.outputs = (tuple(TensorSpec(name, "float32", ()) for name in side) for side in (inputs, outputs))

    def run(self, feeds):
        with torch.no_grad():
            results = self.module(*(torch.from_numpy(np.ascontiguousarray(feeds[spec.name])) for spec in self.inputs))
        return {spec.name: result.numpy() for spec, result in zip(self.outputs, results)}

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass


@pytest.fixture
def torch_runners(checkpoint):
    layers = checkpoint.config.layers
    return {
        "encoder": TorchRunner(Encoder(checkpoint.model).eval(), ["input_features"], names("cross", layers)),
        "decoder": TorchRunner(
            Decoder(checkpoint.model).eval(), ["input_ids", *names("past", layers), *names("cross", layers)], ["logits", *names("present", layers)]
        ),
    }


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
