"""The build plan of a bundle: what builds its engines on a board, for every TensorRT that the board may have. Written where no board is at hand."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from mmedge import onnx_file, runner
from mmedge.backends.tensorrt import flags, store
from mmedge.backends.tensorrt.build import profile_shapes
from mmedge.backends.tensorrt.versions import ORIN, ORIN_CAPABILITY, RELEASES, TENSORRT, THOR_CAPABILITY, Row, capability, within
from mmedge.bundle import Bundle
from mmedge.deploy.memory import Memory
from mmedge.documents import Document, dump_json
from mmedge.manifest import Evidence, File, Onnx
from mmedge.target import Precision, Target

FOLDER = "plans"
ENGINES = "{engines}/"
"""In a command: the folder that takes the engines. It is the board's own, outside the bundle, because nothing else fits them."""

NOTE = "Never run on a Jetson so far: each graph names what was really done with it, and on what. TensorRT-RTX is another product than the TensorRT of a board."

DLA_PRECISIONS: tuple[Precision, ...] = ("fp16", "int8")
DLA = ("--useDLACore=0", "--allowGPUFallback")
NO_DLA = {"MatMul", "Einsum", "Attention", "LSTM", "GRU", "RNN"}
"""Where the work is in these, little of a graph would run on the accelerator, which is made for convolutions."""


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
    convolutional: bool = False
    """Whether its work is convolutions of fixed shapes: what an accelerator for those may take."""
    evidence: tuple[Evidence, ...] = ()
    """What was really done with this very file, and on what."""


class Command(Document):
    """How one graph is built."""

    graph: str
    trtexec: tuple[tuple[str, ...], ...]
    """Arguments, to be run in the bundle's folder; where there are several, each is for when those before it fail."""
    dla: tuple[tuple[str, ...], ...] = ()
    """The same for an engine on the board's accelerator for convolutions (DLA): an alternative, to be measured against the other on the board."""
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
    memory: Memory | None = None
    """What the whole bundle needs, by estimate; null where the memory of the target is not known."""
    graphs: tuple[Planned, ...]
    generations: tuple[Generation, ...]


@dataclass(frozen=True)
class Planning:
    """A graph that is to become an engine, as it is when the plan is made."""

    name: str
    """``ROLE/GRAPH``."""
    stored: Onnx
    """The file that is built, of the graph or of one of its variants."""
    graph: runner.Graph
    """The same, with a range for every dynamic dimension."""
    precision: Precision
    evidence: tuple[Evidence, ...] = ()


def write_plan(bundle: Bundle, target: Target, graphs: Sequence[Planning], memory: Memory | None = None) -> tuple[File, ...]:
    """Add the plan and its scripts to the bundle; the caller names them in the manifest.

    Returns:
        The plan, then its scripts.

    Raises:
        MmedgeError: trtexec cannot be told of an input by its name.
    """
    planned = tuple(map(_planned, graphs))
    generations = []
    for row in TENSORRT:
        if set(row.boards) & set(target.boards):
            commands = tuple(_command(graph, row, target) for graph in planned)
            name = f"{target.name}-tensorrt-{row.low}-to-{row.high}".replace(".", "-")
            made = bundle.add(FOLDER, f"{name}.sh", script(target.name, row, planned, commands).encode())
            generations.append(Generation(low=row.low, high=row.high, setups=setups(target, row), commands=commands, script=made))
    plan = Plan(bundle=bundle.manifest.name, target=target.name, memory=memory, graphs=planned, generations=tuple(generations))
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


