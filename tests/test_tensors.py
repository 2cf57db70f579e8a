from __future__ import annotations

import numpy as np
import pytest

from mmedge.errors import MmedgeError
from mmedge.tensors import REMEMBERED, Checks, TensorSpec, check_feeds

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
@pytest.mark.parametrize("before", [False, True], ids=["at first", "after feeds that fit"])
def test_what_does_not_fit_is_named(change, what, before):
    feeds = {name: array for name, array in {**GOOD, **change}.items() if array is not None}
    check = Checks(SPECS)
    if before:
        check(GOOD)
    with pytest.raises(MmedgeError) as caught:
        check(feeds)
    assert what in caught.value.what


def test_what_has_passed_is_known_again_in_the_order_of_the_graph():
    check = Checks(SPECS)
    for _ in range(2):
        checked = check(GOOD)
        assert list(checked) == ["ids", "mask", "state"] and all(checked[name] is array for name, array in GOOD.items())
    turned = {**GOOD, "mask": np.zeros((3, 1), np.float32).T, "state": np.zeros((4, 1), np.float32)[::2]}
    for _ in range(2):
        assert all(array.flags.c_contiguous for array in check(turned).values())
    assert check_feeds((TensorSpec("rate", "int64", ()),), {"rate": np.int64(16000)})["rate"].shape == ()


def test_many_shapes_are_not_all_remembered():
    check = Checks(SPECS)
    for size in range(3 * REMEMBERED):
        check({**GOOD, "ids": np.zeros((1, size), np.int64), "mask": np.zeros((1, size), np.float32)})
    assert len(check._passed) <= REMEMBERED
