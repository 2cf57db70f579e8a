"""Engines are found again only under exactly what they are bound to."""

from __future__ import annotations

import dataclasses
import errno
import json
import os

import numpy as np
import pytest
from backends.tensorrt import stand_in_builder
from onnx import helper, numpy_helper
from small_graph import graph

from mmedge import cache
from mmedge.backends.tensorrt import device, store, trtexec, versions
from mmedge.errors import MmedgeError
from mmedge.runner import Candidate
from mmedge.target import Target

KEY = {
    "flavour": "tensorrt",
    "tensorrt": "10.3.0",
    "compute_capability": "8.7",
    "l4t": "36.4.3",
    "cuda": "12.6",
    "sha256": "a" * 64,
    "weights": "none",
    "shapes": "x=1:2:4",
    "options": "fp16 asked=1 workspace_mb=1024 trtexec=False",
}
ENGINE = bytes(range(256)) * 100


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("MMEDGE_CACHE", str(tmp_path / "cache"))


def files(tmp_path):
    return sorted(path.name for path in (tmp_path / "cache" / "engines").iterdir())


def test_what_is_kept_is_found(tmp_path):
    assert store.find(KEY) is None
    kept = store.keep(KEY, ENGINE)
    assert kept.read_bytes() == ENGINE
    assert store.find(KEY) == kept
    assert store.find(dict(reversed(KEY.items()))) == kept
    assert len(files(tmp_path)) == 2


def test_a_file_and_a_buffer_are_kept_alike(tmp_path):
    (tmp_path / "engine").write_bytes(ENGINE)
    store.keep(KEY, tmp_path / "engine")
    assert store.find(KEY).read_bytes() == ENGINE
    store.keep(KEY, memoryview(ENGINE[:1000]).cast("b"))
    assert store.find(KEY).read_bytes() == ENGINE[:1000]
    assert (tmp_path / "engine").read_bytes() == ENGINE


@pytest.mark.parametrize("name", KEY)
def test_any_difference_is_another_engine(name):
    store.keep(KEY, ENGINE)
    assert store.find({**KEY, name: KEY[name] + "1"}) is None
    assert store.find({one: value for one, value in KEY.items() if one != name}) is None


def test_an_entry_that_tells_another_key_is_not_loaded():
    """Such as one that was renamed by hand, or whose key is only the same in short."""
    path = store.keep(KEY, ENGINE).with_suffix(".json")
    entry = json.loads(path.read_text())
    entry["key"]["compute_capability"] = "11.0"
    path.write_text(json.dumps(entry))
    assert store.find(KEY) is None


@pytest.mark.parametrize("damage", ["cut", "changed", "gone", "entry"])
def test_a_damaged_engine_is_thrown_away(tmp_path, damage):
    plan = store.keep(KEY, ENGINE)
    if damage == "cut":
        plan.write_bytes(ENGINE[:-1])
    elif damage == "changed":
        plan.write_bytes(ENGINE[:-1] + b"!")
    elif damage == "gone":
        plan.unlink()
    else:
        plan.with_suffix(".json").write_text("{")
    assert store.find(KEY) is None
    assert files(tmp_path) == []
    assert store.keep(KEY, ENGINE) == store.find(KEY)


def test_a_full_disk_leaves_nothing(monkeypatch, tmp_path):
    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(MmedgeError, match="no space left on the disk of the cache") as caught:
        store.keep(KEY, ENGINE)
    assert "MMEDGE_CACHE" in caught.value.fix
    assert files(tmp_path) == []
    assert store.find(KEY) is None


def test_a_full_disk_keeps_what_was_there(monkeypatch):
    store.keep(KEY, ENGINE)

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(MmedgeError, match="no space left"):
            store.keep(KEY, b"newer")
    assert store.find(KEY).read_bytes() == ENGINE


