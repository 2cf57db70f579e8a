"""Rows of the error table: what NVIDIA's runtime, its parser and its builder refuse.

Graphs are judged by NVIDIA's published lists, and by its own parser and builder (TensorRT for RTX). What a GPU, CUDA and an opened engine say is a
stand-in's (tests/backends/tensorrt/stand_in.py), and the board that doctor looks at is a tree of files: neither proves anything of hardware.
"""

from __future__ import annotations

import os

import scene as by
from deploy.error_row import CHECK_NVIDIA, COMPILE_MINE, DOCTOR, EXPORT_MINE, EXPORT_OWN, EXPORT_OWN_MINE, Row, each

from mmedge.backends.tensorrt import trtexec


def no_trtexec(scene):
    scene.patch.delenv("TRTEXEC", raising=False)
    scene.patch.setattr(trtexec, "PLACE", scene.folder / "none")


def closed_devices(scene):
    """This user may open no device."""
    scene.patch.setattr(os, "access", lambda path, mode: "/dev/" not in str(path))


def bound(to, version):
    """The engine was built under that."""
    return by.manifest("engines", "nvidia", "eyes/image_encoder", "key", value={to: version})


ONLY = by.target(backends='["tensorrt"]')
L4T = {"etc/nv_tegra_release": "# R36 (release), REVISION: 4.3, GCID: 1, BOARD: generic, EABI: aarch64\n"}
OLD_L4T = {"etc/nv_tegra_release": "# R35 (release), REVISION: 4.1, GCID: 1, BOARD: generic, EABI: aarch64\n"}
CONTAINER = {**L4T, ".dockerenv": "", "dev/nvhost-gpu": ""}
NONE = by.without("tensorrt", "tensorrt_rtx_libs", "tensorrt_rtx_bindings")
NO_CUDA = by.without("cuda", "cuda.bindings", "cuda.bindings.runtime", "cuda.cudart")
NO_NVINFER, NO_DLA = (f"{library}: cannot open shared object file" for library in ("libnvinfer.so.10", "libnvdla_compiler.so"))
REBUILD = "engines fit only the board and the TensorRT that built them; build it again here: mmedge compile"
OUTSIDE = "input pixel_values has shape [1, 3, 8, 8]; this engine takes [2, 3, 8, 8] to [4, 3, 8, 8]"
THIRD = by.target("options = {tensorrt = {flavour = 'rtxx'}}", "precisions = {tensorrt = ['fp16']}", backends='["tensorrt"]')
THIRD_SAID = "target mine: options.tensorrt: flavour: Input should be 'tensorrt' or 'rtx'"

THE_BOARD = [
    *(
        Row(name, by.system({}, machine), f"mmedge doctor -t {target}", f"this machine is no {target}", fix, shows="best target: ")
        for name, machine, target, fix in (
            ("no board of that kind", "aarch64", "jetson", "see that /etc/nv_tegra_release is there; in a container: -v /etc/nv_tegra"),
            ("no GPU of NVIDIA's in this PC", "x86_64", "nvidia", "install NVIDIA's driver"),
        )
    ),
    Row(
        "no TensorRT on the board",
        by.together(NONE, by.system(L4T)),
        DOCTOR,
        "jetson prefers tensorrt, which cannot run here: TensorRT is not installed",
        "python3-libnvinfer",
        shows="best target: jetson",
    ),
    *each(
        "mmedge doctor",
        ("a Jetson Linux that is too old", by.system(OLD_L4T), "35.4.1", "update the board"),
        (
            "a user in the container without the GPU's groups",
            by.together(by.system(CONTAINER), closed_devices),
            "/dev/nvhost-gpu may not be opened by this user: CUDA then finds no GPU",
            "start the container with --group-add video --group-add",
        ),
        status=0,
    ),
]

THE_RUNTIME = [
    *each(
        COMPILE_MINE,
        ("no TensorRT", by.together(NONE, ONLY), "no backend of mine works here: tensorrt: TensorRT is not installed", "python3-libnvinfer"),
        ("a TensorRT without its libraries", by.together(NONE, by.broken(NO_NVINFER), ONLY), NO_NVINFER, "python3-libnvinfer"),
        ("a TensorRT without the host's DLA compiler", by.together(NONE, by.broken(NO_DLA), ONLY), NO_DLA, "nvidia-l4t-dla-compiler"),
        ("a TensorRT of JetPack 5", by.together(by.gpu(tensorrt="8.6.2"), ONLY), "TensorRT 8.6.2 is too old: mmedge builds with 10.0", "mmedge targets"),
        ("no driver", by.together(by.gpu("cudaErrorInsufficientDriver"), ONLY), "CUDA driver version is insufficient for CUDA", "nvidia-smi"),
        ("a container without the GPU", by.together(by.gpu("cudaErrorNoDevice"), ONLY), "no CUDA-capable device is detected", "--runtime nvidia"),
        ("no cuda-python", by.together(by.gpu(), NO_CUDA, ONLY), "cuda-python is not installed", 'on JetPack 6: pip install "mmedge[jetson-jp6]"'),
    ),
    Row(
        "no trtexec on the board",
        by.together(by.gpu(), NONE, no_trtexec, ONLY),
        f"{COMPILE_MINE} --trtexec",
        "no backend of mine works here: tensorrt: trtexec is not in the PATH",
        "on a Jetson: sudo apt install libnvinfer-bin",
    ),
    *each(
        CHECK_NVIDIA,
        ("an engine of another TensorRT", by.together(by.gpu(tensorrt="10.16.2.10"), by.engine()), "is no engine for TensorRT 10.16.2.10", REBUILD),
        ("an engine of another board", by.together(by.gpu(capability="11.0"), by.engine()), "with compute capability 11.0: IRuntime", REBUILD),
        (
            "an engine of another Jetson Linux",
            by.together(by.gpu(), by.engine(), bound("l4t", "36.4.3")),
            "was built under Jetson Linux 36.4.3, and here is none",
            REBUILD,
        ),
        ("an engine of another CUDA", by.together(by.gpu(), by.engine(), bound("cuda", "12.2")), "was built under CUDA 12.2, and here is 12.6", REBUILD),
        ("an engine that is none", by.together(by.gpu(), by.engine(b"no engine at all")), "Version tag does not match", REBUILD),
        ("an empty engine", by.together(by.gpu(), by.engine(b"")), ".plan is empty", REBUILD),
        ("a shape that the engine was not built for", by.together(by.gpu(), by.engine(batch=(2, 2, 4))), OUTSIDE, "with a wider range"),
        (
            "a GPU without memory left",
            by.together(by.gpu(size_bytes=1000), by.engine()),
            "out of memory: 0.0 MB were asked for",
            "close other programs",
        ),
    ),
]

