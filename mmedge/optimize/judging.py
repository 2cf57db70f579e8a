"""The task metric of a model some of whose graphs are candidates, each evaluation a step that is done once."""

from __future__ import annotations

from collections.abc import Mapping

from mmedge.evaluate.metrics.bootstrap import Metric
from mmedge.optimize.gate import Judged
from mmedge.optimize.work import Work
from mmedge.rated import Interval, Loss
from mmedge.runner import Candidate

Chosen = Mapping[str, tuple[str, Candidate]]
"""A graph's key -> (backend, candidate). Graphs that are not in it run in fp32 by onnxruntime on the CPU."""


def metric(work: Work, chosen: Chosen) -> Metric:
    """The judged metric, with its rows. Raises MmedgeError: there is no such metric, the data do not give it, or too many samples are unreadable."""
    raise NotImplementedError


def judged(work: Work, chosen: Chosen) -> Judged:
    """Against all in fp32, on the same samples. Raises MmedgeError as ``metric``."""
    raise NotImplementedError


def interval(found: Metric) -> Interval:
    """As a bundle remembers it."""
    raise NotImplementedError


def loss(found: Judged) -> Loss:
    """As a bundle remembers it."""
    raise NotImplementedError
