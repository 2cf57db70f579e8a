"""``mmedge compile --trtexec``, by a program that stands in for it."""

from __future__ import annotations

import json
import sys

import pytest
from backends.tensorrt import stand_in
from backends.tensorrt.test_inspector import layer

BOARD = """
schema = "mmedge.target/1"
name = "board"
summary = "a board with trtexec, and without TensorRT's Python module"
backends = ["tensorrt"]
max_opset = 18
max_ir = 10
[precisions]
tensorrt = ["fp32"]
"""


@pytest.fixture
def board(tmp_path, monkeypatch, program):
    """CUDA is stood in for; TensorRT's module is missing."""
    gpu = stand_in.install(monkeypatch)
    for name in ("tensorrt", "tensorrt_rtx_bindings", "tensorrt_rtx_libs"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setenv("MMEDGE_CACHE", str(tmp_path / "cache"))
    program.behaves(layers=[layer("g", "gemm", ["Float"], ["Float"])])
    path = tmp_path / "board.toml"
    path.write_text(BOARD)
    yield str(path)
    assert gpu.left() == []


@pytest.mark.full
def test_compile_builds_through_it_and_says_that_nothing_was_opened(mmedge, board, program, toy_bundle):
    for _ in range(2):
        status, out, _ = mmedge("compile", str(toy_bundle), "--target", board, "--trtexec", "--json")
        assert status == 0
    (placed,) = {name: one for name, one in json.loads(out)["engines"]["board"].items() if name == "eyes/image_encoder"}.values()
    assert (placed["state"], placed["backend"], placed["precision"]) == ("built", "tensorrt", "fp32")
    assert "never opened: TensorRT's Python module is missing here" in placed["reason"]
    assert placed["evidence"] == [{"kind": "built", "on": "trtexec of TensorRT 10.3.0 for compute capability 8.7", "note": ""}]
    assert (toy_bundle / placed["file"]["path"]).read_bytes() == b"an engine"
    assert len(program.asked()) == len({tuple(asked[:1]) for asked in program.asked()})  # the second time every engine was there


@pytest.mark.full
def test_compile_through_it_that_fails_changes_nothing(refused, board, program, toy_bundle):
    before = {path: path.read_bytes() for path in toy_bundle.rglob("*") if path.is_file()}
    program.behaves(end="killed")
    what, _ = refused("compile", str(toy_bundle), "--target", board, "--trtexec")
    assert "it was killed by SIGKILL: most likely too little memory" in what
    assert {path: path.read_bytes() for path in toy_bundle.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(("target", "words"), [("cpu", "and cpu has none"), ("rtx", "and rtx has none"), ("jetson", "and this machine is no jetson")])
def test_it_is_refused_where_there_is_nothing_to_build(refused, toy_bundle, target, words):
    what, _ = refused("compile", str(toy_bundle), "--target", target, "--trtexec")
    assert words in what
