"""Which calls standard TensorRT gets by its version, and what is made of its answers: over a stand-in for its builder."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from backends.tensorrt import stand_in_builder

from mmedge.backends.tensorrt.build import build, profile_shapes, typings
from mmedge.backends.tensorrt.versions import TENSORRT, row_for
from mmedge.errors import MmedgeError

LADDER = [
    ("10.0.1", "fp16", "HALF", [(True, [])]),
    ("10.3.0", "fp16", "HALF", [(True, []), (False, ["FP16"])]),
    ("10.11.0", "int8", "INT8", [(True, []), (False, ["FP16", "INT8"])]),
    ("10.3.0", "bf16", "BF16", [(True, []), (False, ["BF16"])]),
    ("10.3.0", "fp32", "FLOAT", [(False, [])]),
    ("10.12.0", "fp16", "HALF", [(True, [])]),
    ("10.13.3", "int8", "INT8", [(True, [])]),
    ("10.16.2", "fp32", "FLOAT", [(True, [])]),
    ("11.4.0", "fp16", "HALF", [(False, [])]),
    ("11.4.1", "int8", "INT8", [(False, [])]),
    ("11.5.0", "fp32", "FLOAT", [(False, [])]),
    ("12.1.0", "fp16", "HALF", [(True, [])]),
]
"""Version, precision, what the graph is in, and what the builder is asked: strongly typed or not, weak flags."""


@pytest.mark.parametrize(("version", "precision", "kind", "asked"), LADDER, ids=[f"{row[0]}-{row[1]}" for row in LADDER])
def test_how_a_precision_is_asked_for_by_version(monkeypatch, root, version, precision, kind, asked):
    """The first way succeeds, or fails where there is a second."""
    calls = stand_in_builder.install(monkeypatch, version, layers=[kind], engines=[*[None] * (len(asked) - 1), b"engine"])
    made = build(root, precision, flavour="tensorrt", shapes=profile_shapes(root), workspace_mb=1024)
    tf32 = [] if precision == "fp32" else ["TF32"]
    assert [(one.strongly, one.flags) for one in calls.builds] == [(strongly, sorted([*flags, *tf32])) for strongly, flags in asked]
    assert {one.workspace for one in calls.builds} == {1 << 30}
    assert all(one.profiles == [{"x": ((1,), (2,), (4,))}] for one in calls.builds)
    assert {one.verbosity.name for one in calls.builds} == {"DETAILED"}
    assert bytes(made.engine) == b"engine"
    assert made.log == ("a warning of the builder",)


def test_every_row_of_the_table_is_tried():
    tried = [row_for(version) for version, *_ in LADDER]
    assert [row.low for row in TENSORRT if row not in tried] == []


@pytest.mark.parametrize("row", TENSORRT, ids=lambda row: row.low)
@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16", "int8", "int4"])
def test_strong_and_weak_typing_are_never_mixed(row, precision):
    for typing in typings(row.rule, precision):
        assert not (typing.strongly and typing.flags)
        assert not (typing.flags and row.rule != "strong-or-weak")


def test_both_ways_fail(monkeypatch, root):
    stand_in_builder.install(monkeypatch, "10.3.0", layers=["HALF"], engines=[None, None])
    said = r"TensorRT 10\.3\.0 builds no engine of root\.onnx: strongly typed: .*Could not find any implementation.*; weakly typed with FP16: Error"
    with pytest.raises(MmedgeError, match=said):
        build(root, "fp16", flavour="tensorrt", shapes=profile_shapes(root))


def test_a_precision_that_this_version_has_not(monkeypatch, root):
    """A builder that knows no INT4."""
    stand_in_builder.install(monkeypatch, "10.3.0", layers=["INT4"], engines=[None, b"engine"], weak=("FP16", "INT8"))
    with pytest.raises(MmedgeError, match=r"TensorRT 10\.3\.0 has no int4: its builder knows no INT4"):
        build(root, "int4", flavour="tensorrt", shapes=profile_shapes(root))


def test_the_builder_breaks(monkeypatch, root):
    """What its thread raises arrives here."""
    stand_in_builder.install(monkeypatch, "10.13.3", engines=[MemoryError("std::bad_alloc")])
    with pytest.raises(MemoryError, match="std::bad_alloc"):
        build(root, "fp32", flavour="tensorrt", shapes=profile_shapes(root))


def test_progress_is_told_in_the_callers_thread(monkeypatch, root):
    """One that waits at every step until its caller was told."""
    calls = stand_in_builder.install(monkeypatch, "10.13.3")
    calls.steps = 4
    told, threads = [], set()
    seen = threading.Semaphore(0)
    calls.before_step = lambda step: seen.acquire(timeout=10)

    def progress(phase, done):
        told.append((phase, done))
        threads.add(threading.current_thread())
        seen.release()

    build(root, "fp32", flavour="tensorrt", shapes=profile_shapes(root), progress=progress)
    assert told[0] == ("Building engine", 0.0)
    assert [done for _, done in told] == sorted(done for _, done in told)
    assert len({done for _, done in told}) > 2
    assert threads == {threading.main_thread()}


NOISY = """
import ctypes, os, sys
from pathlib import Path
import pytest
from backends.tensorrt import stand_in_builder
from mmedge.backends.tensorrt.build import build
from mmedge.runner import Graph
from mmedge.tensors import TensorSpec

