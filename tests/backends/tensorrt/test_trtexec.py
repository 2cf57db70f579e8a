"""Building through ``trtexec``, by a program that stands in for it (stand_in_trtexec.py). The real one needs a GPU, and was never run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter

import pytest
from backends.tensorrt.test_inspector import layer

from mmedge.backends.tensorrt import flags, trtexec
from mmedge.backends.tensorrt.versions import TENSORRT
from mmedge.errors import MmedgeError
from mmedge.runner import Graph
from mmedge.tensors import TensorSpec

SHAPES = {"input_ids": ((1, 1), (1, 4), (1, 16)), "images": ((1, 3, 8, 8), (1, 3, 8, 8), (2, 3, 8, 8))}


@pytest.fixture
def graph(tmp_path):
    path = tmp_path / "graph with spaces.onnx"
    path.write_bytes(b"onnx")
    return Graph(path, "", (TensorSpec("input_ids", "int64", (1, "tokens")),), ())


@pytest.fixture
def out(tmp_path):
    (tmp_path / "out").mkdir()
    yield tmp_path / "out" / "graph.plan"
    assert {path.name for path in (tmp_path / "out").iterdir()} <= {"graph.plan", "timing"}


@pytest.mark.parametrize(
    ("banner", "said"),
    [
        ("[TensorRT v100300]", "10.3.0"),
        ("[TensorRT v101602] [b10]", "10.16.2.10"),
        ("[TensorRT v101303] [b9]", "10.13.3.9"),
        ("[TensorRT v110401]", "11.4.1"),
    ],
)
def test_it_knows_its_version_from_the_programs_first_line(program, banner, said):
    """As boards print them: 10.3 on JetPack 6, 10.16.2.10 on JetPack 7.2, 10.13.3.9 on 7.1."""
    program.behaves(banner=banner)
    assert trtexec.version() == said


def test_an_engine_is_built_with_the_flags_of_its_tensorrt(program, graph, out):
    made = trtexec.build(graph, "fp16", out, shapes=SHAPES, workspace_mb=1024)
    assert out.read_bytes() == b"an engine"
    assert (made.path, made.tensorrt, made.layers) == (out, "10.3.0", Counter(fp16=1))
    (asked,) = program.asked()
    assert asked[:7] == [
        f"--onnx={graph.path}",
        "--minShapes=input_ids:1x1,images:1x3x8x8",
        "--optShapes=input_ids:1x4,images:1x3x8x8",
        "--maxShapes=input_ids:1x16,images:2x3x8x8",
        "--memPoolSize=workspace:1024",
        "--profilingVerbosity=detailed",
        "--stronglyTyped",
    ]
    assert [argument.partition("=")[0] for argument in asked[7:]] == ["--timingCacheFile", "--exportLayerInfo", "--skipInference", "--saveEngine"]


@pytest.mark.parametrize(
    ("banner", "typing"), [("[TensorRT v101602] [b10]", ["--stronglyTyped"]), ("[TensorRT v110401]", []), ("[TensorRT v129900]", ["--stronglyTyped"])]
)
def test_newer_ones_are_asked_in_one_way_only(program, graph, out, banner, typing):
    """The last is a version that the table does not know."""
    program.behaves(banner=banner, takes=typing)
    trtexec.build(graph, "fp16", out, shapes={})
    assert [[argument for argument in asked if argument in ("--stronglyTyped", "--fp16")] for asked in program.asked()] == [typing]


def test_fp32_is_kept_from_tf32(program, graph, out):
    program.behaves(layers=None)
    assert trtexec.build(graph, "fp32", out, shapes={}).layers == Counter()
    assert "--noTF32" in program.asked()[0]
    assert not {"--fp16", "--stronglyTyped"} & set(program.asked()[0])


@pytest.mark.parametrize(("precision", "kind", "weak"), [("fp16", "Half", ["--fp16"]), ("int8", "Int8", ["--int8", "--fp16"])])
def test_before_10_12_there_is_strong_and_weak_typing_and_the_other_is_tried_where_one_fails(precision, kind, weak, program, graph, out):
    """Strongly typed first: weakly typed, what a graph keeps in fp32 since it leaves fp16's range may be computed in fp16."""
    ways = [["--stronglyTyped"], weak]
    program.behaves(refuses=ways[0][0], layers=[layer("g", "gemm", [kind], ["Half"])])
    assert trtexec.build(graph, precision, out, shapes={}).layers == Counter({precision: 1})
    assert [[argument for argument in asked if argument in ("--stronglyTyped", "--int8", "--fp16")] for asked in program.asked()] == ways


def test_a_precision_that_is_not_in_the_engine_fails(program, graph, out):
    program.behaves(layers=[layer("g", "gemm", ["Float"], ["Float"])])
    with pytest.raises(MmedgeError, match=r"was asked for in fp16, but none of the engine's layers computes in fp16: 1 in fp32"):
        trtexec.build(graph, "fp16", out, shapes={})
    assert not out.exists()


