"""Building through ``trtexec``: a program that stands in for it takes the flags that each TensorRT is known to take, refuses the others, and goes wrong on
demand. The real one needs a GPU, and was never run."""

from __future__ import annotations

import json
import os
import signal
import stat
import sys
import threading
import time
from collections import Counter

import pytest
from backends.tensorrt import stand_in
from backends.tensorrt.test_inspector import layer

from mmedge.backends.tensorrt import flags, trtexec
from mmedge.backends.tensorrt.versions import TENSORRT
from mmedge.errors import MmedgeError
from mmedge.runner import Graph
from mmedge.tensors import TensorSpec

SHAPES = {"input_ids": ((1, 1), (1, 4), (1, 16)), "images": ((1, 3, 8, 8), (1, 3, 8, 8), (2, 3, 8, 8))}
HALF = [layer("g", "gemm", ["Half"], ["Half"])]

PROGRAM = f"""#!{sys.executable}
import json, os, pathlib, signal, subprocess, sys, time
how = json.loads(pathlib.Path({{how!r}}).read_text())
arguments = dict(argument.partition("=")[::2] for argument in sys.argv[1:])
with open(how["asked"], "a") as file:
    file.write(json.dumps(sys.argv[1:]) + "\\n")
print("&&&& RUNNING TensorRT.trtexec " + how["banner"] + " # " + " ".join(sys.argv))
if "--help" in arguments:
    sys.exit(0)
def failed(words):
    print("[06/20/2025-12:02:57] [E] " + words)
    print("[06/20/2025-12:02:57] [E] Engine set up failed")
    print("&&&& FAILED TensorRT.trtexec " + how["banner"])
    sys.exit(1)
known = "--onnx --minShapes --optShapes --maxShapes --memPoolSize --noTF32 --profilingVerbosity".split()
for flag in arguments:
    if flag not in [*known, "--timingCacheFile", "--exportLayerInfo", "--skipInference", "--saveEngine", *how["takes"]]:
        failed("Unknown option: " + flag)
if "--stronglyTyped" in arguments and set(arguments) & {{"--fp16", "--int8", "--bf16"}}:
    failed("Precision flags cannot be used with a strongly typed network")
if not pathlib.Path(arguments["--onnx"]).is_file():
    failed("Failed to open file: " + arguments["--onnx"])
how["refuses"] and how["refuses"] in arguments and failed("Could not find any implementation for node Conv_0.")
pathlib.Path(arguments["--timingCacheFile"]).open("ab").write(b"+")
pathlib.Path(arguments["--saveEngine"]).write_bytes(b"half of an en")
if how["end"] == "hangs":
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    pathlib.Path(how["asked"] + ".pids").write_text(f"{{os.getpid()}} {{child.pid}}")
    how["deaf"] and signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(600)
if how["end"] == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
if how["end"] == "writes nothing":
    os.unlink(arguments["--saveEngine"])
else:
    pathlib.Path(arguments["--saveEngine"]).write_bytes(b"an engine")
    if how["layers"] is not None:
        pathlib.Path(arguments["--exportLayerInfo"]).write_text(json.dumps({{"Layers": how["layers"], "Bindings": []}}))
print("&&&& PASSED TensorRT.trtexec " + how["banner"])
""".replace("{{", "{").replace("}}", "}")


class Program:
    """The stand-in for ``trtexec``, and what it was asked."""

    def __init__(self, folder, monkeypatch):
        self.path, self._how, self._asked = folder / "trtexec", folder / "how.json", folder / "asked"
        self.path.write_text(PROGRAM.replace("{how!r}", repr(str(self._how))))
        self.path.chmod(self.path.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("TRTEXEC", str(self.path))
        self.behaves()

    def behaves(self, *, banner="[TensorRT v100300]", takes=("--stronglyTyped", "--fp16", "--int8"), refuses="", end="", layers=HALF, deaf=False):
        how = {"banner": banner, "takes": takes, "refuses": refuses, "end": end, "layers": layers, "deaf": deaf, "asked": str(self._asked)}
        self._how.write_text(json.dumps(how))

    def asked(self):
        """The arguments of every build."""
        lines = [json.loads(line) for line in self._asked.read_text().splitlines()] if self._asked.exists() else []
        return [line for line in lines if line != ["--help"]]

    def pids(self):
        """Of the program that hangs and of what it has started; none where it has not come to that yet."""
        path = self._asked.with_name("asked.pids")
        found = [*map(int, path.read_text().split())] if path.exists() else []
        return found if len(found) == 2 else []


@pytest.fixture
def program(tmp_path, monkeypatch):
    (tmp_path / "bin").mkdir()
    return Program(tmp_path / "bin", monkeypatch)


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


def test_where_strong_typing_fails_before_10_12_the_weak_flags_are_tried(program, graph, out):
    program.behaves(refuses="--stronglyTyped", layers=[layer("g", "gemm", ["Int8"], ["Half"])])
    assert trtexec.build(graph, "int8", out, shapes={}).layers == Counter(int8=1)
    assert [[argument for argument in asked if argument in ("--stronglyTyped", "--int8", "--fp16")] for asked in program.asked()] == [
        ["--stronglyTyped"],
        ["--int8", "--fp16"],
    ]


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


def test_ctrl_c_ends_it_too(program, graph, out):
    program.behaves(end="hangs")

    def interrupt():
        while not program.pids():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        trtexec.build(graph, "fp16", out, shapes={}, tensorrt="10.3.0")
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


# The command

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
