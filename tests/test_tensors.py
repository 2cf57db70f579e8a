from __future__ import annotations

import numpy as np
import pytest

from mmedge.errors import MmedgeError
from mmedge.tensors import TensorSpec, check_feeds

SPECS = (TensorSpec("ids", "int64", ("batch", "tokens")), TensorSpec("mask", "float32", ("batch", "tokens")), TensorSpec("state", "float32", (2, 1)))
GOOD = {"state": np.zeros((2, 1), np.float32), "mask": np.zeros((1, 3), np.float32), "ids": np.zeros((1, 3), np.int64)}


def test_feeds_come_back_in_the_order_of_the_graph_and_contiguous():
    checked = check_feeds(SPECS, {**GOOD, "mask": np.zeros((3, 1), np.float32).T})
    assert list(checked) == ["ids", "mask", "state"]
    assert all(array.flags.c_contiguous for array in checked.values())


def test_a_scalar_stays_a_scalar():
    assert check_feeds((TensorSpec("rate", "int64", ()),), {"rate": np.int64(16000)})["rate"].shape == ()


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"ids": None}, "input ids was not given"),
        ({"extra": np.zeros(1)}, "no input extra"),
        ({"ids": np.zeros((1, 3), np.int32)}, "ids is int32, the graph takes int64"),
        ({"state": np.zeros((2, 2), np.float32)}, "state has shape [2, 2]"),
        ({"state": np.zeros((2,), np.float32)}, "state has shape [2]"),
        ({"mask": np.zeros((1, 4), np.float32)}, "mask has shape [1, 4]"),
    ],
)
def test_what_does_not_fit_is_named(change, what):
    feeds = {name: array for name, array in {**GOOD, **change}.items() if array is not None}
    with pytest.raises(MmedgeError) as caught:
        check_feeds(SPECS, feeds)
    assert what in caught.value.what
