"""Rows of the error table: bundles, targets, options of the commands, and this machine."""

from __future__ import annotations

import scene as by
from deploy.error_row import CHECK, COMPILE, COMPILE_MINE, EXPORT, EXPORT_OWN, PUSH, Row, each

ON_DEVICE = "the engines of toy.bundle for jetson are built on the device"
TOO_NEW = "{} is opset {}, IR {}; jetson takes up to opset 18, IR 10"
RELU = "(float[2,4] x) => (float[2,4] y) { y = Relu(x) }"

THE_BUNDLE = [
    Row("no bundle", by.nothing, "mmedge compile toy.bundel -t jetson", "there is no bundle at toy.bundel", "mmedge export --target cpu -o toy.bundel"),
    *each(
        COMPILE,
        ("a damaged file", by.file_of_the_graph("damaged"), "is damaged: it is not what the manifest describes", "export the bundle again"),
        ("two builds at once", by.being_written, "another build is writing to toy.bundle", "wait for it"),
        ("an opset too new", by.graph("opset", 24), TOO_NEW.format("eyes/image_encoder", 24, 10), "leave that target out"),
        ("an IR too new", by.graph("ir", 13), TOO_NEW.format("eyes/image_encoder", 18, 13), "leave that target out"),
    ),
    *each(
        EXPORT_OWN,
        ("an opset too new for the board", by.onnx(RELU, opset=24), TOO_NEW.format("onnx/own", 24, 10), "leave that target out"),
        ("an IR too new for the board", by.onnx(RELU, ir=13), TOO_NEW.format("onnx/own", 18, 13), "leave that target out"),
        leaves="new.bundle/",
    ),
    *each(
        CHECK,
        (
            "a manifest of a newer mmedge",
            by.manifest("schema", value="mmedge.bundle/9"),
            "has schema mmedge.bundle/9, this mmedge reads up to mmedge.bundle/1",
            "pip install -U mmedge",
        ),
        ("not compiled for the board", by.nothing, "toy.bundle is not compiled for jetson", "mmedge compile toy.bundle --target jetson"),
    ),
    Row("a missing file", by.file_of_the_graph("missing"), PUSH, "is missing from the bundle", "copy it again from where it was made"),
    Row(
        "profiled where it cannot run",
        by.compiled("jetson"),
        "mmedge profile toy.bundle -t jetson",
        ON_DEVICE,
        "on the device: mmedge compile toy.bundle --target jetson",
    ),
]

THE_TARGET = [
    Row("a mistyped target", by.nothing, "mmedge compile toy.bundle -t jetsn", "there is no target 'jetsn'", "did you mean jetson?"),
    Row("a health check of a mistyped target", by.nothing, "mmedge doctor -t jetsn", "there is no target 'jetsn'", "did you mean jetson?"),
    Row("a health check of a folder", by.nothing, "mmedge doctor -t .", "there is no target '.'", "use one of: cpu"),
    Row("a health check of a broken target", by.target("memory_md = 4096"), "mmedge doctor -t mine.toml", "mine.toml: unknown key memory_md", "memory_mb?"),
    *each(
        COMPILE_MINE,
        ("a mistyped key", by.target("memory_md = 4096"), "mine.toml: unknown key memory_md", "did you mean memory_mb?"),
        (
            "no such board",
            by.target('boards = ["orin-mini"]'),
            "mine.toml: boards.0: Input should be 'orin-nano', 'orin-nx', 'agx-orin' or 'thor'",
            "correct that value",
        ),
        ("a backend that there is not", by.target(backends='["tensorrt9"]'), "this version of mmedge has no tensorrt9 backend", "mmedge targets"),
        ("a file with another name", by.target(name='"jetson"'), "mine.toml names its target 'jetson'", "a target has its file's name: 'mine'"),
        (
            "a mistyped backend",
            by.target("precisions = {otr = ['fp32']}"),
            "mine.toml: document: precisions.otr: the target does not run on otr: its backends are ort",
            "correct that value",
        ),
        (
            "options of another backend",
            by.target("options = {tensorrt = {flavour = 'rtx'}}"),
            "mine.toml: document: options.tensorrt: the target does not run on tensorrt: its backends are ort",
            "correct that value",
        ),
        (
            "an option that ONNX Runtime has not",
            by.target("options = {ort = {thread = 2}}", backends='["ort"]'),
            "target mine: options.ort: unknown key thread",
            "did you mean threads?",
        ),
    ),
]

THIS_MACHINE = [
    Row("a full disk", by.full_disk, COMPILE, "no space left to write toy.bundle", "free some space on that disk"),
    Row("a full disk under an export", by.full_disk, EXPORT, "no space left to write new.bundle", "free some space on that disk", leaves="new.bundle/"),
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

OPTIONS = [
    Row("bisected where it cannot run", by.compiled("jetson"), f"{CHECK} --bisect", ON_DEVICE, "on the device: mmedge compile"),
    Row(
        "two targets bisected at once",
        by.nothing,
        "mmedge check toy.bundle -t cpu -t null --bisect",
        "--bisect looks at one target at a time",
        "leave out all but --target cpu",
    ),
    Row("nothing to bisect", by.nothing, "mmedge check toy.bundle -t null --bisect", "null computes nothing", "name a target that computes"),
    *(
        Row(name, by.nothing, f"mmedge compile toy.bundle -t {target} --trtexec", what, fix)
        for name, target, what, fix in (
            ("trtexec for a CPU", "cpu", "--trtexec builds engines of TensorRT, and cpu has none", "leave it out"),
            ("trtexec for another machine", "jetson", "this machine is no jetson", "leave it out: the bundle's plan has the commands for the board"),
            ("trtexec for another PC", "nvidia", "this machine is no nvidia", "leave it out: run the command on the machine with the GPU"),
        )
    ),
]

ROWS = [*THE_BUNDLE, *THE_TARGET, *THIS_MACHINE, *OPTIONS]
