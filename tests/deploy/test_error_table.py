"""What can go wrong on the way to a board, one row each: what brings it about, the command, and the two lines that the user reads.

A row's command is run as it stands. It must end with the row's status, and all that was there before must be there unchanged after it: the bundle, the
cache, what the board has and what is live on it. The board is a real sshd on this machine; nothing here is a Jetson.

Graphs are judged by NVIDIA's own parser and builder (TensorRT for RTX). What a GPU, CUDA and an opened engine say is a stand-in's
(tests/backends/tensorrt/stand_in.py), and the board that doctor looks at is a tree of files: neither proves anything of hardware.
"""

from __future__ import annotations

import contextlib
import shlex
from dataclasses import dataclass

import pytest
import scene as by

from mmedge.bundle import MANIFEST

pytestmark = pytest.mark.full


@dataclass(frozen=True)
class Row:
    name: str
    how: object
    """Given the scene."""
    command: str
    what: str
    """In the line ``error:``."""
    fix: str
    """In the line ``fix:``."""
    status: int = 2
    leaves: str = ""
    """Where files may remain that the next build goes on from: no bundle without a manifest, which names them."""


PUSH = "mmedge push toy.bundle board -t cpu"
CHECK_ON = "mmedge check toy.bundle --on board"
COMPILE, CHECK = "mmedge compile toy.bundle -t jetson", "mmedge check toy.bundle -t jetson"
COMPILE_MINE = "mmedge compile toy.bundle -t mine.toml"
EXPORT, EXPORT_OWN = "mmedge export toy -t jetson -o new.bundle", "mmedge export own.onnx -t jetson -o new.bundle"
ERROR = """echo '{"schema": "mmedge.error/1", "status": %d, "error": "%s", "fix": "%s"}'; exit %d"""

THE_WAY_TO_THE_BOARD = [
    Row("no such host", by.ssh("HostName no-such-host.invalid"), PUSH, "there is no host named board: ssh: Could not resolve", "~/.ssh/config"),
    Row("nothing listens there", by.ssh("Port 1"), PUSH, "board refused the connection: no ssh server listens there", "there: sudo apt install openssh-server"),
    Row("no key that it takes", by.ssh("IdentityFile {folder}/other"), PUSH, "board accepts no key of yours", "ssh-copy-id board"),
    Row("a host key not seen before", by.ssh("UserKnownHostsFile /dev/null"), PUSH, "the host key of board is not known here", "compare the fingerprint"),
    Row("a changed host key", by.ssh("UserKnownHostsFile {folder}/changed"), PUSH, "the host key of board has changed", "ssh-keygen -R board"),
    Row("a connection that breaks", by.ssh("ProxyCommand sleep 0"), PUSH, "the connection to board was lost", "run it again: what has arrived is kept"),
    Row("a line that ssh does not know", by.ssh("NoSuchOption x"), PUSH, "Bad configuration option: nosuchoption", "try by hand what ssh says: ssh board"),
    Row("no ssh on this machine", by.only_here("rsync"), PUSH, "ssh is not installed here", "sudo apt install openssh-client"),
    Row("no rsync on this machine", by.only_here("ssh", "sh"), PUSH, "rsync is not installed here", "sudo apt install rsync"),
    Row(
        "a host that no shell may read",
        by.nothing,
        "mmedge push toy.bundle 'board;reboot'",
        "'board;reboot' names no host",
        "write user@board or user@board:folder",
    ),
    Row("a folder above the home", by.nothing, "mmedge push toy.bundle board:..", "'..' is no folder for releases", "write user@board or user@board:folder"),
    Row("--on an unreachable board", by.ssh("Port 1"), CHECK_ON, "board refused the connection", "openssh-server"),
]

