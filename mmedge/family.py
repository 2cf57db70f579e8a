"""A family is everything mmedge knows about one kind of model: how to export it, and how to use it.

``families/NAME/__init__.py`` declares (no heavy imports)::

    class Options(BaseModel)            what a recipe may set; frozen, extra="forbid"
    class Config(BaseModel)             what export found out and the session needs; stored in the manifest
    ARCHITECTURES: tuple[str, ...]      names in a checkpoint's config.json that this family takes
    def graphs(config) -> tuple[str, ...]   the graphs an export must yield
    def assets(config) -> tuple[str, ...]   the assets an export must yield
    PREFER: dict[str, tuple[str, ...]]  graph -> backends that it should run on wherever they exist
    CALLS: tuple[str, ...]              session methods that golden cases may call
    def verbs(config) -> tuple[str, ...]    those of ``CALLS`` that a model of its kind has; optional, all of them otherwise
    def lacks(config) -> dict[str, tuple[str, ...]]   what the checkpoint came without -> the verbs that fail for it; optional
    def optional(config) -> tuple[str, ...]   the columns of data that ``classify`` takes together by these names, any of which may be missing; optional
    def ranges(config) -> dict[str, tuple[int, int, int]]   dynamic dimension, or GRAPH/DIMENSION where graphs differ -> least, likeliest and largest size
                                        that the session asks for: what engines are built for; optional, the golden data's sizes otherwise

``export.py`` (torch allowed): ``export(folder: Path, options: Options, media: Media, allow: Allow = Allow()) -> Exported``
``session.py`` (torch never): ``class Session`` with ``__init__(self, runners, assets, config)``
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from pydantic import BaseModel

from mmedge.documents import validate
from mmedge.errors import MmedgeError
from mmedge.runner import Runner
from mmedge.target import Scatter, Target
from mmedge.tensors import Array

if TYPE_CHECKING:
    from mmedge.manifest import Model

Media = Mapping[str, Any]
"""Golden inputs by name: pictures and sounds as paths, texts as strings."""


NAMED = 20
"""So many of the weights that were accepted are named in a bundle."""


@dataclass(frozen=True, slots=True)
class Allow:
    """What the user has agreed to on the command line."""

    code: bool = False
    """Run code that comes with a model, or the user's own module."""
    weights: bool = False
    """Accept weights that do not match the architecture: what is missing is made up, what is extra is left out."""
    accepted: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict, compare=False)
    """What was: architecture -> ``made up`` or ``left out`` -> how many weights, and the first of their names."""

    def accept(self, architecture: str, what: str, keys: Sequence[str]) -> None:
        """Keep for the bundle's provenance that so many weights were ``made up`` or ``left out``."""
        self.accepted.setdefault(architecture, {})[what] = {"count": len(keys), "names": list(keys[:NAMED])}


@dataclass(frozen=True)
class TorchGraph:
    """A module to trace. ``inputs`` are in the order of ``forward``; both examples are real (golden) inputs."""

    module: Any
    inputs: dict[str, Any]
    """name -> torch.Tensor, the example that is traced and stored as golden."""
    outputs: tuple[str, ...]
    dynamic: dict[str, dict[int, str]] = field(default_factory=dict)
    """input -> axis -> dimension name. Equal names are equal sizes."""
    other: dict[str, Any] | None = None
    """A second example of other sizes, required when ``dynamic`` is not empty: parity must hold there too."""
    program: Any = None
    """The module as a ``torch.onnx.ONNXProgram`` that another exporter made, where torch's own needs help; it is held against the module all the same."""
    fixed: Callable[[Scatter], TorchGraph] | None = None
    """For a decoder whose cache grows: the same with a cache of fixed length, for the targets that ask for it."""


@dataclass(frozen=True)
class OnnxGraph:
    """A model that already is ONNX, as a file, as bytes, or as an ``onnx_ir.Model``. Its reference is an evaluator that optimises nothing."""

    model: Any
    feeds: dict[str, Array]
    """Golden feeds."""


@dataclass(frozen=True)
class Case:
    """Golden data of the processor or verb level: a session method, its arguments, what the reference gave.

    An argument that is a string starting with ``@`` names a golden medium. ``expected`` is an array, a dict of arrays,
    or plain JSON. Arrays are compared by ``atol``; JSON by equality, floats by ``atol``.
    """

    level: Literal["processor", "verb"]
    call: str
    args: dict[str, Any]
    expected: Any
    source: str = ""
    """What produced ``expected``, such as ``transformers 5.23.0 WhisperFeatureExtractor``."""
    atol: float = 1e-4


@dataclass(frozen=True)
class Exported:
    """What a family hands to the exporter."""

    graphs: dict[str, TorchGraph | OnnxGraph]
    assets: dict[str, bytes | Path]
    config: BaseModel
    cases: list[Case]


class Session(Protocol):
    """The verbs of one model. It is handed runners and never opens one."""

    def __init__(self, runners: Mapping[str, Runner], assets: Mapping[str, Path], config: Any) -> None: ...


class PlainSession:
    """A session of graphs that nothing else is known about: they are run by name."""

    def __init__(self, runners: Mapping[str, Runner], assets: Mapping[str, Path], config: Any) -> None:
        self._runners = runners

    def run(self, graph: str, **feeds: Any) -> dict[str, Array]:
        """Run one graph on arrays by the names of its inputs. Returns its outputs by name.

        Raises:
            MmedgeError: there is no such graph, or the arrays do not fit its inputs.
        """
        if graph not in self._runners:
            raise MmedgeError(f"there is no graph {graph!r}", f"use one of: {', '.join(self._runners)}")
        runner = self._runners[graph]
        return {name: value.copy() if runner.reuses_outputs else value for name, value in runner.run(feeds).items()}


def family_names() -> list[str]:
    """The families that exist: folder names, nothing imported."""
    import mmedge.families

    return sorted(module.name for module in pkgutil.iter_modules(mmedge.families.__path__))


def load_family(name: str, part: str = "") -> Any:
    """Import ``mmedge.families.NAME``, or its ``export`` or ``session`` module."""
    if name not in family_names():
        raise MmedgeError(f"there is no model family {name!r}", f"use one of: {', '.join(family_names())}")
    return importlib.import_module(f"mmedge.families.{name}" + (f".{part}" if part else ""))


def offered(family: str, graph: str, target: Target) -> tuple[str, ...]:
    """The backends of a target that a graph is offered to, in order: those that its family prefers, where the target has any of them; else all."""
    preferred: tuple[str, ...] = getattr(load_family(family), "PREFER", {}).get(graph, ())
    return tuple(backend for backend in preferred if backend in target.backends) or target.backends


def verbs_of(model: Model) -> set[str]:
    """The session methods that a bundle's model has: those of its kind, without those that its checkpoint lacked something for."""
    family = load_family(model.family)
    config = _config_of(model, family)
    kind = family.verbs(config) if hasattr(family, "verbs") else family.CALLS
    missing = family.lacks(config) if hasattr(family, "lacks") else {}
    return {*kind}.difference(*missing.values())


def optional_of(model: Model) -> tuple[str, ...]:
    """The columns of data that a bundle's model classifies by together, any of which may be missing; empty for most models."""
    family = load_family(model.family)
    return tuple(family.optional(_config_of(model, family))) if hasattr(family, "optional") else ()


def _config_of(model: Model, family: Any) -> Any:
    where = f"the manifest's config of a {model.family} model"
    return validate(model.config, family.Config, where, fix="export the bundle again with this version of mmedge")
