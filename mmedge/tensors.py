"""What a graph takes and gives, and the one place where feeds are checked against it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from mmedge.errors import MmedgeError

Array = NDArray[np.generic]
Feeds = Mapping[str, Array]

REMEMBERED = 64
"""Forms of feeds that have passed."""


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """A named input or output of a graph."""

    name: str
    dtype: str
    """numpy's name of the element type, such as ``float32``; ``bfloat16`` where numpy has none."""
    shape: tuple[int | str, ...]
    """Fixed sizes as numbers, dynamic ones as the name of their dimension."""


def check_feeds(specs: Sequence[TensorSpec], feeds: Feeds) -> dict[str, Array]:
    """Hold feeds against the declared inputs: names, element types, ranks, fixed sizes, equal names with equal sizes.

    Returns:
        The feeds as C-contiguous arrays, in the order of ``specs``.

    Raises:
        MmedgeError: naming the first input that does not fit.
    """
    names = [spec.name for spec in specs]
    if missing := [name for name in names if name not in feeds]:
        raise MmedgeError(f"the graph's input {missing[0]} was not given", f"feed all of: {', '.join(names)}")
    if extra := [name for name in feeds if name not in names]:
        raise MmedgeError(f"the graph has no input {extra[0]}", f"feed only: {', '.join(names)}")
    sizes: dict[str, int] = {}
    checked: dict[str, Array] = {}
    for spec in specs:
        array = np.asarray(feeds[spec.name])
        if (dtype := _name(array.dtype)) != spec.dtype:
            raise MmedgeError(f"input {spec.name} is {dtype}, the graph takes {spec.dtype}", f"convert it with .astype({spec.dtype!r})")
        if array.shape != spec.shape and (
            len(array.shape) != len(spec.shape)
            or any(have != (want if isinstance(want, int) else sizes.setdefault(want, have)) for have, want in zip(array.shape, spec.shape))
        ):
            raise MmedgeError(f"input {spec.name} has shape {list(array.shape)}, the graph takes {list(spec.shape)}", "give it an array of that shape")
        checked[spec.name] = array if array.flags.c_contiguous else np.ascontiguousarray(array)
    return checked


class Checks:
    """``check_feeds`` against the same inputs in run after run: what has passed is known again by its types and shapes, since a run may take 0.1 ms."""

    def __init__(self, specs: Sequence[TensorSpec]) -> None:
        self._specs, self._names = specs, [spec.name for spec in specs]
        self._passed: set[tuple[object, ...]] = set()

    def __call__(self, feeds: Feeds) -> dict[str, Array]:
        """Returns and raises as ``check_feeds``."""
        try:
            arrays = [feeds[name] for name in self._names]
            form = tuple([(array.dtype, array.shape, array.flags.c_contiguous) for array in arrays])
        except (KeyError, AttributeError):  # one is missing, or no array of numpy's
            return check_feeds(self._specs, feeds)
        if form in self._passed and len(feeds) == len(arrays):
            return dict(zip(self._names, arrays))
        checked = check_feeds(self._specs, feeds)
        if all(checked[name] is array for name, array in zip(self._names, arrays)):
            if len(self._passed) >= REMEMBERED:  # a cache that grows has a new shape in every step
                self._passed.clear()
            self._passed.add(form)
        return checked


@lru_cache(maxsize=64)
def _name(dtype: np.dtype[np.generic]) -> str:
    """numpy composes it anew each time, which takes longer than all the other checks."""
    return dtype.name


def check_start(specs: Sequence[TensorSpec], carried: Collection[str], start: Feeds) -> tuple[dict[str, Array], list[TensorSpec]]:
    """What a sequence of runs begins with: a value for every carried input, and for others that never change.

    Returns:
        Those values as ``check_feeds`` gives them, and the inputs that each run must still be fed.

    Raises:
        MmedgeError: as ``check_feeds``.
    """
    held = check_feeds([spec for spec in specs if spec.name in start or spec.name in carried], start)
    return held, [spec for spec in specs if spec.name not in held]