THE_BOARD = [
    Row(
        "nothing was pushed yet",
        by.ssh(""),
        CHECK_ON,
        "nothing was pushed to mmedge/toy on board yet",
        "mmedge push BUNDLE board:mmedge/toy",
    ),
    Row("no release to return to", by.live, "mmedge push toy.bundle board --rollback", "there is no release before", "push the bundle that shall be live"),
    Row("no mmedge there", by.without_mmedge, PUSH, "board has no mmedge on its PATH, nor in ~/.local/bin", "there: pip install --user mmedge"),
    Row("no rsync there", by.not_there("rsync"), PUSH, "board has no rsync", "there: sudo apt install rsync"),
    Row(
        "no target of that name there",
        by.ssh(""),
        "mmedge push toy.bundle board -t jetsn",
        "mmedge on board knows no target 'jetsn'",
        "it knows: cpu, intel-cpu",
    ),
    Row(
        "a far side without space",
        by.there("df", "echo; echo tmpfs 9 9 1 9"),
        PUSH,
        "no space left on board in mmedge/toy: ",
        "name a folder on another disk: board:FOLDER",
    ),
    Row(
        "space that runs out while it is copied",
        by.there("rsync", "echo 'rsync: [receiver] write failed: No space left on device (28)' >&2; exit 11"),
        PUSH,
        "no space left on board in mmedge/toy",
        "free some there",
    ),
    Row(
        "a read-only disk there",
        by.there("mkdir", "echo 'mkdir: Read-only file system' >&2; exit 1"),
        PUSH,
        "mmedge/toy on board lies on a disk that is read-only",
        "mount it writable",
    ),
    Row(
        "a folder that is a file",
        by.home("data", "text"),
        "mmedge push toy.bundle board:data/x -t cpu",
        "data/x on board can be no folder",
        "name another: board:FOLDER",
    ),
    Row(
        "a 'current' that no push made", by.home("mmedge/toy/current"), PUSH, "mmedge/toy/current on board is not a link of mmedge push", "name another folder"
    ),
    Row("another push under way", by.another_push, PUSH, "another push to board:mmedge/toy is under way", "a dead one lets go after 60 s"),
    Row(
        "a file that does not arrive whole",
        by.there("sha256sum", "exit 0"),
        PUSH,
        "does not arrive whole on board: its sha256 differs twice",
        "check the board's disk: dmesg",
    ),
    Row(
        "compile fails there",
        by.answers("compile", ERROR % (2, "no backend of cpu works here", "mmedge targets", 2)),
        PUSH,
        "board: no backend of cpu works here",
        "there: mmedge targets",
    ),
    Row(
        "a check fails there",
        by.answers("check", ERROR % (3, "1 of 3 checks failed on cpu", "do not deploy it", 3)),
        PUSH,
        "board: 1 of 3 checks failed on cpu",
        "there: do not deploy it",
        3,
    ),
    Row(
        "a bug there",
        by.answers("compile", "echo ZeroDivisionError >&2; exit 1"),
        PUSH,
        "mmedge compile failed on board: ZeroDivisionError",
        "ssh board mmedge compile",
        1,
    ),
    Row(
        "killed there, out of memory",
        by.answers("check", "kill -KILL $$"),
        PUSH,
        "mmedge check was killed on board (signal 9)",
        "memory enough: mmedge doctor, there",
    ),
    Row(
        "another mmedge there",
        by.answers("check", 'echo \'{"schema": "mmedge.bundle/9"}\''),
        PUSH,
        "has schema mmedge.bundle/9",
        "install the same mmedge on both sides",
    ),
]

THE_BUNDLE = [
    Row("no bundle", by.nothing, "mmedge compile toy.bundel -t jetson", "there is no bundle at toy.bundel", "mmedge export --target cpu -o toy.bundel"),
    Row(
        "a damaged file",
        by.file_of_the_graph("damaged"),
        COMPILE,
        "is damaged: it is not what the manifest describes",
        "export the bundle again",
    ),
    Row("a missing file", by.file_of_the_graph("missing"), PUSH, "is missing from the bundle", "copy it again from where it was made"),
    Row(
        "a manifest of a newer mmedge",
        by.manifest("schema", value="mmedge.bundle/9"),
        CHECK,
        "has schema mmedge.bundle/9, this mmedge reads up to mmedge.bundle/1",
        "pip install -U mmedge",
    ),
    Row("two builds at once", by.being_written, COMPILE, "another build is writing to toy.bundle", "wait for it"),
    Row(
        "an opset too new",
        by.graph("opset", 24),
        COMPILE,
        "eyes/image_encoder is opset 24, IR 10; jetson takes up to opset 18, IR 10",
        "leave that target out",
    ),
    Row(
        "an IR too new",
        by.graph("ir", 13),
        COMPILE,
        "eyes/image_encoder is opset 18, IR 13; jetson takes up to opset 18, IR 10",
        "leave that target out",
    ),
    Row(
        "not compiled for the board",
        by.nothing,
        CHECK,
        "toy.bundle is not compiled for jetson",
        "mmedge compile toy.bundle --target jetson",
    ),
    Row(
        "profiled where it cannot run",
        by.compiled("jetson"),
        "mmedge profile toy.bundle -t jetson",
        "the engines of toy.bundle for jetson are built on the device",
        "on the device: mmedge compile toy.bundle --target jetson",
    ),
]

