import numpy as np
import pytest
import torch

from mmedge.generate.decode import Sampling, decode, echoes, loops

STOP = frozenset([0])


def scripted(tokens, vocabulary=50):
    """A model that says ``tokens``, and what it was fed."""
    fed = []
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((len(tokens), vocabulary)).astype(np.float32)
    for row, token in zip(rows, tokens):
        row[token] = row.max() + 2
    rows.flags.writeable = False  # the loop must not write into a runner's buffer

    def step(ids):
        fed.append(ids.tolist())
        return rows[len(fed) - 1]

    return step, rows, fed


def test_it_says_what_is_likeliest_until_it_stops():
    step, rows, fed = scripted([7, 3, 9, 0])
    decoded = decode(step, [1, 2], stop=STOP, sampling=Sampling(max_tokens=10))
    assert decoded.tokens == (7, 3, 9) and decoded.stopped == "stop"
    assert fed == [[1, 2], [7], [3], [9]]
    logprobs = torch.from_numpy(rows.copy()).log_softmax(-1)[range(4), [7, 3, 9, 0]]
    assert decoded.avg_logprob == pytest.approx(float(logprobs.mean()), abs=1e-6)


def test_suppressed_tokens_are_not_said_and_have_no_probability():
    step, rows, _ = scripted([7, 7, 0])
    decoded = decode(step, [1], stop=STOP, sampling=Sampling(max_tokens=10), suppress=[5, 6], suppress_first=[7, 0])
    assert decoded.tokens[0] != 7 and decoded.tokens[1:] == (7,)
    masked = torch.from_numpy(rows.copy())
    masked[:, [5, 6]] = -torch.inf
    masked[0, [7, 0]] = -torch.inf
    assert decoded.tokens[0] == int(masked[0].argmax())
    assert decoded.avg_logprob == pytest.approx(float(masked.log_softmax(-1).max(-1).values.mean()), abs=1e-6)


def test_it_ends_at_its_maximum_and_wastes_no_step():
    step, _, fed = scripted([7, 3, 9, 0])
    decoded = decode(step, [1], stop=STOP, sampling=Sampling(max_tokens=2))
    assert decoded.tokens == (7, 3) and decoded.stopped == "length" and len(fed) == 2


def test_a_loop_is_noticed_as_it_happens():
    step, _, fed = scripted([4, *[5, 6, 7] * 30, 0])
    decoded = decode(step, [1], stop=STOP, sampling=Sampling(max_tokens=100))
    assert decoded.stopped == "loop" and len(fed) == 13


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [
        ([], False),
        ([5] * 7, False),
        ([5] * 8, True),
        ([1, 2, *[5] * 8], True),
        ([5, 6] * 3, False),
        ([5, 6] * 4, True),
        ([5, 6] * 4 + [7], False),
        (list(range(20)) * 3, False),
        (list(range(20)) * 4, True),
        (list(range(24)) * 4, True),
        (list(range(100)), False),
        ([1, 2, 3, 1, 2, 4, 1, 2, 5, 1, 2, 6], False),
    ],
)
def test_loops(tokens, expected):
    assert loops(tokens) is expected


@pytest.mark.parametrize(
    ("tokens", "expected"), [([1, 2, 3, 4] * 2, True), ([1, 2, 3] * 2, False), ([1, 2, 3, 4, 1, 2, 3, 5], False), ([1, 2, 3, 4] * 2 + [1], False), ([], False)]
)
def test_echoes(tokens, expected):
    assert echoes(tokens) is expected and echoes(tuple(tokens)) is expected