ON_DEVICE = ('build_on = "device"', 'boards = ["orin-nano"]', "memory_mb = 1")
ONLY_BOARD = by.target(*ON_DEVICE, backends='["tensorrt"]')
ONLY_RTX = by.target('build_on = "device"', "options = {tensorrt = {flavour = 'rtx'}}", backends='["tensorrt"]')
NO_PLACE = "onnx/own can be placed on no backend of mine: "
ASYMMETRIC = by.onnx("(float[2,4] x) => (float[2,4] y) <float s = {0.1}, int8 z = {3}> { q = QuantizeLinear(x, s, z) y = DequantizeLinear(q, s, z) }")

GRAPHS = [
    *each(
        EXPORT_OWN_MINE,
        (
            "an operator that NVIDIA does not take",
            by.together(ONLY_RTX, by.onnx("(float[2,4] x) => (float[two,n] y) { r = Relu(x) i = NonZero(r) y = Cast<to=1>(i) }")),
            f"{NO_PLACE}TensorRT-RTX",
            'let its target have "ort" too',
        ),
        (
            "an operator on none of NVIDIA's lists",
            by.together(ONLY_BOARD, by.onnx("(float[n,2,2] x) => (float[n] y) { y = Det(x) }")),
            f"{NO_PLACE}NVIDIA's lists for TensorRT 10.3 lack it: ",
            'let its target have "ort" too',
        ),
        (
            "a zero point that is not zero",
            by.together(ONLY_RTX, ASYMMETRIC),
            "(QuantizeLinear): Assertion failed: shiftIsAllZeros(zeroPoint): Non-zero zero point is not supported",
            'let its target have "ort" too',
        ),
        (
            "a zero point that is not zero, for a board",
            by.together(ONLY_BOARD, ASYMMETRIC),
            "(QuantizeLinear): its zero point is not 0, which NVIDIA's lists ask for",
            'let its target have "ort" too',
        ),
        (
            "more than the board's memory",
            by.together(ONLY_BOARD, by.onnx("(float[400,400] x) => (float[400,400] y) { r = Relu(x) y = MatMul(r, x) }")),
            "new.bundle needs about 1.9 MB on mine (weights 0.0 MB, activations 1.9 MB",
            "take a smaller model",
        ),
        leaves="new.bundle/",
    ),
    *each(
        COMPILE_MINE,
        ("a TensorRT of a third kind", THIRD, THIRD_SAID, "correct that value"),
        (
            "trtexec for TensorRT for RTX",
            by.target("options = {tensorrt = {flavour = 'rtx', trtexec = true}}", backends='["tensorrt"]'),
            "target mine: options.tensorrt: document: trtexec builds engines of TensorRT, and none of TensorRT-RTX",
            "correct that value",
        ),
        (
            "a compute capability that is none",
            by.target('compute_capability = ["banana"]'),
            "mine.toml: compute_capability.0: 'banana' is no compute capability: NVIDIA writes them as 8.7",
            "correct that value",
        ),
        (
            "a GPU that TensorRT for RTX builds nothing for",
            by.target('compute_capability = ["8.6", "8.7"]', "options = {tensorrt = {flavour = 'rtx'}}", backends='["tensorrt", "ort"]'),
            "target mine: TensorRT-RTX builds nothing for compute capability 8.7",
            "name some of 7.5, 8.0, 8.6, 8.9, 12.0, 12.1 in compute_capability",
        ),
    ),
    Row("an export for a TensorRT of a third kind", THIRD, EXPORT_MINE, THIRD_SAID, "correct that value"),
    Row("a health check of a TensorRT of a third kind", THIRD, "mmedge doctor -t mine.toml", THIRD_SAID, "correct that value"),
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

ROWS = [*THE_BOARD, *THE_RUNTIME, *GRAPHS]
