"""A target says where graphs run: backends in order of preference, precisions, limits, how to recognise the board."""

from __future__ import annotations

import platform
import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from mmedge import catalog
from mmedge.documents import Document, read_toml
from mmedge.errors import MmedgeError
from mmedge.need import have
from mmedge.quantization import Tables, name_of

Precision = Literal["fp32", "fp16", "bf16", "int8", "int4"]

Board = Literal["orin-nano", "orin-nx", "agx-orin", "thor"]
"""A line of NVIDIA's Jetson modules."""

Scatter = Literal["ScatterND", "TensorScatter"]
"""The operator that writes into a key/value cache of fixed length."""

Goal = Literal["latency", "size", "balanced"]
"""What the choice between candidates that passed goes by; ``balanced``: the product of both shares of fp32's."""

SYSTEM = Path("/")

TENSOR_SCATTER_OPSET = 24
"""The first with TensorScatter, which a runtime may do in place; TensorRT reads it from 10.15 on."""


def _capability(text: str) -> str:
    if not re.fullmatch("[0-9]{1,3}[.][0-9]", text):
        raise ValueError(f"{text!r} is no compute capability: NVIDIA writes them as 8.7")
    return text


class Detect(Document):
    """When this target is the machine at hand. Everything given must hold; the highest ``rank`` that holds wins."""

    rank: int
    machines: tuple[str, ...] = ()
    """As ``platform.machine()`` names them; empty: any."""
    files: tuple[str, ...] = ()
    """Files that exist on the board."""
    modules: tuple[str, ...] = ()
    """Python modules that must be installed."""
    board: str = ""
    """Words of the name that the board gives itself. A container may hide it: a target without them should then hold."""


class Target(Document):
    """One board or chip (schema ``mmedge.target/1``, ``targets/NAME.toml``)."""

    schema_: Literal["mmedge.target/1"] = Field(default="mmedge.target/1", alias="schema")
    name: str
    summary: str
    notes: str = ""
    """What a user should know before trusting it."""
    backends: tuple[str, ...] = Field(min_length=1)
    precisions: dict[str, Annotated[tuple[Precision, ...], Field(min_length=1)]] = {}
    options: dict[str, dict[str, Any]] = {}
    """backend -> the runtime's own options."""
    quantize: Tables = {}
    """backend -> ways to quantize a graph for it: each is a candidate, what it loses and gains is measured."""
    goal: Goal = "latency"
    """What is chosen by among candidates that hold their gate."""
    max_opset: int
    """Of graphs as they are exported. A quantized variant may need a higher one, which its ``quantize`` table then says the target takes."""
    max_ir: int
    python: str = ">=3.10"
    cache: Literal["growing", "fixed"] = "growing"
    """The form of a decoder's key/value cache. ``fixed``: its full length from the start, so that no shape changes between steps."""
    memory_mb: int | None = None
    """Of the board with the least. On a board itself, what that has counts."""
    build_on: Literal["anywhere", "device"] = "anywhere"
    """``device``: engines can only be built on the board itself."""
    boards: tuple[Board, ...] = ()
    """The Jetsons that it stands for."""
    l4t: tuple[tuple[str, str], ...] = ()
    """Ranges of Jetson Linux that are known for them, from and to; an end counts with all that is below it: 38.2 covers 38.2.1."""
    compute_capability: tuple[Annotated[str, AfterValidator(_capability)], ...] = ()
    """NVIDIA's name for what a GPU's kernels are built for: ``8.7``. Empty: whatever the GPU is."""
    dla_cores: int | None = None
    """NVIDIA's accelerators for convolutions, on the member with the fewest."""
    detect: Detect | None = None

    @property
    def quantized(self) -> str:
        """The candidates of its quantize tables in words; empty where it has none."""
        return "; ".join(f"{backend} {', '.join(map(name_of, candidates))}" for backend, candidates in self.quantize.items())

    @model_validator(mode="after")
    def _speaks_of_its_backends(self) -> Target:
        for kind in ("precisions", "options", "quantize"):
            if stray := next((name for name in getattr(self, kind) if name not in self.backends), None):
                raise ValueError(f"{kind}.{stray}: the target does not run on {stray}: its backends are {', '.join(self.backends)}")
        return self

    @property
    def scatter(self) -> Scatter | None:
        """How a cache of fixed length is written; None where caches grow."""
        if self.cache == "growing":
            return None
        return "TensorScatter" if self.max_opset >= TENSOR_SCATTER_OPSET else "ScatterND"

    def is_here(self, root: Path = SYSTEM) -> bool:
        """Whether this machine is such a board. ``root`` is where the system's files are."""
        found = self.detect
        return (
            found is not None
            and (not found.machines or platform.machine() in found.machines)
            and all((root / file.lstrip("/")).exists() for file in found.files)
            and all(have(module) for module in found.modules)
            and found.board in _board(root)
        )

    @classmethod
    def load(cls, what: str) -> Target:
        """By name or by path. Raises MmedgeError: unknown (with the nearest name), or a broken file."""
        path = catalog.find("targets", what)
        target = read_toml(path, cls)
        if target.name != path.stem:
            raise MmedgeError(f"{path} names its target {target.name!r}", f"a target has its file's name: {path.stem!r}")
        return target

    @classmethod
    def detected(cls, root: Path = SYSTEM) -> Target:
        """The best target for this machine. ``root`` is where the system's files are."""
        return here(root)[0]


def here(root: Path = SYSTEM) -> tuple[Target, ...]:
    """Every shipped target that this machine is, the best first: an Orin Nano is one, and a Jetson, and a CPU. ``root`` is where the system's files are."""
    found = [target for target in map(Target.load, catalog.names("targets")) if target.is_here(root)]
    return tuple(sorted(found, key=lambda target: target.detect.rank if target.detect else 0, reverse=True))


def pick(found: Sequence[Target], compiled: Collection[str], *, anew: bool = False) -> Target:
    """The target to take for a bundle where nobody names one: the first that it is compiled for, else the best.

    Args:
        found: what this machine is, the best first.
        compiled: names of the targets that the bundle is compiled for, those included whose engines are still to be built on the device.
        anew: it is going to be compiled. Then only what a bundle was made for a board with holds it to a lesser target; a better CPU's is simply added.
    """
    return next((target for target in found if target.name in compiled and not (anew and target.build_on == "anywhere")), found[0])


def _board(root: Path) -> str:
    """The board's own name; empty where it has none."""
    try:
        return (root / "proc/device-tree/model").read_text(errors="replace")
    except OSError:
        return ""


class Targets(Document):
    """Every target (schema ``mmedge.targets/1``)."""

    schema_: Literal["mmedge.targets/1"] = Field(default="mmedge.targets/1", alias="schema")
    best: str
    """The best for this machine."""
    here: tuple[str, ...] = ()
    """All that this machine is, the best first."""
    targets: tuple[Target, ...]

    def text(self) -> str:
        """As a list for people."""
        rows = []
        for one in self.targets:
            rows.append(f"{'*' if one.name == self.best else ' '} {one.name:16} {one.summary} ({', '.join(one.backends)})")
            rows += [f"{'':19}quantized: {said}"] if (said := one.quantized) else []
        return "\n".join([*rows, "* the best for this machine"])


def targets() -> Targets:
    """All that are shipped. Raises MmedgeError: one of the files is broken."""
    names = tuple(target.name for target in here())
    return Targets(best=names[0], here=names, targets=tuple(map(Target.load, catalog.names("targets"))))