THE_TARGET = [
    Row("a mistyped target", by.nothing, "mmedge compile toy.bundle -t jetsn", "there is no target 'jetsn'", "did you mean jetson?"),
    Row("a mistyped key", by.target("memory_md = 4096"), COMPILE_MINE, "mine.toml: unknown key memory_md", "did you mean memory_mb?"),
    Row(
        "no such board",
        by.target('boards = ["orin-mini"]'),
        COMPILE_MINE,
        "mine.toml: boards.0: Input should be 'orin-nano', 'orin-nx', 'agx-orin' or 'thor'",
        "correct that value",
    ),
    Row(
        "a backend that there is not",
        by.target(backends='["tensorrt9"]'),
        COMPILE_MINE,
        "this version of mmedge has no tensorrt9 backend",
        "mmedge targets",
    ),
    Row(
        "a file with another name",
        by.target(name='"jetson"'),
        COMPILE_MINE,
        "mine.toml names its target 'jetson'",
        "a target has its file's name: 'mine'",
    ),
]

THIS_MACHINE = [
    Row("a full disk", by.full_disk, COMPILE, "no space left to write toy.bundle", "free some space on that disk"),
    Row(
        "a full disk under an export",
        by.full_disk,
        EXPORT,
        "no space left to write new.bundle",
        "free some space on that disk",
        leaves="new.bundle/",
    ),
    Row(
        "interrupted while it compiles",
        by.interrupted_in("mmedge.deploy.compile.write_plan"),
        COMPILE,
        "interrupted",
        "run it again: a build goes on from what was complete",
        130,
        leaves="toy.bundle/",
    ),
    Row(
        "interrupted while it exports",
        by.interrupted_in("mmedge.build.export.place"),
        EXPORT,
        "interrupted",
        "run it again",
        130,
        leaves="new.bundle/",
    ),
    Row("interrupted while it pushes", by.together(by.live, by.interrupted_in("mmedge.deploy.push.upload")), PUSH, "interrupted", "run it again", 130),
]

ONLY = by.target(backends='["tensorrt"]')
L4T = {"etc/nv_tegra_release": "# R36 (release), REVISION: 4.3, GCID: 1, BOARD: generic, EABI: aarch64\n"}
OLD_L4T = {"etc/nv_tegra_release": "# R35 (release), REVISION: 4.1, GCID: 1, BOARD: generic, EABI: aarch64\n"}
NONE = by.without("tensorrt", "tensorrt_rtx_libs", "tensorrt_rtx_bindings")
NO_CUDA = by.without("cuda", "cuda.bindings", "cuda.bindings.runtime")
NO_NVINFER, NO_DLA = (f"{library}: cannot open shared object file" for library in ("libnvinfer.so.10", "libnvdla_compiler.so"))
REBUILD = "engines fit only the board and the TensorRT that built them; build it again here: mmedge compile"
OUTSIDE = "input pixel_values has shape [1, 3, 8, 8]; this engine takes [2, 3, 8, 8] to [4, 3, 8, 8]"
DOCTOR = "mmedge doctor -t jetson"
CHECK_NVIDIA = "mmedge check toy.bundle -t nvidia"

