"""The sizes that a graph's dynamic dimensions take: what an engine that must know them beforehand is built for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from mmedge import runner
from mmedge.tensors import Feeds

Range = tuple[int, int, int]
"""Least, likeliest, largest."""

LEAST = {"batch": 1, "tokens": 1, "past": 0}
"""Where a family states nothing, these may be smaller than in the golden data. Others stay as they are there: a convolution without padding has no output
at size 1."""

PAST = "past_key_0"
"""An input of every decoder with a cache (see ``mmedge.generate.cache``)."""


class Input(Protocol):
    """``tensors.TensorSpec`` or ``manifest.Tensor``."""

    @property
    def name(self) -> str: ...
    @property
    def shape(self) -> tuple[int | str, ...]: ...


def ranges_for(graph: str, inputs: Sequence[Input], golden: Mapping[str, Sequence[int]], stated: Mapping[str, Range]) -> dict[str, Range]:
    """The range of every dynamic dimension of a graph's inputs.

    Args:
        graph: its name, without the form of its cache.
        golden: input -> the shape of its golden feed.
        stated: what the family states: dimension, or ``GRAPH/DIMENSION`` where graphs differ -> its range.

    Raises:
        ValueError: a stated range is none, or leaves out the golden data.
    """
    found: dict[str, Range] = {}
    shapes = {one.name: one.shape for one in inputs}
    room = shapes[PAST][2] if PAST in shapes else None
    for one in inputs:
        for size, have in zip(one.shape, golden[one.name]):
            if isinstance(size, int):
                continue
            least, likely, most = stated.get(f"{graph}/{size}") or stated.get(size) or (min(LEAST.get(size, have), have), have, have)
            if size == "tokens" and isinstance(room, int):  # no more than fit into a cache of fixed length
                likely, most = min(likely, room), min(most, room)
            if not (least <= have <= most and 0 <= least <= likely <= most):
                raise ValueError(f"{graph}: the family's range of {size}, {least} to {most} and likeliest {likely}, is none or leaves out the golden {have}")
            found[size] = (least, likely, most)
    return found


def with_ranges(graph: runner.Graph, golden: Feeds) -> runner.Graph:
    """A graph and its variants with a range for every dynamic dimension: a bundle that was written before there were ranges has only its golden data."""
    wanted = {size for one in graph.inputs for size in one.shape if isinstance(size, str)}
    if wanted <= set(graph.ranges):
        return graph
    ranges = ranges_for("", graph.inputs, {name: array.shape for name, array in golden.items()}, graph.ranges)
    return replace(graph, ranges=ranges, variants={precision: replace(one, ranges=ranges) for precision, one in graph.variants.items()})
