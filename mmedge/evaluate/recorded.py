"""Golden data as a file: what a reference gave, or what a quantized model gave when it was made."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mmedge import manifest
from mmedge.bundle import Bundle
from mmedge.evaluate.golden import Golden, read_arrays
from mmedge.family import Case
from mmedge.need import NotInstalled
from mmedge.target import Target
from mmedge.tensors import Array, Feeds

OUT = "out/"
"""Before an output's name: numpy's writer has parameters with names of their own."""


def pack(graphs: Mapping[str, tuple[Feeds, Feeds]], cases: Sequence[Case]) -> tuple[bytes, tuple[manifest.Case, ...]]:
    """Feeds and outputs per graph, and the cases, as one npz file and the entries that point into it."""
    arrays: dict[str, Array] = {}
    for name, (feeds, outputs) in graphs.items():
        arrays.update({f"graph/{name}/in/{key}": value for key, value in feeds.items()})
        arrays.update({f"graph/{name}/out/{key}": value for key, value in outputs.items()})
    entries = []
    for index, case in enumerate(cases):
        found = _arrays(case.expected)
        arrays.update({f"case/{index}/{key}": value for key, value in found.items()})
        entries.append(
            manifest.Case(
                level=case.level,
                call=case.call,
                args=case.args,
                source=case.source,
                atol=case.atol,
                arrays=tuple(found),
                expected=None if found else case.expected,
            )
        )
    return _npz(arrays), tuple(entries)


def pack_outputs(outputs: Feeds) -> bytes:
    """What a variant gave on the golden feeds of its graph, as the npz file of ``manifest.Variant.outputs``."""
    return _npz({f"{OUT}{name}": array for name, array in outputs.items()})


def outputs_of(bundle: Bundle, variant: manifest.Variant) -> dict[str, Array] | None:
    """What a variant gave when it was made; None where that was not kept. Raises MmedgeError: the file is damaged."""
    if variant.outputs is None:
        return None
    return {name.removeprefix(OUT): array for name, array in read_arrays(bundle, variant.outputs).items()}


def record(bundle: Bundle, role: str, target: Target) -> tuple[bytes, tuple[manifest.Case, ...]]:
    """What a model's verbs give on its golden cases, every graph as the manifest, or its draft, has placed it: for ``Quantized.golden`` and ``cases``.

    A verb that needs a package which is not here is left out.

    Raises:
        MmedgeError: the model cannot be opened, or its golden data is damaged.
    """
    cases = []
    with bundle.session(role, target) as session:
        for case, arguments, expected in Golden(bundle, role).cases():
            if case.level != "verb":
                continue
            try:
                found = getattr(session, case.call)(**arguments)
            except NotInstalled:
                continue
            kept = {key: np.asarray(found[key]) for key in expected} if _arrays(expected) and isinstance(expected, dict) else plain(found)
            cases.append(Case(level="verb", call=case.call, args=case.args, expected=kept, source=f"mmedge, quantized for {target.name}", atol=case.atol))
    return pack({}, cases)


def plain(found: Any) -> Any:
    """A verb's answer as JSON has it; an array as it is."""
    if isinstance(found, np.generic):
        return found.item()
    if isinstance(found, Mapping):
        return {key: plain(value) for key, value in found.items()}
    if isinstance(found, list | tuple):
        return [plain(value) for value in found]
    return found


def _arrays(expected: Any) -> dict[str, Array]:
    if isinstance(expected, np.ndarray):
        return {"": expected}
    if isinstance(expected, dict) and expected and all(isinstance(value, np.ndarray) for value in expected.values()):
        return expected
    return {}


def _npz(arrays: Mapping[str, Array]) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()
