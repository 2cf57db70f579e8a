"""The candidates of one graph that hold the model's gate: proposed, made, judged on data one graph at a time, and repaired where they fail."""

from __future__ import annotations

from dataclasses import dataclass

from mmedge.optimize.made import Made
from mmedge.optimize.work import Work
from mmedge.rated import Rated
from mmedge.runner import Candidate


@dataclass(frozen=True, eq=False)
class Survivor:
    """A candidate that holds the gate with all other graphs of its model in fp32. Opened by ``opening.opened(backend, candidate, target)``."""

    rated: Rated
    """``metric``, ``loss``, ``kept_float``, ``evaluations``, ``note``, ``size_mb`` and ``features`` are set; what is timed is not, nor ``made_of``."""
    backend: str
    candidate: Candidate
    made: Made | None
    """Where a maker made its graph; its files stay until the work ends."""


@dataclass(frozen=True, eq=False)
class Sifted:
    """All candidates of one graph."""

    survivors: tuple[Survivor, ...]
    """In order of preference: by the target's backends, then by their candidates and quantize tables. At least one of them is fp32."""
    rejected: tuple[Rated, ...]
    """With the reason in ``note``."""


def survivors(work: Work, key: str) -> Sifted:
    """Propose, make, judge and repair.

    Args:
        key: of the graph in the manifest.

    Raises:
        MmedgeError: the data do not give the metric, too many samples are unreadable, or nothing runs it in fp32.
    """
    raise NotImplementedError
