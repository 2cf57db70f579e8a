"""A candidate that was chosen, as a bundle remembers where a graph runs."""

from __future__ import annotations

import platform

from mmedge.backends.tensorrt import store
from mmedge.manifest import File, Placement
from mmedge.rated import Rated
from mmedge.runner import Candidate, load_backend
from mmedge.target import Target


def placed(rated: Rated, candidate: Candidate, target: Target, why: str, file: File | None = None) -> Placement:
    """A graph that runs as this candidate.

    Args:
        file: the compiled engine, where the backend makes one.

    Returns:
        A placement whose key says what the choice is bound to: the runtime's version and the machine, or all that an engine is; and the CPU's features.
    """
    if rated.backend == "tensorrt":
        key = store.key(candidate, target)
    else:
        key = {"version": load_backend(rated.backend).probe(target).version or "", "machine": platform.machine()}
    return Placement(
        state="ready",
        backend=rated.backend,
        precision=rated.precision,
        reason=why,
        file=file,
        made_of=rated.made_of,
        key={**key, **({"features": " ".join(rated.features)} if rated.features else {})},
    )
