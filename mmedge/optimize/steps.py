"""Steps of a long work, each done once."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any


@contextlib.contextmanager
def step(kind: str, key: Mapping[str, Any], work: Callable[[Path], None]) -> Iterator[Path]:
    """The folder that ``work`` fills, whole: found where it was done before, else done now. It is not removed while the context is open.

    Args:
        kind: what is done, in a word: ``made``, ``judged``, ``timed``.
        key: everything that the result depends on, as JSON; versions of mmedge and of Python's packages that matter are the caller's to name.
        work: fills the empty folder that it is given.
    """
    raise NotImplementedError
    yield
