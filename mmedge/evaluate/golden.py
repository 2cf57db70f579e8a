"""Read a model's golden data back from its bundle."""

from __future__ import annotations

import zipfile
from typing import Any

import numpy as np

from mmedge.bundle import Bundle
from mmedge.errors import MmedgeError
from mmedge.manifest import Case, File
from mmedge.tensors import Array


class Golden:
    """Golden data of one model: what goes into each graph, what must come out, and the cases above that."""

    def __init__(self, bundle: Bundle, role: str) -> None:
        self._bundle = bundle
        self._model = bundle.manifest.models[role]
        path = bundle.file(self._model.golden)
        try:
            with np.load(path, allow_pickle=False) as stored:
                self._arrays: dict[str, Array] = dict(stored)
        except (ValueError, OSError, zipfile.BadZipFile) as error:
            raise MmedgeError(f"{path} is no golden data: {error}", "export the bundle again") from error

    def graph(self, name: str) -> tuple[dict[str, Array], dict[str, Array]]:
        """(feeds, reference outputs) of a graph."""
        return self._below(f"graph/{name}/in/"), self._below(f"graph/{name}/out/")

    def cases(self) -> list[tuple[Case, dict[str, Any], Any]]:
        """(case, its arguments with golden media filled in, what is expected)."""
        return [
            (case, {key: self._argument(value) for key, value in case.args.items()}, self._expected(index, case))
            for index, case in enumerate(self._model.cases)
        ]

    def _below(self, prefix: str) -> dict[str, Array]:
        return {key.removeprefix(prefix): value for key, value in self._arrays.items() if key.startswith(prefix)}

    def _expected(self, index: int, case: Case) -> Any:
        if not case.arrays:
            return case.expected
        arrays = {key: self._arrays[f"case/{index}/{key}"] for key in case.arrays}
        return arrays[""] if case.arrays == ("",) else arrays

    def _argument(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._argument(item) for item in value]
        if not (isinstance(value, str) and value.startswith("@")):
            return value
        medium = self._bundle.manifest.media[value[1:]]
        return self._bundle.file(medium) if isinstance(medium, File) else medium