NVIDIA = [
    Row(
        "no board of that kind", by.system({}), DOCTOR, "this machine is no jetson", "see that /etc/nv_tegra_release is there; in a container: -v /etc/nv_tegra"
    ),
    Row("no GPU of NVIDIA's in this PC", by.system({}, "x86_64"), "mmedge doctor -t nvidia", "this machine is no nvidia", "install NVIDIA's driver"),
    Row("no TensorRT on the board", by.together(NONE, by.system(L4T)), DOCTOR, "jetson prefers tensorrt, which cannot run here: neither", "python3-libnvinfer"),
    Row("a Jetson Linux that is too old", by.system(OLD_L4T), "mmedge doctor", "35.4.1", "update the board", 0),
    Row("no TensorRT", by.together(NONE, ONLY), COMPILE_MINE, "no backend of mine works here: tensorrt: neither TensorRT nor", "python3-libnvinfer"),
    Row("a TensorRT without its libraries", by.together(NONE, by.broken(NO_NVINFER), ONLY), COMPILE_MINE, NO_NVINFER, "python3-libnvinfer"),
    Row("a TensorRT without the host's DLA compiler", by.together(NONE, by.broken(NO_DLA), ONLY), COMPILE_MINE, NO_DLA, "nvidia-l4t-dla-compiler"),
    Row(
        "a TensorRT of JetPack 5",
        by.together(by.gpu(tensorrt="8.6.2"), ONLY),
        COMPILE_MINE,
        "TensorRT 8.6.2 is too old: mmedge builds with 10.0",
        "mmedge targets",
    ),
    Row("no driver", by.together(by.gpu("cudaErrorInsufficientDriver"), ONLY), COMPILE_MINE, "CUDA driver version is insufficient for CUDA", "nvidia-smi"),
    Row("a container without the GPU", by.together(by.gpu("cudaErrorNoDevice"), ONLY), COMPILE_MINE, "no CUDA-capable device is detected", "--runtime nvidia"),
    Row("no cuda-python", by.together(by.gpu(), NO_CUDA, ONLY), COMPILE_MINE, "cuda-python is not installed", 'on JetPack 6: pip install "mmedge[jetson-jp6]"'),
    Row(
        "an engine of another TensorRT", by.together(by.gpu(tensorrt="10.16.2.10"), by.engine()), CHECK_NVIDIA, "is no engine for TensorRT 10.16.2.10", REBUILD
    ),
    Row("an engine of another board", by.together(by.gpu(capability="11.0"), by.engine()), CHECK_NVIDIA, "with compute capability 11.0: IRuntime", REBUILD),
    Row("an engine that is none", by.together(by.gpu(), by.engine(b"no engine at all")), CHECK_NVIDIA, "Version tag does not match", REBUILD),
    Row("an empty engine", by.together(by.gpu(), by.engine(b"")), CHECK_NVIDIA, ".plan is empty", REBUILD),
    Row("a shape that the engine was not built for", by.together(by.gpu(), by.engine(batch=(2, 2, 4))), CHECK_NVIDIA, OUTSIDE, "with a wider range"),
    Row(
        "a GPU without memory left",
        by.together(by.gpu(size_bytes=1000), by.engine()),
        CHECK_NVIDIA,
        "out of memory: 0.0 MB were asked for",
        "close other programs",
    ),
]

ONLY_BOARD = by.target('build_on = "device"', 'boards = ["orin-nano"]', "memory_mb = 1", backends='["tensorrt"]')
EXPORT_OWN_MINE = "mmedge export own.onnx -t mine.toml -o new.bundle"

