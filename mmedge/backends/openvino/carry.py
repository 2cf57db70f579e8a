"""Runs whose outputs become inputs without a copy: two requests take turns."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmedge.errors import MmedgeError
from mmedge.need import need
from mmedge.runner import Runner
from mmedge.tensors import Array, Checks, Feeds, check_start


class Swapped:
    """A sequence of runs in which two requests take turns: what one has written, the other reads where it lies.

    OpenVINO's own way is a model with state. It was no faster over a growing cache (bench/cache_copy.py), and needs the model compiled a second time.
    """

    def __init__(self, turns: tuple[Any, Any], runner: Runner, path: Path, pairs: Mapping[str, str], start: Feeds) -> None:
        self._tensor = need("openvino", extra="openvino").Tensor
        held, remaining = check_start(runner.inputs, pairs.values(), start)
        self._check = Checks(remaining)
        self._now, self._next = turns
        self._path, self._pairs = path, dict(pairs)
        self._outputs = [spec.name for spec in runner.outputs if spec.name not in pairs]
        self._read = list(held.values())  # the tensors use the arrays' memory
        for name, array in held.items():
            self._now.set_tensor(name, self._tensor(array, shared_memory=True))
            if name not in pairs.values():
                self._next.set_tensor(name, self._tensor(array, shared_memory=True))

    def run(self, feeds: Feeds) -> dict[str, Array]:
        request, following = self._now, self._next
        checked = self._check(feeds)
        try:
            request.infer(checked, share_inputs=True, share_outputs=True)
        except RuntimeError as error:
            raise cannot_run(self._path, error) from error
        for output, becomes in self._pairs.items():
            following.set_tensor(becomes, request.get_tensor(output))
        self._now, self._next = following, request
        return {name: request.get_tensor(name).data.copy() for name in self._outputs}


def cannot_run(path: Path, error: Exception) -> MmedgeError:
    """Of a graph that compiles: its operators do not fit each other, or the machine has no memory left."""
    return MmedgeError(
        f"OpenVINO {need('openvino', extra='openvino').__version__} cannot run {path.name}: {str(error).strip().splitlines()[-1]}",
        "export the bundle again; if that is no help, free some memory",
    )