def test_an_engine_that_does_not_tell_its_types_is_taken(program, graph, out):
    """As the inspector does where shapes are dynamic."""
    program.behaves(layers=["a layer", "another"])
    assert trtexec.build(graph, "fp16", out, shapes={}).layers == Counter()
    assert out.exists()


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"takes": ()}, r"--stronglyTyped: status 1: Unknown option: --stronglyTyped; --fp16: status 1: Unknown option: --fp16"),
        ({"banner": "[TensorRT v101602] [b10]", "refuses": "--stronglyTyped"}, "status 1: Could not find any implementation for node Conv_0."),
        ({"banner": "[TensorRT v101602] [b10]", "end": "killed"}, "it was killed by SIGKILL: most likely too little memory"),
        ({"banner": "[TensorRT v101602] [b10]", "end": "writes nothing"}, "it wrote no engine: &&&& PASSED"),
    ],
)
def test_what_fails_is_told_in_its_words_and_leaves_nothing(program, graph, out, how, words):
    program.behaves(**how)
    out.write_bytes(b"the engine before")
    timing = out.with_name("timing")
    timing.write_bytes(b"measured")
    with pytest.raises(MmedgeError, match=r"builds no engine of graph with spaces\.onnx: ") as caught:
        trtexec.build(graph, "fp16", out, shapes={}, timing_cache=timing)
    assert words in caught.value.what
    assert "another backend" in caught.value.fix
    assert (out.read_bytes(), timing.read_bytes()) == (b"the engine before", b"measured")


def test_what_was_measured_is_used_again(program, graph, out):
    timing = out.with_name("timing")
    for count in (1, 2):
        trtexec.build(graph, "fp16", out, shapes={}, timing_cache=timing)
        assert timing.read_bytes() == b"+" * count


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0] != "Z"


@pytest.mark.full
@pytest.mark.parametrize("deaf", [False, True])
def test_one_that_hangs_is_ended_with_all_that_it_started(program, graph, out, monkeypatch, deaf):
    monkeypatch.setattr(trtexec, "GRACE_S", 0.3)
    program.behaves(end="hangs", deaf=deaf)
    for limit_s in (0.5, 2.0, 8.0, 32.0):  # until the machine is fast enough to have started it
        monkeypatch.setattr(trtexec, "LIMIT_S", limit_s)
        with pytest.raises(MmedgeError, match="did not end within"):
            trtexec.build(graph, "fp16", out, shapes={}, tensorrt="10.3.0")
        if program.pids():
            break
    assert len(program.pids()) == 2
    assert not any(map(alive, program.pids()))
    assert not out.exists()


@pytest.mark.full
def test_ctrl_c_ends_it_too(program, graph, out):
    """In a process of its own: an interrupt that comes a moment early or late would end the tests'."""
    program.behaves(end="hangs")
    imports = "from pathlib import *; from mmedge.backends.tensorrt import trtexec; from mmedge.runner import Graph; from mmedge.tensors import TensorSpec"
    code = f"{imports}; trtexec.build({graph!r}, 'fp16', {out!r}, shapes={{}}, tensorrt='10.3.0')"
    with subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE) as process:
        while not program.pids():
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        assert b"KeyboardInterrupt" in process.communicate()[1]
    assert not any(map(alive, program.pids()))
    assert not out.exists()


def test_without_the_program_its_package_is_named(monkeypatch, tmp_path, graph, out):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(trtexec, "PLACE", tmp_path / "nowhere")
    monkeypatch.delenv("TRTEXEC", raising=False)
    with pytest.raises(MmedgeError, match="trtexec is not in the PATH") as caught:
        trtexec.build(graph, "fp16", out, shapes={})
    assert "libnvinfer-bin" in caught.value.fix
    monkeypatch.setenv("TRTEXEC", str(tmp_path / "gone"))
    with pytest.raises(MmedgeError, match=f"TRTEXEC names {tmp_path}/gone, which is no program here"):
        trtexec.version()


def test_it_is_found_where_jetpack_puts_it(monkeypatch, program, tmp_path):
    monkeypatch.delenv("TRTEXEC")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(trtexec, "PLACE", program.path)
    assert trtexec.find() == program.path
    assert trtexec.version() == "10.3.0"


def test_another_program_of_that_name_is_not_believed(monkeypatch, tmp_path):
    monkeypatch.setenv("TRTEXEC", "/bin/true")
    with pytest.raises(MmedgeError, match="does not say of which TensorRT it is"):
        trtexec.version()
    path = tmp_path / "text"
    path.write_text("not a program")
    path.chmod(0o755)
    monkeypatch.setenv("TRTEXEC", str(path))
    with pytest.raises(MmedgeError, match="cannot be started: Exec format error"):
        trtexec.version()


@pytest.mark.parametrize("row", TENSORRT, ids=lambda row: row.low)
@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16", "int8", "int4"])
def test_no_flag_is_one_that_this_tensorrt_refuses(row, precision):
    for typing in flags.typings(row, precision):
        given = {*typing, *(flag.partition("=")[0] for flag in flags.options(precision, 512))}
        assert not given & {*row.removed, *row.no_ops}
        assert not ("--stronglyTyped" in given and given & {"--fp16", "--bf16", "--int8", "--int4"})


def test_an_input_with_a_name_that_trtexec_cannot_be_told_is_refused():
    sizes = ((1,), (1,), (2,))
    assert flags.profile({"a:b": sizes})[0] == "--minShapes='a:b':1"
    assert flags.profile({}) == ()
    with pytest.raises(MmedgeError, match="trtexec cannot be told the shape of the input"):
        flags.profile({"it's": sizes})
