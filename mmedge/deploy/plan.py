"""The build plan of a bundle: what builds its engines on a board, for every TensorRT that the board may have. Written where no board is at hand."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Literal

from pydantic import Field

from mmedge.backends.tensorrt.versions import ORIN, ORIN_CAPABILITY, RELEASES, TENSORRT, THOR_CAPABILITY, Row, capability, within
from mmedge.bundle import Bundle
from mmedge.documents import Document, dump_json
from mmedge.errors import MmedgeError
from mmedge.manifest import File, Graph
from mmedge.target import Precision, Target

Sizes = Mapping[str, tuple[int, ...]]
"""Input -> its shape."""

FOLDER = "plans"
ENGINES = "{engines}/"
"""In a command: the folder that takes the engines. It is the board's own, outside the bundle, because nothing else fits them."""

LEAST = {"batch": 1, "tokens": 1, "past": 0}
"""The dimensions that may be smaller than in the golden data. Others stay as they are there: a convolution without padding has no output at size 1."""

NOTE = "Never run on a Jetson so far. Inputs are as large as in the golden data; only batch, tokens and past may be smaller."


class Shapes(Document):
    """The sizes that an engine takes for one input, and those it is tuned for."""

    input: str
    dtype: str
    dynamic: bool
    """Whether the graph itself leaves any of them open."""
    min: tuple[int, ...]
    opt: tuple[int, ...]
    max: tuple[int, ...]


class Planned(Document):
    """A graph that is to become an engine."""

    name: str
    """``ROLE/GRAPH``."""
    file: File
    weights: File | None
    """Its large tensors, in the same folder."""
    precision: Precision
    """What the graph computes in; the engine does the same."""
    shapes: tuple[Shapes, ...]


class Command(Document):
    """How one graph is built."""

    graph: str
    trtexec: tuple[tuple[str, ...], ...]
    """Arguments, to be run in the bundle's folder; where there are several, each is for when those before it fail."""
    key: dict[str, str]
    """``sha256``, ``shapes`` and ``options``: with the board's own facts, what an engine is stored under (see ``key``)."""


class Setup(Document):
    """A board as one release leaves it. Null: no source tells."""

    jetpack: str
    l4t_low: str | None
    l4t_high: str | None
    compute_capability: str
    cuda: str | None
    tensorrt: str | None


class Generation(Document):
    """What holds for a range of TensorRT's versions; the one that is installed selects it."""

    low: str
    high: str
    setups: tuple[Setup, ...]
    """Those that are known to come with such a TensorRT."""
    commands: tuple[Command, ...]
    script: File
    """The same as a shell script."""


class Plan(Document):
    """Schema ``mmedge.plan/1``."""

    schema_: Literal["mmedge.plan/1"] = Field(default="mmedge.plan/1", alias="schema")
    bundle: str
    target: str
    note: str = NOTE
    graphs: tuple[Planned, ...]
    generations: tuple[Generation, ...]


def write_plan(bundle: Bundle, target: Target, graphs: Mapping[str, Sizes]) -> tuple[File, ...]:
    """Add the plan and its scripts to the bundle; the caller names them in the manifest.

    Args:
        graphs: ``ROLE/GRAPH`` -> the shapes of its golden feeds.

    Returns:
        The plan, then its scripts.

    Raises:
        MmedgeError: trtexec cannot be told of an input by its name.
    """
    models = bundle.manifest.models
    entries = {name: models[name.partition("/")[0]].graphs[name.partition("/")[2]] for name in graphs}
    planned = tuple(_planned(name, entries[name], sizes) for name, sizes in graphs.items())
    generations = []
    for row in TENSORRT:
        if set(row.boards) & set(target.boards):
            commands = tuple(_command(graph, row, target) for graph in planned)
            name = f"{target.name}-tensorrt-{row.low}-to-{row.high}".replace(".", "-")
            made = bundle.add(FOLDER, f"{name}.sh", script(target.name, row, planned, commands).encode())
            generations.append(Generation(low=row.low, high=row.high, setups=setups(target, row), commands=commands, script=made))
    plan = Plan(bundle=bundle.manifest.name, target=target.name, graphs=planned, generations=tuple(generations))
    return (bundle.add(FOLDER, f"{target.name}.json", dump_json(plan).encode()), *(one.script for one in generations))


def setups(target: Target, row: Row) -> tuple[Setup, ...]:
    """The target's boards under every release that comes with a TensorRT of ``row``."""
    found = []
    for release in RELEASES:
        if release.tensorrt is None or not within(release.tensorrt, row.low, row.high):
            continue
        boards = set(release.boards) & set(target.boards)
        for has, compute in ((boards & set(ORIN), ORIN_CAPABILITY), (boards & {"thor"}, THOR_CAPABILITY)):
            if has:
                facts = release.model_dump(include={"jetpack", "l4t_low", "l4t_high", "cuda", "tensorrt"})
                found.append(Setup(**facts, compute_capability=compute))
    return tuple(found)


