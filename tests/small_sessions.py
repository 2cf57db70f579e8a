"""A session over the graphs of a small bundle in any form of the cache on any runtime, and ways to break it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from mmedge.bundle import Bundle
from mmedge.family import load_family
from mmedge.runner import Candidate, Copied, Engine, load_backend
from mmedge.target import Target

FORMS = ("", "-scatternd", "-tensorscatter")


@contextlib.contextmanager
def opened(bundle: Bundle, *, form: str = "", backend: str = "ort", wrap: Callable[[str, Any], Any] | None = None) -> Iterator[Any]:
    """The session of a bundle's only model.

    Args:
        form: that of the decoder's cache, as in ``FORMS``.
        wrap: (graph, its runner) -> what the session gets instead.
    """
    ((role, model),) = bundle.manifest.models.items()
    target = Target.load("intel-cpu" if backend == "openvino" else "cpu")
    names = [name for name in model.graphs if not name.endswith(FORMS[1:])]
    family = load_family(model.family)
    with contextlib.ExitStack() as stack:
        runners = {}
        for name in names:
            stored = name + form if name + form in model.graphs else name
            runner: Any = stack.enter_context(load_backend(backend).open(Engine(Candidate(bundle.graph(role, stored), "fp32")), target))
            runners[name] = wrap(name, runner) if wrap else runner
        assets = {name: bundle.file(file) for name, file in model.assets.items()}
        yield load_family(model.family, "session").Session(runners, assets, family.Config.model_validate(model.config))


class Changed:
    """A runner that changes what goes in or comes out."""

    reuses_outputs = False

    def __init__(self, runner: Any, *, into: Callable[[str, Any], Any] | None = None, out: Callable[[str, Any], Any] | None = None) -> None:
        self.inputs, self.outputs = runner.inputs, runner.outputs
        self._runner, self._into, self._out = runner, into or (lambda name, array: array), out or (lambda name, array: array)

    def run(self, feeds: Any) -> dict[str, Any]:
        outputs = self._runner.run({name: self._into(name, array) for name, array in feeds.items()})
        return {name: self._out(name, np.array(array)) for name, array in outputs.items()}

    def carry(self, pairs: Any, start: Any) -> Copied:
        return Copied(self, pairs, start)


def only(graph: str, **changes: Any) -> Callable[[str, Any], Any]:
    """``wrap`` for ``opened``: change one graph."""
    return lambda name, runner: Changed(runner, **changes) if name == graph else runner


def zeros(name: str, array: Any) -> Any:
    """``out``: features that say nothing."""
    return np.zeros_like(array)


def shifted(name: str, array: Any) -> Any:
    """``into``: a cache whose keys stand one place further than their values."""
    return np.roll(array, 1, axis=2) if name.startswith("past_key") else array
