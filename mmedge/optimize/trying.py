"""What a candidate does on golden feeds: cheap, and enough to refuse what does not open or gives no numbers before the data are gone through."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from mmedge.documents import Document, dump_json, read_json
from mmedge.errors import MmedgeError, first_line
from mmedge.evaluate.drift import drift
from mmedge.evaluate.golden import Golden
from mmedge.optimize.made import own_bytes
from mmedge.optimize.opening import identity, opened, refused_by_runtime
from mmedge.optimize.steps import step, versions
from mmedge.optimize.work import Work
from mmedge.runner import Candidate
from mmedge.tensors import Feeds

FARTHEST = 1e9
"""What is further away, or infinitely far, is written down as this."""


class Tried(Document):
    """One run on golden feeds."""

    refusal: str = ""
    drift: float = FARTHEST
    """Of its outputs from golden, as a fraction of the bound of its precision."""
    size_mb: float = 0.0


def tried(work: Work, key: str, backend: str, candidate: Candidate) -> Tried:
    """Open a candidate for a graph and run it once; done if it was not yet."""
    golden = work.bundle.manifest.models[work.role].golden.sha256
    depends = {"placed": identity(backend, candidate, work.target), "golden": [golden, key], **versions("numpy")}
    with step("tried", depends, partial(_try, work, key, backend, candidate)) as folder:
        return read_json(folder / "tried.json", Tried, fix="")


def _try(work: Work, key: str, backend: str, candidate: Candidate, folder: Path) -> None:
    feeds, reference = Golden(work.bundle, work.role).graph(key)
    try:
        with opened(backend, candidate, work.target) as runner:
            found = runner.run(feeds)
        stray = _not_finite(found, reference)
        distance, _ = drift(found, reference, candidate.precision)
        made = Tried(
            refusal=f"its output {stray} is not finite on golden data" if stray else "",
            drift=min(distance, FARTHEST),
            size_mb=_size_bytes(candidate) / 1e6,
        )
    except MmedgeError as error:
        made = Tried(refusal=error.what)
    except Exception as error:
        if not refused_by_runtime(error):
            raise
        made = Tried(refusal=f"{backend} cannot run it: {first_line(error)}")
    (folder / "tried.json").write_text(dump_json(made), encoding="utf-8")


def _not_finite(found: Feeds, reference: Feeds) -> str:
    """An output with a value that is none where golden has one; empty where there is none."""
    for name, wanted in reference.items():
        got = found.get(name)
        if got is not None and got.dtype.kind == "f" and got.shape == wanted.shape and (~np.isfinite(got.astype(np.float64)) & np.isfinite(wanted)).any():
            return name
    return ""


def _size_bytes(candidate: Candidate) -> int:
    """Of all files that a candidate is opened from, without what else lies in a weights file that graphs share."""
    graph = candidate.graph
    return graph.size_bytes if graph.path.suffix != ".onnx" or graph.weights is None else own_bytes(graph)
