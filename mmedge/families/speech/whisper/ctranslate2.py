"""Whisper weights from a CTranslate2 folder, as faster-whisper uses them, under the names of transformers.

Format: CTranslate2's own binary (OpenNMT/CTranslate2, python/ctranslate2/specs/model_spec.py, version 6), little-endian: version, name of the specification,
its revision; a count and, for each variable, name, rank, sizes, element type, bytes; then a count of aliases.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmedge.errors import MmedgeError

VERSION = 6
DTYPES = {0: "<f4", 1: "i1", 2: "<i2", 3: "<i4", 4: "<f2", 5: "bfloat16"}
MAX_VARIABLES, MAX_RANK = 100_000, 8

Weights = dict[str, NDArray[Any]]


class _Bytes:
    """A cursor that never reads past the end."""

    def __init__(self, data: bytes, path: Path) -> None:
        self._data, self._at, self._path = data, 0, path

    def take(self, size: int) -> bytes:
        if self._at + size > len(self._data):
            raise damaged(self._path, f"it ends {self._at + size - len(self._data)} bytes too early")
        piece = self._data[self._at : self._at + size]
        self._at += size
        return piece

    def number(self, form: str) -> int:
        (value,) = struct.unpack("<" + form, self.take(struct.calcsize("<" + form)))
        return int(value)

    def text(self) -> str:
        try:
            return self.take(self.number("H")).rstrip(b"\0").decode()
        except UnicodeDecodeError as error:
            raise damaged(self._path, "a name in it is not text") from error

    @property
    def left(self) -> int:
        return len(self._data) - self._at


def damaged(path: Path, why: str) -> MmedgeError:
    return MmedgeError(f"{path} is a damaged CTranslate2 model: {why}", "get the file again")


def read_variables(path: Path) -> tuple[str, Weights]:
    """Every variable of a ``model.bin``, aliases included.

    Returns:
        The name of the specification (``WhisperSpec``) and name -> array; float16 and bfloat16 are widened to float32.

    Raises:
        MmedgeError: not such a file, another version of the format, or damaged.
    """
    data = _Bytes(path.read_bytes(), path)
    version = data.number("I")
    if version != VERSION:
        raise MmedgeError(f"{path} is no CTranslate2 model of format {VERSION} (it begins with {version})", "convert the model again with CTranslate2 4")
    name = data.text()
    data.number("I")  # the revision of the specification: only what it holds matters
    count = data.number("I")
    if count > MAX_VARIABLES:
        raise damaged(path, f"it claims {count} variables")
    variables: Weights = {}
    for _ in range(count):
        key = data.text()
        variables[key] = _variable(data, key, path)
    for _ in range(data.number("I")):
        alias, key = data.text(), data.text()
        if key not in variables:
            raise damaged(path, f"{alias} stands for {key}, which it lacks")
        variables[alias] = variables[key]
    if data.left:
        raise damaged(path, f"{data.left} bytes are left over at its end")
    return name, variables


def _variable(data: _Bytes, key: str, path: Path) -> NDArray[Any]:
    rank = data.number("B")
    if rank > MAX_RANK:
        raise damaged(path, f"{key} claims {rank} dimensions")
    shape = tuple(data.number("I") for _ in range(rank))
    kind, size = data.number("B"), data.number("I")
    if kind not in DTYPES:
        raise damaged(path, f"{key} has element type {kind}")
    raw = data.take(size)
    wide = DTYPES[kind] == "bfloat16"
    dtype = np.dtype("<u2" if wide else DTYPES[kind])
    count = 1
    for extent in shape:
        count *= extent  # Python's integers: a damaged shape must not overflow
    if count * dtype.itemsize != size:
        raise damaged(path, f"{key} holds {size} bytes, its shape needs {count * dtype.itemsize}")
    array = np.frombuffer(raw, dtype).reshape(shape)
    if wide:
        return (array.astype(np.uint32) << 16).view(np.float32).reshape(shape)
    return array.astype(np.float32) if dtype == np.dtype("<f2") else array


def whisper_weights(path: Path) -> tuple[Weights, dict[str, int]]:
    """Read a Whisper ``model.bin``.

    Returns:
        float32 weights under the names of transformers' WhisperForConditionalGeneration, and the sizes for its configuration.

    Raises:
        MmedgeError: not a Whisper model, damaged, or incomplete.
    """
    name, found = read_variables(path)
    if name != "WhisperSpec":
        raise MmedgeError(f"{path} is a CTranslate2 model of kind {name}, not Whisper", "name a folder that faster-whisper can use")
    weights: Weights = {}
    try:
        layers = {side: sum(key.startswith(f"{side}/layer_") and key.endswith("/ffn/linear_0/bias") for key in found) for side in ("encoder", "decoder")}
        for conv in ("conv1", "conv2"):
            weights[f"model.encoder.{conv}.weight"] = _weight(found, f"encoder/{conv}")
            weights[f"model.encoder.{conv}.bias"] = found[f"encoder/{conv}/bias"]
        weights["model.decoder.embed_tokens.weight"] = weights["proj_out.weight"] = _weight(found, "decoder/embeddings")
        for side in ("encoder", "decoder"):
            weights[f"model.{side}.embed_positions.weight"] = found[f"{side}/position_encodings/encodings"]
            _norm(weights, f"model.{side}.layer_norm", found, f"{side}/layer_norm")
            for index in range(layers[side]):
                _layer(weights, f"model.{side}.layers.{index}", found, f"{side}/layer_{index}", cross=side == "decoder")
        sizes = {
            "vocab_size": found["decoder/embeddings/weight"].shape[0],
            "d_model": found["decoder/embeddings/weight"].shape[1],
            "num_mel_bins": found["encoder/conv1/weight"].shape[1],
            "max_source_positions": found["encoder/position_encodings/encodings"].shape[0],
            "max_target_positions": found["decoder/position_encodings/encodings"].shape[0],
            "encoder_layers": layers["encoder"],
            "decoder_layers": layers["decoder"],
            "encoder_attention_heads": int(found["encoder/num_heads"]),
            "decoder_attention_heads": int(found["decoder/num_heads"]),
            "encoder_ffn_dim": found["encoder/layer_0/ffn/linear_0/weight"].shape[0],
            "decoder_ffn_dim": found["decoder/layer_0/ffn/linear_0/weight"].shape[0],
        }
    except (KeyError, IndexError, ValueError) as error:
        raise damaged(path, f"it is not a whole Whisper model ({error})") from error
    return {key: np.array(value, np.float32) for key, value in weights.items()}, sizes


def _weight(found: Weights, key: str) -> NDArray[Any]:
    """A matrix; int8 and int16 are stored with a factor per row (or one for all), value = stored / factor."""
    matrix = found[f"{key}/weight"]
    if matrix.dtype.kind != "i":
        return matrix
    scale = np.asarray(found[f"{key}/weight_scale"], np.float32)
    return matrix / scale.reshape(scale.shape + (1,) * (matrix.ndim - scale.ndim))


def _norm(weights: Weights, ours: str, found: Weights, key: str) -> None:
    weights[f"{ours}.weight"], weights[f"{ours}.bias"] = found[f"{key}/gamma"], found[f"{key}/beta"]


def _linear(weights: Weights, names: list[str], found: Weights, key: str) -> None:
    """One stored matrix, split into equal parts for ``names``."""
    parts = zip(names, np.split(_weight(found, key), len(names)), np.split(found[f"{key}/bias"], len(names)))
    for name, weight, bias in parts:
        weights[f"{name}.weight"] = weight
        if name.endswith(".k_proj"):
            if bias.any():
                raise ValueError(f"{key} has a bias for keys")
        else:
            weights[f"{name}.bias"] = bias


def _layer(weights: Weights, ours: str, found: Weights, key: str, *, cross: bool) -> None:
    _norm(weights, f"{ours}.self_attn_layer_norm", found, f"{key}/self_attention/layer_norm")
    _linear(weights, [f"{ours}.self_attn.{part}_proj" for part in "qkv"], found, f"{key}/self_attention/linear_0")
    _linear(weights, [f"{ours}.self_attn.out_proj"], found, f"{key}/self_attention/linear_1")
    if cross:
        _norm(weights, f"{ours}.encoder_attn_layer_norm", found, f"{key}/attention/layer_norm")
        _linear(weights, [f"{ours}.encoder_attn.q_proj"], found, f"{key}/attention/linear_0")
        _linear(weights, [f"{ours}.encoder_attn.{part}_proj" for part in "kv"], found, f"{key}/attention/linear_1")
        _linear(weights, [f"{ours}.encoder_attn.out_proj"], found, f"{key}/attention/linear_2")
    _norm(weights, f"{ours}.final_layer_norm", found, f"{key}/ffn/layer_norm")
    _linear(weights, [f"{ours}.fc1"], found, f"{key}/ffn/linear_0")
    _linear(weights, [f"{ours}.fc2"], found, f"{key}/ffn/linear_1")
