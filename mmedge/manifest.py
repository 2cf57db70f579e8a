"""``manifest.json``: everything a bundle holds and knows about itself. The only file of a bundle that is ever replaced."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any, Literal, get_args

from pydantic import Field, field_validator

from mmedge.documents import Document
from mmedge.rated import Budget, Choice, Interval, Loss
from mmedge.recipe import TaskGate
from mmedge.target import Goal, Precision, Scatter, Target


class File(Document):
    """A file of the bundle. Its name carries its hash and never changes its content."""

    path: str
    """Relative to the bundle, with forward slashes."""
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    size_bytes: int = Field(ge=0)

    @field_validator("path")
    @classmethod
    def _stays_inside(cls, path: str) -> str:
        parts = PurePosixPath(path).parts
        if not parts or path.startswith("/") or "\\" in path or ":" in parts[0] or ".." in parts or "\0" in path:
            raise ValueError(f"{path!r} would lie outside the bundle")
        return path


class Tensor(Document):
    name: str
    dtype: str
    shape: tuple[int | str, ...]


class Onnx(Document):
    """An ONNX file of the bundle."""

    file: File
    weights: File | None = None
    """Large tensors, shared by the model's graphs; the ONNX file names it by its name in the same folder."""


class Variant(Onnx):
    """A graph once more in another precision, with the same inputs and outputs: for runtimes that take their precision from the graph.

    OpenVINO's are IR: ``file`` is the ``.xml``, and ``weights`` the ``.bin``.
    """

    precision: Precision
    backend: str = ""
    """Whose rules it was made by, where there are several of one precision; empty: whoever takes its precision from the graph."""
    method: str
    """What made it."""
    kept_float: tuple[str, ...] = ()
    """Types or names of the nodes that stayed in fp32."""
    drift: float
    """Of its outputs from golden, as a fraction of the bound of its precision."""
    outputs: File | None = None
    """npz: what it gave on the golden feeds when it was made. Of integers, ``check`` asks for that again, since they are not meant to be equal to fp32."""

    @property
    def name(self) -> str:
        """What it is among the variants of its graph: ``fp16``, ``openvino static-minmax``."""
        return f"{self.backend} {self.method}" if self.backend else self.precision


class Graph(Onnx):
    """One ONNX graph of a model."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    opset: int
    ir: int
    reference: str
    """What computed the golden outputs."""
    parity: float | None = None
    """Largest absolute difference to the torch module over all examples, as a fraction of the bound; null for models that were ONNX already."""
    ranges: dict[str, tuple[int, int, int]] = {}
    """Dynamic dimension of the inputs -> its least, likeliest and largest size: what an engine that must know them is built for."""
    variants: tuple[Variant, ...] = ()


class Case(Document):
    """Golden data of the processor or verb level: a session method, its arguments, and what the reference gave."""

    level: Literal["processor", "verb"]
    call: str
    args: dict[str, Any]
    expected: Any = None
    """Plain JSON; null where the expectation is arrays."""
    arrays: tuple[str, ...] = ()
    """Keys of ``case/INDEX/KEY`` in the golden file; one empty key for a bare array."""
    source: str = ""
    atol: float = 1e-4


class Model(Document):
    """One model by its role."""

    family: str
    config: dict[str, Any]
    graphs: dict[str, Graph] = Field(min_length=1)
    assets: dict[str, File]
    golden: File
    """npz without pickles: ``graph/NAME/in/TENSOR``, ``graph/NAME/out/TENSOR``, ``case/INDEX/KEY``."""
    cases: tuple[Case, ...]
    sources: dict[str, str] = {}
    """Where each file of the checkpoint came from."""
    gate: TaskGate = TaskGate()
    """Of the recipe."""

    def graphs_for(self, target: Target) -> dict[str, str]:
        """The graphs that a target runs: name -> key in ``graphs``. A decoder with a fixed cache is ``decoder-scatternd`` beside ``decoder``."""
        forms = tuple(f"-{scatter.lower()}" for scatter in get_args(Scatter))
        names = [name for name in self.graphs if not name.endswith(forms)]
        wanted = {name: form_name(name, target.scatter) for name in names}
        return {name: key if key in self.graphs else name for name, key in wanted.items()}


def form_name(name: str, scatter: Scatter | None) -> str:
    """What a graph is stored as in the form that writes its cache with ``scatter``."""
    return f"{name}-{scatter.lower()}" if scatter else name


class Trial(Document):
    """One candidate for a graph: how far it is from golden, and how fast it ran in interleaved rounds."""

    backend: str
    precision: str
    drift: float | None = None
    drift_kind: Literal["max_abs", "relative_l2"] | None = None
    passed: bool = False
    median_ms: float | None = None
    rounds: int = 0
    note: str = ""


class Evidence(Document):
    """What was really done with a graph for a target, and on what. Never a promise for anything else."""

    kind: Literal["parsed", "built", "run", "measured"]
    on: str
    """Such as ``TensorRT-RTX 1.7.1 for compute capability 8.6, without a GPU``."""
    note: str = ""


class Placement(Document):
    """Where one graph runs on one target, and why."""

    state: Literal["ready", "built", "on-device"]
    """``built``: the engine is in ``file``, and was never opened. ``on-device``: it can only be built on the board. In both there is nothing to run yet."""
    backend: str
    precision: Precision
    reason: str
    file: File | None = None
    """The compiled engine; null where the runtime opens the ONNX file itself."""
    made_of: str | None = None
    """sha256 of the variant that the engine was made of; null: of the graph itself."""
    key: dict[str, str] = {}
    """What the choice is bound to: runtime version, machine, features."""
    trials: tuple[Trial, ...] = ()
    evidence: tuple[Evidence, ...] = ()


class Quantized(Document):
    """What ``mmedge quantize`` found for one model on one target."""

    task: str
    metric: str
    higher_is_better: bool
    data: str
    """Name of the data set."""
    fingerprint: str
    """sha256 of the samples that it was judged on."""
    samples: int
    """That ranges were measured on."""
    held_out: bool = False
    """None of those were judged."""
    setting: dict[str, str] = {}
    fp32: Interval
    """The metric of the model in fp32."""
    whole: Interval
    """With every graph as it was chosen."""
    loss: Loss
    """Of the model as a whole."""
    goal: Goal
    budget: Budget = Budget()
    machine: str
    """That latencies were measured on, in one line."""
    graphs: dict[str, Choice]
    warnings: tuple[str, ...] = ()
    golden: File | None = None
    """npz: what the model's golden cases gave with every graph as it was chosen."""
    cases: tuple[Case, ...] = ()
    """Those cases; ``check`` asks for them again where the placement is still the chosen one."""


