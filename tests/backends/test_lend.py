"""Outputs that are lent: never overwritten while any array over them lives, and their memory is used again afterwards."""

from __future__ import annotations

import numpy as np
import pytest

from mmedge.backends.openvino.lend import LEAST_BYTES, MOST, Request, Requests

SIDE = int((LEAST_BYTES // 4) ** 0.5) + 1


class Runtime:
    """What a request of a runtime is: it writes where it wrote before."""

    def __init__(self, side: int = SIDE) -> None:
        self.memory = np.zeros((side, side), np.float32)

    def run(self, value: float) -> np.ndarray:
        self.memory[:] = value
        return self.memory[:]


def run(requests: Requests, value: float) -> np.ndarray:
    request = requests.free()
    return request.outputs([request.own.run(value)])[0]


def where(array: np.ndarray) -> int:
    return array.__array_interface__["data"][0]


@pytest.mark.parametrize("side", [4, SIDE])
def test_outputs_that_are_held_keep_their_values_however_many(side):
    requests = Requests(lambda: Runtime(side))
    held = [run(requests, value) for value in range(7)]
    assert [float(array.max()) for array in held] == [float(array.min()) for array in held] == list(range(7))


def test_a_view_holds_the_whole():
    requests = Requests(Runtime)
    view = run(requests, 1)[1:, ::2].T
    for value in range(2, 6):
        run(requests, value)
    assert (view == 1).all()


def test_memory_let_go_is_used_again_without_a_copy():
    requests = Requests(Runtime)
    begin = where(run(requests, 1))
    assert where(run(requests, 2)) == begin == where(requests.last.own.memory)


def test_requests_are_as_few_as_are_held_and_one_more_copies():
    made = []
    requests = Requests(lambda: made.append(Runtime()) or made[-1])
    held = [run(requests, value) for value in range(9)]
    assert len(made) == MOST + 1
    assert [any(where(array) == where(one.memory) for one in made) for array in held] == [True] * MOST + [False] * (9 - MOST)


def test_an_input_that_is_an_output_is_copied():
    request, fed = Request(Runtime(), lends=True), np.ones((SIDE, SIDE), np.float32)
    request.read = {"x": (fed, fed.shape)}
    (out,) = request.outputs([fed[:]])
    fed += 1
    assert (out == 1).all()