with pytest.MonkeyPatch.context() as patched:
    calls = stand_in_builder.install(patched, "10.13.3")
    calls.before_step = lambda step: (ctypes.CDLL(None).puts(b"by C"), os.write(1, b"at once\\n"))
    print("before")
    specs = [(TensorSpec(name, "float32", (1,)),) for name in "xy"]
    made = build(Graph(Path("none.onnx"), "", *specs), "fp32", flavour="tensorrt", shapes={})
    print("after", *sorted(made.log), sep="\\n")
"""


@pytest.mark.full
def test_what_the_builder_writes_by_itself_is_kept_aside(tmp_path):
    """One that writes as NVIDIA's compiler does; stdout and stderr are files, as C buffers them."""
    tests = Path(__file__).parents[2]
    with open(tmp_path / "out", "wb") as out, open(tmp_path / "err", "wb") as err:
        subprocess.run([sys.executable, "-c", NOISY], stdout=out, stderr=err, check=True, env={**os.environ, "PYTHONPATH": str(tests)})
    assert (tmp_path / "out").read_text().splitlines() == ["before", "after", "a warning of the builder", *["at once"] * 6, *["by C"] * 6]
    assert (tmp_path / "err").read_text() == ""


@pytest.mark.parametrize("error", [KeyboardInterrupt(), BrokenPipeError()])
def test_whatever_ends_the_caller_stops_the_builder(monkeypatch, root, error, tmp_path):
    """Ctrl-C, or a terminal that is gone."""
    calls = stand_in_builder.install(monkeypatch, "10.13.3")
    steps, told = [], threading.Event()
    calls.before_step = lambda step: (steps.append(step), step and told.wait(10))

    def progress(phase, done):
        told.set()
        raise error

    with pytest.raises(type(error)):
        build(root, "fp32", flavour="tensorrt", shapes=profile_shapes(root), timing_cache=tmp_path / "cache", progress=progress)
    assert len(steps) < calls.steps
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("before", [None, b"", b"measured", b"damaged", b"another device's"])
def test_what_was_measured_is_kept(monkeypatch, root, tmp_path, before):
    """What it cannot read, or what is another device's, is begun anew."""
    stand_in_builder.install(monkeypatch, "10.3.0")
    cache = tmp_path / "cache"
    if before is not None:
        cache.write_bytes(before)
    build(root, "fp32", flavour="tensorrt", shapes=profile_shapes(root), timing_cache=cache)
    assert cache.read_bytes() == (b"measured+measured" if before == b"measured" else b"+measured")
    assert list(tmp_path.glob(".*")) == []


def test_measurements_that_cannot_be_written_cost_no_engine(monkeypatch, root, tmp_path):
    stand_in_builder.install(monkeypatch, "10.3.0")
    made = build(root, "fp32", flavour="tensorrt", shapes=profile_shapes(root), timing_cache=tmp_path / "none" / "cache")
    assert bytes(made.engine) == b"engine"
