"""Candidates for a graph with all that they are compared by, as a bundle remembers them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from mmedge.documents import Document
from mmedge.target import Precision

POINT = 0.01
"""A point of a metric that lies between 0 and 1. Of CIDEr-D, which goes up to 10, papers call the same a point."""
Word = Literal["kept", "undecided", "lost"]


class Interval(Document):
    """A figure of ``n`` units, or rounds, with its 95 % interval."""

    value: float
    low: float
    high: float
    n: int


class Loss(Document):
    """What the task metric loses against fp32 on the same units: positive is worse, in the metric's own units (see ``mmedge.optimize.gate``)."""

    metric: str
    found: Interval
    allowed: float
    word: Word


class Budget(Document):
    """What a choice must keep to; null: no limit."""

    max_latency_ms: float | None = Field(default=None, gt=0)
    """Of one run of each graph: a task runs one of them once, another for every word."""
    min_metric: float | None = None
    max_mb: float | None = Field(default=None, gt=0)
    """Of the files of all graphs of the model, as they run."""


class Rated(Document):
    """One candidate for a graph on a target."""

    name: str
    """``ort fp32``, ``openvino bf16``, ``ort static-entropy``."""
    backend: str
    precision: Precision
    made_of: str | None = None
    """sha256 of the variant that it opens; null: of the graph itself."""
    passed: bool
    """Its gate. One that failed has no variant in the bundle."""
    note: str = ""
    """Why it failed, or what a user should know of it."""
    metric: Interval | None = None
    """With this graph so and all others of the model in fp32; null where it was not evaluated."""
    loss: Loss | None = None
    kept_float: tuple[str, ...] = ()
    """Nodes that stay in float so that it holds its gate, those that need it most first."""
    evaluations: int = 0
    """Of the metric, until those were found."""
    ratio: Interval | None = None
    """Of the latency to that of fp32, in interleaved rounds; null where it cannot run here."""
    latency_ms: float | None = None
    """Median of one run: fp32's, times the ratio."""
    size_mb: float = 0.0
    """Of all its files."""
    memory_mb: float | None = None
    """What a process grows by that opens and runs it; null where it cannot run here, or the system does not tell."""
    pareto: bool = False
    """No other that passed is better in one of metric, latency, size and memory, and worse in none."""
    features: tuple[str, ...] = ()
    """Of the CPU, that its figures rest on: where one of them is missing, it is passed over."""
    demoted: bool = False
    """It holds its gate, but the model as a whole does not with it and what the other graphs were chosen as."""
    left_out: bool = False
    """It passed, and the bundle does not hold its variant: ``--slim`` keeps what was chosen alone."""

    @property
    def usable(self) -> bool:
        """Whether the bundle holds it, and a graph may run as it."""
        return self.passed and not self.left_out and not self.demoted


class Choice(Document):
    """Which candidate a graph runs as on a target, and all others, the best first by the target's goal."""

    chosen: str
    """By its name; the first in ``rated`` that was not demoted."""
    why: str
    rated: tuple[Rated, ...] = Field(min_length=1)

    def of(self, name: str) -> Rated:
        """By name. Raises KeyError."""
        return {one.name: one for one in self.rated}[name]

    def valid(self, flags: tuple[str, ...]) -> tuple[Rated, ...]:
        """Those that the bundle holds and whose figures hold on a CPU with these features: the chosen one first, then the others in their order."""
        held = [one for one in self.rated if one.usable and set(one.features) <= set(flags)]
        return tuple(sorted(held, key=lambda one: one.name != self.chosen))
