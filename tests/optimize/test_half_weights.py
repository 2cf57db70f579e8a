from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from small_graphs import relative, share, write

from mmedge.build.weights import rename
from mmedge.errors import MmedgeError
from mmedge.optimize import fp16
from mmedge.optimize.half_weights import HalfWeights
from mmedge.optimize.rounding import run

RANDOM = np.random.default_rng(0)


def normal(*shape):
    return RANDOM.standard_normal(shape).astype(np.float32)


def test_large_tensors_are_in_one_file_of_half_the_size(tmp_path):
    shared, folder = normal(128, 64), tmp_path / "made"
    folder.mkdir()
    paths = []
    for name, own in (("a", normal(64, 64)), ("b", normal(64, 96))):
        text = f"g (float[n, 128] x) => (float[n, {own.shape[1]}] y) {{ h = MatMul(x, shared)\n y = MatMul(h, own) }}"
        path = write(tmp_path / f"{name}.onnx", text, shared=shared, own=own)
        paths.append(path)
    share(paths, tmp_path / "weights.bin")
    weights = HalfWeights(paths)
    weights.write(folder / "half.bin")
    assert (folder / "half.bin").stat().st_size == weights.size_bytes
    assert weights.size_bytes <= (tmp_path / "weights.bin").stat().st_size / 2 + 4096
    for path in paths:
        fp16.half(path, folder / path.name, weights=HalfWeights(paths).at(folder / "half.bin"))
        assert (folder / path.name).stat().st_size < 2000
        feeds = {"x": normal(2, 128)}
        assert relative(run(folder / path.name, feeds)["y"], run(path, feeds)["y"]) < 2e-3


def test_what_stays_fp32_of_a_weights_file_moves_into_the_graph(tmp_path):
    text = "g (float[n, 512] x) => (float[n, 512] y) { [kept] h = MatMul(x, w)\n y = Add(h, b) }"
    path = write(tmp_path / "a.onnx", text, w=normal(512, 512), b=normal(512))
    feeds = {"x": normal(2, 512)}
    before = run(path, feeds)["y"]
    share([path], tmp_path / "weights.bin")
    (tmp_path / "alone").mkdir()
    os.link(tmp_path / "weights.bin", tmp_path / "alone" / "linked.bin")  # as in a folder that was copied by links
    half = HalfWeights([path]).at(tmp_path / "alone" / "half.bin")
    half.write(tmp_path / "alone" / "half.bin")
    fp16.half(path, tmp_path / "alone" / "half.onnx", keep_float=("kept",), weights=half)
    assert relative(run(tmp_path / "alone" / "half.onnx", feeds)["y"], before) < 2e-3


def test_weights_outside_of_the_folder_are_refused(tmp_path):
    (tmp_path / "in").mkdir()
    path = write(tmp_path / "in" / "a.onnx", "g (float[n, 64] x) => (float[n, 64] y) { y = MatMul(x, w) }", w=normal(64, 64))
    share([path], tmp_path / "in" / "weights.bin")
    (tmp_path / "in" / "weights.bin").rename(tmp_path / "weights.bin")
    rename(path, "../weights.bin")
    with pytest.raises(MmedgeError, match="lies outside of the folder"):
        fp16.half(path, tmp_path / "in" / "half.onnx")


def test_weights_that_are_too_short_are_refused(tmp_path):
    path = write(tmp_path / "a.onnx", "g (float[n, 64] x) => (float[n, 64] y) { y = MatMul(x, w) }", w=normal(64, 64))
    share([path], tmp_path / "weights.bin")
    os.truncate(tmp_path / "weights.bin", 100)
    with pytest.raises(MmedgeError, match="too short for w"):
        fp16.half(path, tmp_path / "half.onnx")


def test_a_full_disk_is_said_to_be_full(tmp_path):
    path = write(tmp_path / "a.onnx", "g (float[n, 512] x) => (float[n, 512] y) { y = MatMul(x, w) }", w=normal(512, 512))
    share([path], tmp_path / "weights.bin")
    with pytest.raises(OSError, match="No space left"):
        HalfWeights([path]).write(Path("/dev/full"))