def key(command: Command, *, tensorrt: str, compute_capability: str, l4t: str, cuda: str) -> dict[str, str]:
    """What an engine is stored under. One that differs in anything is built again, never loaded."""
    return {"tensorrt": tensorrt, "compute_capability": capability(compute_capability, cuda), "l4t": l4t, "cuda": cuda, **command.key}


def typings(row: Row, precision: Precision) -> tuple[tuple[str, ...], ...]:
    """The flags that make an engine compute in ``precision``, in the order in which they are tried. Never weak and strong ones together."""
    if row.rule == "unconditional":
        return ((),)
    if row.rule == "strong":
        return (("--stronglyTyped",),)
    weak = {"fp32": (), "fp16": ("--fp16",), "bf16": ("--bf16",), "int8": ("--int8", "--fp16"), "int4": ("--int4", "--fp16")}[precision]
    return (("--stronglyTyped",), weak) if weak else ((),)


def script(target: str, row: Row, graphs: Sequence[Planned], commands: Sequence[Command]) -> str:
    """The commands for a POSIX shell: verifies every file, then builds every engine into the folder that it is given."""
    files = {file.path: file for graph in graphs for file in (graph.file, graph.weights) if file}
    sums = "\n".join(f"printf '%s\\n' {shlex.quote(f'{file.sha256}  {file.path}')} | sha256sum --check --quiet -" for file in files.values())
    builds = "\n".join(" ||\n  ".join(" ".join(['"$trtexec"', *map(_quoted, attempt[1:])]) for attempt in command.trtexec) for command in commands)
    return f"""#!/bin/sh
# Builds the engines for {json.dumps(target)} with TensorRT {row.low} to {row.high}. Never run on a Jetson so far.
# sh THIS FOLDER: in its place in the bundle; the engines go to FOLDER. TRTEXEC names the program where it is not in the PATH.
set -eu
engines=${{1:?name the folder that takes the engines}}
trtexec=${{TRTEXEC:-trtexec}}
mkdir -p -- "$engines"
engines=$(cd -- "$engines" && pwd)
cd -- "$(dirname -- "$0")/.."
{sums}
{builds}
"""


def _planned(name: str, graph: Graph, sizes: Sizes) -> Planned:
    shapes = []
    for spec in graph.inputs:
        golden = sizes[spec.name]
        least = tuple(min(LEAST.get(size, have), have) if isinstance(size, str) else size for size, have in zip(spec.shape, golden))
        dynamic = any(isinstance(size, str) for size in spec.shape)
        shapes.append(Shapes(input=spec.name, dtype=spec.dtype, dynamic=dynamic, min=least, opt=golden, max=golden))
    return Planned(name=name, file=graph.file, weights=graph.weights, precision="fp32", shapes=tuple(shapes))


def _command(graph: Planned, row: Row, target: Target) -> Command:
    engine = graph.file.path.replace("/", ".").removesuffix(".onnx")
    dynamic = [one for one in graph.shapes if one.dynamic]
    ranges = {
        side: ",".join(f"{_input(one.input)}:{'x'.join(map(str, sizes))}" for one, sizes in zip(dynamic, sides))
        for side, sides in (("min", [one.min for one in dynamic]), ("opt", [one.opt for one in dynamic]), ("max", [one.max for one in dynamic]))
    }
    profile = tuple(f"--{side}Shapes={text}" for side, text in ranges.items() if text)
    options: tuple[str, ...] = (f"--memPoolSize=workspace:{target.memory_mb // 4}",) if target.memory_mb else ()
    # From 11 on they are the default: only with them are timings of both generations comparable.
    options += tuple(flag for flag in ("--useCudaGraph", "--useSpinWait") if flag not in row.no_ops)
    files = f"--timingCacheFile={ENGINES}{engine}.timing", "--skipInference", f"--saveEngine={ENGINES}{engine}.plan"
    attempts = typings(row, graph.precision)
    said = " | ".join(" ".join((*options, *typing)) for typing in attempts)
    return Command(
        graph=graph.name,
        trtexec=tuple(("trtexec", f"--onnx={graph.file.path}", *profile, *options, *typing, *files) for typing in attempts),
        key={"sha256": graph.file.sha256, "shapes": " ".join(profile), "options": said},
    )


def _input(name: str) -> str:
    """An input as trtexec takes it: between quotes where its name holds what separates names and sizes."""
    if re.fullmatch(r"[\w./-]+", name):
        return name
    if "'" in name:
        raise MmedgeError(f"trtexec cannot be told the shape of the input {name!r}", "give that input a name without quotes")
    return f"'{name}'"


def _quoted(argument: str) -> str:
    """For the shell; the folder of the engines is its variable."""
    flag, placed, name = argument.partition(f"={ENGINES}")
    return f'{flag}="$engines"/{shlex.quote(name)}' if placed and flag in ("--saveEngine", "--timingCacheFile") else shlex.quote(argument)