class Gate(Document):
    """One check with its bound: passed or not, and by how much."""

    name: str
    passed: bool
    value: float | str | None = None
    """Null where it was not run, which blocks nothing; ``note`` then says why."""
    bound: float | str | None = None
    note: str = ""
    outputs: dict[str, float] = {}
    """Of a graph: the value of each output, of which ``value`` is the largest."""

    def word(self) -> str:
        """``ok``, ``FAIL``, or ``--`` where it was not run: for lists."""
        return "FAIL" if not self.passed else "--" if self.value is None else "ok"


class Manifest(Document):
    """Schema ``mmedge.bundle/1``."""

    schema_: Literal["mmedge.bundle/1"] = Field(default="mmedge.bundle/1", alias="schema")
    name: str
    created: str
    """UTC, ISO 8601."""
    models: dict[str, Model] = Field(min_length=1)
    media: dict[str, File | str]
    """Golden inputs: files, and texts as they are."""
    engines: dict[str, dict[str, Placement]] = {}
    """target -> ``ROLE/GRAPH`` -> placement."""
    plans: dict[str, tuple[File, ...]] = {}
    """target -> what builds its engines on the board: the plan, then its scripts."""
    gates: dict[str, tuple[Gate, ...]] = {}
    """``export``, ``check TARGET`` -> their gates."""
    quantized: dict[str, dict[str, Quantized]] = {}
    """target -> role -> what quantizing found."""
    provenance: dict[str, Any] = {}

    def files(self) -> list[File]:
        """Every file the manifest names, once."""
        found = [file for file in self.media.values() if isinstance(file, File)]
        for model in self.models.values():
            stored: list[Onnx] = [one for graph in model.graphs.values() for one in (graph, *graph.variants)]
            found += [model.golden, *model.assets.values(), *(file for one in stored for file in (one.file, one.weights) if file)]
            found += [one.outputs for graph in model.graphs.values() for one in graph.variants if one.outputs]
        found += [one.golden for roles in self.quantized.values() for one in roles.values() if one.golden]
        found += [placed.file for placements in self.engines.values() for placed in placements.values() if placed.file]
        found += [file for plan in self.plans.values() for file in plan]
        return list({file.path: file for file in found}.values())
