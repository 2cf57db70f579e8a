"""Hold rewritten decoders against the files they were made from. Part of export: ONNX Runtime, no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmedge.errors import MmedgeError, first_line
from mmedge.need import need
from mmedge.runner import Carried, Copied
from mmedge.tensors import Array, Feeds, TensorSpec

TYPES = {"float": "float32", "double": "float64", "float16": "float16"}
TOKENS = 20
BOUND = 1e-4


class Evaluated:
    """A runner over an ONNX file as it is, without optimisation."""

    reuses_outputs = False

    def __init__(self, path: Path) -> None:
        ort = need("onnxruntime", extra="build")
        settings = ort.SessionOptions()
        settings.graph_optimization_level, settings.log_severity_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL, 4
        try:
            self._session = ort.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's own exceptions share no base but Exception
            raise MmedgeError(f"{path.name} cannot be opened by ONNX Runtime: {_said(error)}", "get an undamaged copy") from error
        self.inputs, self.outputs = (tuple(map(_spec, side)) for side in (self._session.get_inputs(), self._session.get_outputs()))

    def run(self, feeds: Feeds) -> dict[str, Array]:
        try:
            results = self._session.run(None, dict(feeds))
        except Exception as error:
            raise MmedgeError(f"it does not run: {_said(error)}", "correct its golden inputs") from error
        return dict(zip((spec.name for spec in self.outputs), results))

    def carry(self, pairs: Mapping[str, str], start: Feeds) -> Carried:
        return Copied(self, pairs, start)

    def executed(self) -> dict[str, str]:
        return {"precision": "as the file declares every tensor", "graph optimisation": "none"}

    def __enter__(self) -> Evaluated:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        del self._session


class Whole:
    """The untouched decoder reads the whole text anew for every token: nothing is cached, so nothing of a cache can be wrong. A step of ``decode``.

    Args:
        constants: what an encoder gave, by the file's own names.
    """

    def __init__(self, file: Evaluated, constants: Mapping[str, Array]) -> None:
        self._file, self._constants = file, constants
        self._tokens: list[int] = []

    def __call__(self, tokens: NDArray[np.int64]) -> NDArray[np.float32]:
        self._tokens += tokens.tolist()
        count = len(self._tokens)
        merged = any(spec.name == "use_cache_branch" for spec in self._file.inputs)
        known: dict[str, Any] = {
            **self._constants,
            "input_ids": np.array([self._tokens], np.int64),
            "attention_mask": np.ones((1, count), np.int64),
            "position_ids": np.arange(count, dtype=np.int64)[None],
            "use_cache_branch": np.array([False]),
        }
        feeds = {spec.name: known[spec.name] if spec.name in known else _unused(spec, 1 if merged else 0) for spec in self._file.inputs}
        return np.asarray(self._file.run(feeds)["logits"][0, -1], np.float32)


def drift_of(step: Any, whole: Whole, prompt: Sequence[int], room: int) -> float:
    """The worst difference of logits over the prompt and the tokens that the untouched file would choose, as a fraction of the fp32 bound."""
    tokens, worst = np.asarray(prompt, np.int64), 0.0
    for _ in range(max(1, min(TOKENS, room))):
        try:
            got = step(tokens)
        except MmedgeError:
            return float("inf")
        wanted = whole(tokens)
        worst = max(worst, _difference(got, wanted))
        tokens = np.array([wanted.argmax()], np.int64)
    return worst


def _difference(got: NDArray[np.float32], wanted: NDArray[np.float32]) -> float:
    """As ``mmedge.evaluate.drift`` measures: the largest difference, as a fraction of 1e-4 x max(1, max|wanted|); infinite where a value is not finite."""
    largest = float(np.abs(got - wanted).max() / (BOUND * max(1.0, float(np.abs(wanted).max()))))
    return largest if np.isfinite(largest) else float("inf")


def _unused(spec: TensorSpec, past: int) -> Array:
    """A cache that the branch without one does not read."""
    return np.zeros([size if isinstance(size, int) else 1 if axis == 0 else past for axis, size in enumerate(spec.shape)], spec.dtype)


def _spec(value: Any) -> TensorSpec:
    kind = value.type.removeprefix("tensor(").removesuffix(")")
    return TensorSpec(
        value.name,
        TYPES.get(kind, kind),
        tuple(size if isinstance(size, int) else str(size or f"{value.name}_{axis}") for axis, size in enumerate(value.shape)),
    )


def _said(error: Exception) -> str:
    text = first_line(error)
    return text.rpartition(" : ")[2] or text
