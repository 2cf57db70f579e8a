"""Read a model's golden data back from its bundle."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np

from mmedge.bundle import Bundle
from mmedge.errors import MmedgeError
from mmedge.family import load_family
from mmedge.generate.decode import Sampling
from mmedge.manifest import Case, File, Quantized
from mmedge.tensors import Array

AGAIN = "export the bundle again with this version of mmedge"


class Golden:
    """Golden data of one model: what goes into each graph, what must come out, and the cases above that.

    Args:
        quantized: read instead what the model's verbs gave with every graph as it was chosen there; it has no graphs.

    Raises:
        MmedgeError: the file is damaged; later, that it lacks something the manifest promises.
    """

    def __init__(self, bundle: Bundle, role: str, quantized: Quantized | None = None) -> None:
        self._bundle, self._role = bundle, role
        self._model = bundle.manifest.models[role]
        self._cases = quantized.cases if quantized else self._model.cases
        self._arrays = read_arrays(bundle, (quantized and quantized.golden) or self._model.golden)

    def graph(self, name: str) -> tuple[dict[str, Array], dict[str, Array]]:
        """(feeds, reference outputs) of a graph."""
        feeds, reference = self._below(f"graph/{name}/in/"), self._below(f"graph/{name}/out/")
        if not feeds or not reference:
            raise self._lacks(f"the graph {name}")
        return feeds, reference

    def cases(self) -> list[tuple[Case, dict[str, Any], Any]]:
        """(case, its arguments with golden media filled in, what is expected). Only what the family declares is ever called."""
        family = load_family(self._model.family)
        session = load_family(self._model.family, "session").Session
        made = []
        for index, case in enumerate(self._cases):
            arguments = {key: self._argument(value) for key, value in case.args.items()}
            if case.call not in family.CALLS or not _takes(getattr(session, case.call), arguments):
                raise MmedgeError(
                    f"the golden data of {self._role} calls {case.call}({', '.join(arguments)}), which the family {self._model.family} does not offer", AGAIN
                )
            if "sampling" in arguments:
                arguments["sampling"] = self._sampling(arguments["sampling"])
            made.append((case, arguments, self._expected(index, case)))
        return made

    def _lacks(self, what: str) -> MmedgeError:
        return MmedgeError(f"the golden data of {self._role} in {self._bundle.path} lacks {what}", AGAIN)

    def _below(self, prefix: str) -> dict[str, Array]:
        return {key.removeprefix(prefix): value for key, value in self._arrays.items() if key.startswith(prefix)}

    def _expected(self, index: int, case: Case) -> Any:
        if not case.arrays:
            return case.expected
        if missing := [key for key in case.arrays if f"case/{index}/{key}" not in self._arrays]:
            raise self._lacks(f"case/{index}/{missing[0]}")
        arrays = {key: self._arrays[f"case/{index}/{key}"] for key in case.arrays}
        return arrays[""] if case.arrays == ("",) else arrays

    def _sampling(self, value: Any) -> Sampling:
        """``{"max_tokens": 20}`` and the like, as JSON has it."""
        try:
            return Sampling(**value)
        except TypeError as error:
            raise MmedgeError(f"the golden data of {self._role} holds a sampling that is none: {error}", AGAIN) from error

    def _argument(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._argument(item) for item in value]
        if isinstance(value, dict):
            return {key: self._argument(item) for key, item in value.items()}
        if not (isinstance(value, str) and value.startswith("@")):
            return value
        if value[1:] not in self._bundle.manifest.media:
            raise self._lacks(f"the medium {value}")
        medium = self._bundle.manifest.media[value[1:]]
        return self._bundle.file(medium) if isinstance(medium, File) else medium


def read_arrays(bundle: Bundle, file: File) -> dict[str, Array]:
    """All of an npz file of a bundle. Raises MmedgeError: it is damaged."""
    path = bundle.file(file)
    try:
        with np.load(path, allow_pickle=False) as stored:
            return dict(stored)
    except Exception as error:  # numpy, zipfile and zlib: whatever their readers met
        raise MmedgeError(f"{path} is no golden data: {error or type(error).__name__}", AGAIN) from error


def _takes(method: Any, arguments: dict[str, Any]) -> bool:
    try:
        inspect.signature(method).bind(None, **arguments)  # None: self
    except TypeError:
        return False
    return True