def test_a_killed_writer_leaves_nothing_that_is_found(monkeypatch):
    """Between the engine and what tells of it."""
    monkeypatch.setattr(store, "replace_file", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        store.keep(KEY, ENGINE)
    assert store.find(KEY) is None


def kept(name, seconds, size_bytes=1000):
    """An engine that was last asked for then."""
    found = {**KEY, "sha256": name}
    os.utime(store.keep(found, bytes(size_bytes)).with_suffix(".json"), (seconds, seconds))
    return found


def left(*keys):
    """What was removed by hand is not found either: looked for by its file, since a search counts as use."""
    folder = store.timing_cache(KEY).parent
    return [key["sha256"] for key in keys if (folder / store.lock(key).replace("engine ", "")).with_suffix(".plan").exists()]


def test_engines_keep_to_their_limit_and_those_longest_unused_go_first(monkeypatch):
    monkeypatch.setattr(store, "LIMIT_BYTES", 3000)
    keys = [kept(name, seconds) for name, seconds in (("a", 100), ("b", 300), ("c", 200))]
    assert left(*keys) == ["a", "b", "c"]
    assert store.find(keys[0])  # asked for now
    keys.append(kept("d", 400))
    assert left(*keys) == ["a", "b", "d"]
    keys.append(kept("e", 500, size_bytes=2500))
    assert left(*keys) == ["e"], "two of them would fit only beside a smaller one"
    assert store.find(keys[-1]) and not store.find(keys[0])


def test_an_engine_that_is_larger_than_the_limit_is_kept_while_it_is_the_newest(monkeypatch):
    monkeypatch.setattr(store, "LIMIT_BYTES", 10)
    one = kept("a", 100)
    assert left(one) == ["a"]
    assert left(kept("b", 200), one) == ["b"]


def test_an_engine_that_is_handed_out_stays(monkeypatch):
    monkeypatch.setattr(store, "LIMIT_BYTES", 1000)
    one = kept("a", 100)
    with cache.locked(store.lock(one)):
        other = kept("b", 200)
        assert left(one, other) == ["a", "b"]
    assert left(kept("c", 300), one, other) == ["c"]


def test_another_users_engine_is_taken_though_its_time_cannot_be_set(monkeypatch):
    one = kept("a", 100)

    def refuse(*_, **__):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "utime", refuse)
    assert store.find(one) and left(one) == ["a"]


def test_what_a_killed_writer_left_goes_too(monkeypatch, tmp_path):
    monkeypatch.setattr(store, "LIMIT_BYTES", 1500)
    one = kept("a", 100)
    (tmp_path / "cache" / "engines" / "half.plan").write_bytes(bytes(1000))
    other = kept("b", 200, size_bytes=100)
    assert left(one, other) == ["a", "b"] and not (tmp_path / "cache" / "engines" / "half.plan").exists()


def test_measurements_are_shared_by_the_graphs_of_one_device(tmp_path):
    same = store.timing_cache(KEY)
    assert same == store.timing_cache({**KEY, "sha256": "b" * 64, "weights": "c" * 64, "shapes": "x=1:1:1"})
    assert same.parent.is_dir()
    others = {store.timing_cache({**KEY, name: KEY[name] + "1"}) for name in ("tensorrt", "compute_capability", "l4t", "cuda", "options")}
    assert len(others | {same}) == 6


@pytest.fixture
def board(monkeypatch):
    """A stand-in for a board: TensorRT 10.3, an Orin, L4T 36.4.3, CUDA 12.6."""
    stand_in_builder.install(monkeypatch, "10.3.0")
    monkeypatch.setattr(device, "compute_capability", lambda: "8.7")
    monkeypatch.setattr(device, "cuda_version", lambda: "12.6")
    monkeypatch.setattr(versions, "l4t", lambda: "36.4.3")


@pytest.fixture
def candidate(tmp_path):
    return Candidate(graph(tmp_path / "root.onnx", helper.make_node("Sqrt", ["x"], ["y"])), "fp32")


def target(**changes):
    return Target(name="board", summary="", backends=("tensorrt",), max_opset=18, max_ir=10, memory_mb=4096).model_copy(update=changes)


def test_a_key_is_everything_that_an_engine_is_bound_to(board, candidate):
    assert store.key(candidate, target()) == {
        **KEY,
        "sha256": candidate.graph.sha256,
        "options": "fp32 asked=1 workspace_mb=1024 trtexec=False",
    }