GRAPHS = [
    Row(
        "an opset too new for the board",
        by.onnx("(float[2,4] x) => (float[2,4] y) { y = Relu(x) }", opset=24),
        EXPORT_OWN,
        "onnx/own is opset 24, IR 10; jetson takes up to opset 18, IR 10",
        "leave that target out",
        leaves="new.bundle/",
    ),
    Row(
        "an IR too new for the board",
        by.onnx("(float[2,4] x) => (float[2,4] y) { y = Relu(x) }", ir=13),
        EXPORT_OWN,
        "onnx/own is opset 18, IR 13; jetson takes up to opset 18, IR 10",
        "leave that target out",
        leaves="new.bundle/",
    ),
    Row(
        "an operator that NVIDIA does not take",
        by.together(ONLY_BOARD, by.onnx("(float[2,4] x) => (float[two,n] y) { r = Relu(x) i = NonZero(r) y = Cast<to=1>(i) }")),
        EXPORT_OWN_MINE,
        "onnx/own can be placed on no backend of mine: TensorRT-RTX",
        'let its target have "ort" too',
        leaves="new.bundle/",
    ),
    Row(
        "an operator on none of NVIDIA's lists",
        by.together(ONLY_BOARD, by.onnx("(float[n,2,2] x) => (float[n] y) { y = Det(x) }")),
        EXPORT_OWN_MINE,
        "onnx/own can be placed on no backend of mine: NVIDIA's lists for TensorRT 10.3 lack it: ",
        'let its target have "ort" too',
        leaves="new.bundle/",
    ),
    Row(
        "a zero point that is not zero",
        by.together(
            ONLY_BOARD,
            by.onnx("(float[2,4] x) => (float[2,4] y) <float s = {0.1}, int8 z = {3}> { q = QuantizeLinear(x, s, z) y = DequantizeLinear(q, s, z) }"),
        ),
        EXPORT_OWN_MINE,
        "(QuantizeLinear): Assertion failed: shiftIsAllZeros(zeroPoint): Non-zero zero point is not supported",
        'let its target have "ort" too',
        leaves="new.bundle/",
    ),
    Row(
        "more than the board's memory",
        by.together(ONLY_BOARD, by.onnx("(float[400,400] x) => (float[400,400] y) { r = Relu(x) y = MatMul(r, x) }")),
        EXPORT_OWN_MINE,
        "new.bundle needs about 1.9 MB on mine (weights 0.0 MB, activations 1.9 MB",
        "take a smaller model",
        leaves="new.bundle/",
    ),
    Row(
        "a TensorRT of a third kind",
        by.target("options = {tensorrt = {flavour = 'rtxx'}}", backends='["tensorrt"]'),
        COMPILE_MINE,
        "target mine: options.tensorrt: flavour: Input should be 'tensorrt' or 'rtx'",
        "correct that value",
    ),
    Row(
        "an input that trtexec cannot be told of",
        by.onnx("""(float[n,4] "it's") => (float[n,4] y) { y = Relu("it's") }"""),
        EXPORT_OWN,
        "trtexec cannot be told",
        "without quotes",
        leaves="new.bundle/",
    ),
    Row(
        "interrupted while NVIDIA builds",
        by.interrupted_in("mmedge.backends.tensorrt.build.types"),
        "mmedge compile toy.bundle -t rtx",
        "interrupted",
        "run it again",
        130,
        leaves="toy.bundle/",
    ),
]

OPTIONS = [
    Row(
        "bisected where it cannot run",
        by.compiled("jetson"),
        "mmedge check toy.bundle -t jetson --bisect",
        "the engines of toy.bundle for jetson are built on the device",
        "on the device: mmedge compile",
    ),
    Row(
        "two targets bisected at once",
        by.nothing,
        "mmedge check toy.bundle -t cpu -t null --bisect",
        "--bisect looks at one target at a time",
        "leave out all but --target cpu",
    ),
    Row("nothing to bisect", by.nothing, "mmedge check toy.bundle -t null --bisect", "null computes nothing", "name a target that computes"),
    Row(
        "trtexec for a CPU", by.nothing, "mmedge compile toy.bundle -t cpu --trtexec", "--trtexec builds engines of TensorRT, and cpu has none", "leave it out"
    ),
    Row("trtexec for another machine", by.nothing, "mmedge compile toy.bundle -t jetson --trtexec", "this machine is no jetson", "leave it out"),
]

ROWS = [*THE_WAY_TO_THE_BOARD, *THE_BOARD, *THE_BUNDLE, *THE_TARGET, *THIS_MACHINE, *NVIDIA, *GRAPHS, *OPTIONS]


@pytest.fixture
def scene(request, mmedge, tmp_path, toy_bundle, monkeypatch):
    with contextlib.ExitStack() as stack:
        yield by.Scene(request, tmp_path, toy_bundle, monkeypatch, stack)


@pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
def test_row(row, scene, mmedge):
    row.how(scene)
    before, there, live = scene.here(), scene.there(), scene.live()
    status, out, said = mmedge(*shlex.split(row.command)[1:])
    assert status == row.status and "Traceback" not in said, said
    what, fix = said.splitlines()[-2:] if status else (f"error: {out}", f"fix: {out}")
    assert what.startswith("error: ") and row.what in what
    assert fix.startswith("fix: ") and row.fix in fix
    after = scene.here()
    assert {name: after.get(name) for name in before} == before
    assert not [name for name in after.keys() - before if not row.leaves or not name.startswith(row.leaves) or name.endswith(MANIFEST)]
    after = scene.there()
    assert {name: after.get(name) for name in there} == there and scene.live() == live


def test_no_row_is_there_twice():
    assert len({row.name for row in ROWS}) == len(ROWS) >= 40
    assert len({(row.how, row.command) for row in ROWS}) == len(ROWS)
