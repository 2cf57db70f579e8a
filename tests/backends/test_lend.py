"""Memory of outputs that is lent: never overwritten while any array over it lives, and used again afterwards."""

from __future__ import annotations

import numpy as np
import pytest

from mmedge.backends.openvino.lend import LEAST_BYTES, Spares

SIDE = int((LEAST_BYTES // 4) ** 0.5) + 1


def numbers(seed: int, side: int = SIDE) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((side, side), dtype=np.float32)


def where(array: np.ndarray) -> int:
    return array.__array_interface__["data"][0]


@pytest.mark.parametrize("side", [4, SIDE])
def test_a_copy_is_the_callers_own(side):
    spares, source = Spares(), numbers(1, side)
    copy = spares.copy("a", source)
    assert np.array_equal(copy, source)
    copy += 1
    assert np.array_equal(source, numbers(1, side))


def test_memory_held_is_never_overwritten():
    spares = Spares()
    first = spares.copy("a", numbers(1))
    view = first[1:, ::2].T
    del first
    for seed in range(2, 6):
        spares.copy("a", numbers(seed))
    assert np.array_equal(view, numbers(1)[1:, ::2].T)


def test_memory_let_go_is_used_again_and_once():
    spares = Spares()
    begin = where(spares.copy("a", numbers(1)))
    again, another = spares.copy("a", numbers(2)), spares.copy("a", numbers(3))
    assert where(again) == begin
    assert where(another) != begin
    assert np.array_equal(again, numbers(2)) and np.array_equal(another, numbers(3))


def test_another_shape_or_type_takes_memory_of_its_own():
    spares = Spares()
    spares.copy("a", numbers(1))
    wide = spares.copy("a", numbers(2).astype(np.float64))
    assert wide.dtype == np.float64 and np.array_equal(wide, numbers(2))
    assert spares.copy("a", numbers(3, SIDE + 1)).shape == (SIDE + 1, SIDE + 1)
