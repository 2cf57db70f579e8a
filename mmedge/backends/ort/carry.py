"""Runs whose outputs become inputs in ONNX Runtime's own memory: nothing of a cache passes through Python."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmedge.errors import MmedgeError, first_line
from mmedge.need import need
from mmedge.tensors import Array, Checks, Feeds, TensorSpec, check_start

DEVICE = "cpu"


class Bound:
    """A sequence of runs through one io binding.

    An output of changing shape is allocated by the runtime in every run and bound as it is. One of fixed shape has two buffers, which take turns: whether an
    operator may write in its input's place is known to the runtime alone.
    """

    def __init__(self, session: Any, path: Path, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], pairs: Mapping[str, str], start: Feeds) -> None:
        self._value = need("onnxruntime", extra="build").OrtValue
        held, remaining = check_start(inputs, pairs.values(), start)
        self._check = Checks(remaining)
        self._session, self._path, self._pairs = session, path, dict(pairs)
        self._outputs = [spec.name for spec in outputs]
        self._binding = session.io_binding()
        values = {name: self._value.ortvalue_from_numpy(array, DEVICE) for name, array in held.items()}
        self._alive = list(held.values())  # the values use the arrays' memory
        for name, value in values.items():
            self._binding.bind_ortvalue_input(name, value)
        still = {spec.name for spec in outputs if all(isinstance(size, int) for size in spec.shape)}
        self._spare: dict[str, Any] = {}
        for output, becomes in pairs.items():
            if output in still:
                # The first value is the caller's own array: it is read, never written.
                self._spare[output] = [self._like(held[becomes]), self._like(held[becomes])]

    def _like(self, array: Array) -> Any:
        return self._value.ortvalue_from_shape_and_type(array.shape, array.dtype, DEVICE)

    def run(self, feeds: Feeds) -> dict[str, Array]:
        binding = self._binding
        for name, array in self._check(feeds).items():
            binding.bind_cpu_input(name, array)
        for name in self._outputs:
            if name in self._spare:
                binding.bind_ortvalue_output(name, self._spare[name][0])
            else:
                binding.bind_output(name, DEVICE)
        try:
            self._session.run_with_iobinding(binding)
        except Exception as error:  # onnxruntime raises a class per status, all direct children of Exception
            raise cannot_run(self._path, error) from error
        results = dict(zip(self._outputs, binding.get_outputs()))
        for output, becomes in self._pairs.items():
            binding.bind_ortvalue_input(becomes, results[output])
            if output in self._spare:
                self._spare[output].reverse()
        return {name: value.numpy() for name, value in results.items() if name not in self._pairs}


def cannot_run(path: Path, error: Exception) -> MmedgeError:
    """Of a graph that loads: its operators do not fit each other, or the machine has no memory left."""
    return MmedgeError(
        f"onnxruntime {need('onnxruntime', extra='build').__version__} cannot run {path.name}: {first_line(error)}",
        "export the bundle again; if that is no help, free some memory",
    )
