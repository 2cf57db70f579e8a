"""The stand-in for a board, and graphs to run on it."""

from __future__ import annotations

import pytest
from backends.tensorrt import stand_in
from backends.tensorrt.small_engines import added
from backends.tensorrt.stand_in_trtexec import Program
from onnx import helper
from small_graph import graph


@pytest.fixture
def gpu(monkeypatch):
    return stand_in.install(monkeypatch)


@pytest.fixture
def fixed(tmp_path):
    return added(tmp_path / "fixed.onnx", [2, 3])


@pytest.fixture
def dynamic(tmp_path):
    return added(tmp_path / "dynamic.onnx", [1, "tokens"])


@pytest.fixture
def root(tmp_path):
    return graph(tmp_path / "root.onnx", helper.make_node("Sqrt", ["x"], ["y"], name="root"))


@pytest.fixture
def program(tmp_path, monkeypatch):
    (tmp_path / "bin").mkdir()
    return Program(tmp_path / "bin", monkeypatch)