def test_a_key_differs_wherever_the_board_the_graph_or_the_options_do(board, candidate, monkeypatch, tmp_path):
    keys = [store.key(candidate, target())]
    keys.append(store.key(candidate, target(memory_mb=8192)))
    keys.append(store.key(candidate, target(memory_mb=None)))
    keys.append(store.key(dataclasses.replace(candidate, precision="fp16"), target()))
    keys.append(store.key(dataclasses.replace(candidate, options={"level": 5}), target()))
    monkeypatch.setattr(trtexec, "version", lambda: "10.3.0")
    keys.append(store.key(candidate, target(options={"tensorrt": {"trtexec": True}})))
    keys.append(store.key(dataclasses.replace(candidate, graph=dataclasses.replace(candidate.graph, ranges={"n": (1, 2, 8)})), target()))
    monkeypatch.setattr(device, "compute_capability", lambda: "11.0")
    keys.append(store.key(candidate, target()))
    monkeypatch.setattr(device, "cuda_version", lambda: "13.0")
    keys.append(store.key(candidate, target()))
    monkeypatch.setattr(versions, "l4t", lambda: None)
    keys.append(store.key(candidate, target()))
    stand_in_builder.install(monkeypatch, "10.16.2")
    keys.append(store.key(candidate, target()))
    assert len({json.dumps(one, sort_keys=True) for one in keys}) == len(keys)


def test_a_weights_file_is_part_of_the_key(board, tmp_path):
    """The ONNX file itself stays the same when only the weights beside it change."""
    weights = numpy_helper.from_array(np.ones((4, 4), np.float32), "w")
    sides = {"inputs": {"x": ("float32", ("n", 4))}, "outputs": {"y": ("float32", ("n", 4))}}
    made = graph(tmp_path / "a.onnx", helper.make_node("MatMul", ["x", "w"], ["y"]), constants=[weights], external=True, **sides)
    before = store.key(Candidate(made, "fp32"), target())
    made.weights.write_bytes(made.weights.read_bytes()[::-1])
    os.utime(made.weights, ns=(0, 0))
    after = store.key(Candidate(made, "fp32"), target())
    assert before["sha256"] == after["sha256"]
    assert before["weights"] != after["weights"] != "none"
    known = dataclasses.replace(made, weights_sha256="e" * 64)
    assert store.key(Candidate(known, "fp32"), target())["weights"] == "e" * 64


def test_without_a_gpu_a_key_needs_a_capability(monkeypatch, candidate):
    def none():
        raise MmedgeError("there is no driver", "install it")

    stand_in_builder.install(monkeypatch, "10.3.0")
    monkeypatch.setattr(device, "compute_capability", none)
    monkeypatch.setattr(device, "cuda_version", none)
    with pytest.raises(MmedgeError, match="there is no driver"):
        store.key(candidate, target())
    found = store.key(candidate, target(), "8.6")
    assert (found["compute_capability"], found["cuda"]) == ("8.6", "none")


@pytest.mark.parametrize(
    ("what", "made", "words"),
    [
        ("l4t", "36.5.0", "was built under Jetson Linux 36.5.0, and here is 36.4.3"),
        ("l4t", "none", "was built under Jetson Linux none, and here is 36.4.3"),
        ("cuda", "12.9", "was built under CUDA 12.9, and here is 12.6"),
        ("compute_capability", "11.0", "was built under compute capability 11.0, and here is 8.7"),
        ("tensorrt", "10.3.1", "was built under TensorRT 10.3.1, and here is 10.3.0"),
    ],
)
def test_an_engine_of_another_machine_is_not_opened(board, what, made, words):
    with pytest.raises(MmedgeError, match=words) as refused:
        store.hold_to({**KEY, what: made}, "eyes.plan", target())
    assert refused.value.fix.endswith("build it again here: mmedge compile BUNDLE")


@pytest.mark.parametrize("key", [KEY, {**KEY, "tensorrt": "10.3.0.30"}, {}], ids=["the same", "told to the last number", "not told"])
def test_an_engine_of_this_machine_is_opened(board, key):
    store.hold_to(key, "eyes.plan", target())