def script(target: str, row: Row, graphs: Sequence[Planned], commands: Sequence[Command]) -> str:
    """The commands for a POSIX shell: verifies every file, then builds every engine into the folder that it is given."""
    files = {file.path: file for graph in graphs for file in (graph.file, graph.weights) if file}
    sums = "\n".join(f"printf '%s\\n' {shlex.quote(f'{file.sha256}  {file.path}')} | sha256sum --check --quiet -" for file in files.values())
    builds = "\n".join(_tried(command.graph, command.trtexec) for command in commands)
    if alternatives := [_tried(f"{command.graph} on DLA", command.dla, "  ") for command in commands if command.dla]:
        builds = "\n".join([builds, 'if [ -n "${DLA:-}" ]; then', *alternatives, "fi"])
    return f"""#!/bin/sh
# Builds the engines for {json.dumps(target)} with TensorRT {row.low} to {row.high}. Never run on a Jetson so far.
# sh THIS FOLDER: in its place in the bundle; the engines go to FOLDER. TRTEXEC names the program where it is not in the PATH.
# DLA=1: also those that may run on the accelerator for convolutions, as FOLDER/NAME.dla.plan, on boards that have one.
set -eu
engines=${{1:?name the folder that takes the engines}}
trtexec=${{TRTEXEC:-trtexec}}
mkdir -p -- "$engines"
engines=$(cd -- "$engines" && pwd)
cd -- "$(dirname -- "$0")/.."
{sums}
failed=
{builds}
if [ -n "$failed" ]; then echo "not built:$failed" >&2; exit 1; fi
"""


def _tried(name: str, attempts: Sequence[Sequence[str]], indent: str = "") -> str:
    """Shell commands, each for when those before it fail; then the next graph's turn has come all the same."""
    commands = [" ".join(['"$trtexec"', *map(_quoted, one[1:])]) for one in attempts]
    return indent + f" ||\n{indent}  ".join([*commands, f'failed="$failed "{shlex.quote(name)}'])


def _planned(one: Planning) -> Planned:
    profile = profile_shapes(one.graph)
    shapes = []
    for spec in one.graph.inputs:
        dynamic = spec.name in profile
        least, likeliest, largest = profile[spec.name] if dynamic else (tuple(size for size in spec.shape if isinstance(size, int)),) * 3
        shapes.append(Shapes(input=spec.name, dtype=spec.dtype, dynamic=dynamic, min=least, opt=likeliest, max=largest))
    return Planned(
        name=one.name,
        file=one.stored.file,
        weights=one.stored.weights,
        precision=one.precision,
        shapes=tuple(shapes),
        convolutional=not profile and _convolutional(one.graph),
        evidence=one.evidence,
    )


def _convolutional(graph: runner.Graph) -> bool:
    kinds = {node.op_type for one in onnx_file.graphs(onnx_file.read(graph.path).graph) for node in one.node}
    return "Conv" in kinds and not kinds & NO_DLA


def _command(graph: Planned, row: Row, target: Target) -> Command:
    engine = graph.file.path.replace("/", ".").removesuffix(".onnx")
    # DLA: fp16 and int8 only, no dynamic shapes (NVIDIA's "DLA Supported Layers and Restrictions"); what it cannot do goes to the GPU, and says nothing.
    accelerated = bool(graph.convolutional and graph.precision in DLA_PRECISIONS and target.dla_cores and set(row.dla) & set(target.boards))
    profile = flags.profile({one.input: (one.min, one.opt, one.max) for one in graph.shapes if one.dynamic})
    options = flags.options(graph.precision, store.workspace_mb(target))
    # From 11 on they are the default: only with them are timings of both generations comparable.
    options += tuple(flag for flag in ("--useCudaGraph", "--useSpinWait") if flag not in row.no_ops)
    files, dla = ((f"--timingCacheFile={ENGINES}{name}.timing", "--skipInference", f"--saveEngine={ENGINES}{name}.plan") for name in (engine, f"{engine}.dla"))
    attempts = flags.typings(row, graph.precision)
    said = " | ".join(" ".join((*options, *typing)) for typing in attempts)
    return Command(
        graph=graph.name,
        trtexec=tuple(("trtexec", f"--onnx={graph.file.path}", *profile, *options, *typing, *files) for typing in attempts),
        dla=tuple(("trtexec", f"--onnx={graph.file.path}", *options, *typing, *DLA, *dla) for typing in attempts) if accelerated else (),
        key={"sha256": graph.file.sha256, "shapes": " ".join(profile), "options": said},
    )


def _quoted(argument: str) -> str:
    """For the shell; the folder of the engines is its variable."""
    flag, placed, name = argument.partition(f"={ENGINES}")
    return f'{flag}="$engines"/{shlex.quote(name)}' if placed and flag in ("--saveEngine", "--timingCacheFile") else shlex.quote(argument)
