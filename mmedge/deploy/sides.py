"""A graph as a target runs it, beside the same in ONNX Runtime with all optimisations off: any part of the one can be held against that of the other."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from mmedge import runner
from mmedge.deploy.cut import Net, reads
from mmedge.errors import MmedgeError
from mmedge.evaluate.drift import HALF_BOUND, drifts
from mmedge.need import need
from mmedge.target import Target
from mmedge.tensors import Array, Feeds, TensorSpec

FLOATS = {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(double)": "float64"}
"""ONNX Runtime's names of the types that are compared. Whole numbers are sizes and indexes: what goes wrong in them shows in what they select."""
HUGE, MASKED = {"fp16": 6e4}, {"fp16": 4e3}
"""A mask's minus infinity is the least number of its type, or one that is small enough: where the reference is beyond ``HUGE``, which the precision cannot
say, values of the same sign beyond ``MASKED`` are equal to it."""
HUGE_ELSE = 1e30
RANDOM = ("RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial", "Bernoulli")
"""What depends on one is compared only where two runs of the reference agree, as where its share is set to zero."""
UNBOUNDED = 1e9
"""JSON has no infinity."""


class Sides:
    """Both sides of a graph.

    Args:
        graph: in fp32, the reference.
        candidate: what the target's engine was made of: the same graph, or its variant in another precision.
        scratch: for what is cut.

    Raises:
        MmedgeError: a file is no ONNX file.
    """

    def __init__(self, graph: runner.Graph, backend: runner.Backend, candidate: runner.Candidate, target: Target, feeds: Feeds, scratch: Path) -> None:
        self.precision = candidate.precision
        self._backend, self._candidate, self._target, self._feeds, self._scratch = backend, candidate, target, feeds, scratch
        self.reference = Net(graph, scratch)
        self.here = self.reference if candidate.graph.sha256 == graph.sha256 else Net(candidate.graph, scratch)
        known = _floats(self.reference)
        self._floats = known if self.here is self.reference else _floats(self.here)
        self.specs = {name: spec for name, spec in self._floats.items() if name in known and self._alike(name)}
        """The tensors that are compared: floats that both sides have under one name, made by an operator of one kind."""

    def drift(self, outputs: Iterable[str]) -> dict[str, float]:
        """Of each output that is compared, where the part of the graph up to them is compiled alone, as a fraction of its bound.

        Raises:
            MmedgeError: a runtime refuses a part of the graph.
        """
        compared = [name for name in outputs if name in self.specs]
        if not compared:
            return {}
        with self.reference.cut(compared, {}) as part:
            expected = exact(part.path, self._feeds)
            if any(self.reference.nodes[index].op_type in RANDOM for index in self.reference.before(compared)):
                again = drift_of(exact(part.path, self._feeds), expected, self.precision)
                expected = {name: value for name, value in expected.items() if again[name] <= 1.0}
        with self.here.cut(compared, self.specs) as part, tempfile.TemporaryDirectory(dir=self._scratch) as out:
            candidate = runner.Candidate(part, self.precision, {**self._candidate.options, "throwaway": True})
            with self._backend.open(self._backend.compile(candidate, self._target, Path(out)), self._target) as opened:
                got = opened.run({spec.name: self._feeds[spec.name] for spec in opened.inputs})
                return drift_of(got, expected, self.precision)

    def handed_on(self, count: int) -> list[str]:
        """What the first ``count`` nodes make for those after them, or of all nodes the graph's outputs: what is compared of it, else what that is made of."""
        made = self.here.live(count) if count < len(self.here.nodes) else self.here.ends
        return list(dict.fromkeys(one for name in made if name in self._floats for one in ([name] if name in self.specs else self.inputs(name)[0])))

    def inputs(self, tensor: str) -> tuple[list[str], list[str]]:
        """The nearest compared tensors that one is made of, and the operators on the way: several where a variant has more nodes than the reference."""
        net, operators = self.here, []
        found: dict[str, None] = {}
        waiting, seen = [tensor], {tensor}
        while waiting:
            node = net.nodes[net.maker[waiting.pop()]]
            operators.append(node.op_type)
            for name in reads(node):
                if name in self.specs:
                    found[name] = None
                elif name in self._floats and name not in seen:
                    waiting.append(name)
                seen.add(name)
        return list(found), operators[::-1]

    def _alike(self, name: str) -> bool:
        kinds = {net.nodes[net.maker[name]].op_type for net in (self.here, self.reference)}
        return len(kinds - {"Cast"}) <= 1


def exact(path: Path, feeds: Feeds) -> dict[str, Array]:
    """What a graph's outputs are, as nearly as its types allow."""
    session = _session(path)
    names = [value.name for value in session.get_outputs()]
    return dict(zip(names, session.run(names, {value.name: feeds[value.name] for value in session.get_inputs()})))


def drift_of(got: Feeds, reference: Feeds, precision: str) -> dict[str, float]:
    """Of each tensor, as a fraction of its bound; of masks, and of what is zero throughout, too."""
    pairs = {name: _settled(np.asarray(got[name], np.float64), np.asarray(value, np.float64), precision) for name, value in reference.items()}
    found, kind = drifts({name: pair[0] for name, pair in pairs.items()}, {name: pair[1] for name, pair in pairs.items()}, precision)
    for name, (mine, theirs) in pairs.items():
        if kind == "relative_l2" and mine.shape == theirs.shape and not theirs.any() and np.isfinite(mine).all():
            found[name] = float(np.abs(mine).max(initial=0.0)) / HALF_BOUND
    return {name: float(f"{min(value, UNBOUNDED):.4g}") for name, value in found.items()}


def _settled(mine: Array, theirs: Array, precision: str) -> tuple[Array, Array]:
    """Both with zeros where they are no number on both sides, or stand for infinity on both."""
    if mine.shape != theirs.shape:
        return mine, theirs
    huge, masked = HUGE.get(precision, HUGE_ELSE), MASKED.get(precision, HUGE_ELSE)
    infinite = (np.abs(theirs) >= huge) & (np.abs(mine) >= masked) & (np.sign(mine) == np.sign(theirs))
    same = infinite | (np.isnan(mine) & np.isnan(theirs))
    return np.where(same, 0.0, mine), np.where(same, 0.0, theirs)


def _floats(net: Net) -> dict[str, TensorSpec]:
    """By ONNX Runtime, which works out every type; nothing is run."""
    with net.cut(list(net.maker), {}) as everything:
        values = [value for value in _session(everything.path).get_outputs() if value.type in FLOATS]
    return {one.name: TensorSpec(one.name, FLOATS[one.type], tuple(size if isinstance(size, int) else str(size) for size in one.shape)) for one in values}


def _session(path: Path) -> Any:
    ort = need("onnxruntime", extra="build")
    settings = ort.SessionOptions()
    settings.log_severity_level = 3
    settings.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    settings.add_session_config_entry("session.disable_prepacking", "1")  # weights stay pages of their file
    try:
        return ort.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises a class per status, all direct children of Exception
        raise MmedgeError(f"onnxruntime {ort.__version__} cannot load {path.name}, a part of the graph: {error}", "export the bundle again") from error
