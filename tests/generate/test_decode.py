import numpy as np
import pytest
import torch

from mmedge.errors import MmedgeError
from mmedge.generate.decode import Sampling, decode, draw, echoes, kept, loops, until_loop

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


def test_a_reference_is_cut_where_a_loop_is_noticed():
    assert until_loop([4, *[5, 6, 7] * 30]) == [4, *[5, 6, 7] * 4]
    assert until_loop([4, 5, 6]) == [4, 5, 6] and until_loop([]) == []


def test_every_token_is_told_as_soon_as_it_is_known():
    step, _, fed = scripted([7, 3, 0])
    told = []
    decode(step, [1], stop=STOP, on_token=lambda token: told.append((token, len(fed))))
    assert told == [(7, 1), (3, 2)]


@pytest.mark.parametrize("top_k", [0, 1, 5, 50, 99])
@pytest.mark.parametrize("top_p", [0.01, 0.3, 0.9, 1.0])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_tokens_kept_are_those_that_transformers_keeps(top_k, top_p, temperature):
    from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

    random = np.random.default_rng(1)
    for _ in range(5):
        scores = random.standard_normal(50).astype(np.float32) * 3
        scores[random.integers(0, 50, 5)] = -np.inf
        warped = TemperatureLogitsWarper(temperature)(None, torch.from_numpy(scores)[None])
        if top_k:
            warped = TopKLogitsWarper(top_k)(None, warped)
        if top_p < 1:
            warped = TopPLogitsWarper(top_p)(None, warped)
        keep = kept(scores.astype(np.float64) / temperature, top_k, top_p)
        assert keep.tolist() == torch.isfinite(warped[0]).tolist()


def test_equals_of_the_last_of_the_likeliest_stay():
    assert kept(np.array([1.0, 2, 2, 0]), 1, 1.0).tolist() == [False, True, True, False]


@pytest.mark.parametrize(("temperature", "top_k", "top_p"), [(1.0, 0, 1.0), (0.7, 5, 1.0), (1.5, 0, 0.8), (1.0, 8, 0.9)])
def test_draws_follow_the_distribution_of_transformers(temperature, top_k, top_p):
    from scipy.stats import chisquare
    from transformers import LogitsProcessorList, TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

    scores = np.random.default_rng(2).standard_normal(20).astype(np.float32) * 1.5
    warpers = LogitsProcessorList([TemperatureLogitsWarper(temperature), *([TopKLogitsWarper(top_k)] if top_k else []), TopPLogitsWarper(top_p)])
    wanted = warpers(None, torch.from_numpy(scores)[None])[0].softmax(-1).numpy().astype(np.float64)
    random, sampling, count = np.random.default_rng(3), Sampling(temperature=temperature, top_k=top_k, top_p=top_p), 20_000
    drawn = np.bincount([draw(scores, sampling, random) for _ in range(count)], minlength=20)
    assert not drawn[wanted == 0].any()
    possible = wanted > 0
    assert chisquare(drawn[possible], wanted[possible] / wanted.sum() * count).pvalue > 0.01


def test_a_seed_is_a_text():
    rows = np.random.default_rng(4).standard_normal((20, 50)).astype(np.float32)

    def text(seed, **how):
        at = iter(rows)
        return decode(lambda ids: next(at), [1], stop=frozenset(), sampling=Sampling(max_tokens=20, seed=seed, **how)).tokens

    assert text(1, temperature=1.0) == text(1, temperature=1.0)
    assert len({text(seed, temperature=1.0) for seed in range(5)}) == 5
    assert text(1, temperature=1.0, top_k=1) == text(2, temperature=1.0, top_p=1e-6) == text(0) == tuple(rows.argmax(1).tolist())


def test_a_suppressed_token_is_never_drawn():
    rows = np.zeros((200, 4), np.float32)
    at = iter(rows)
    decoded = decode(lambda ids: next(at), [1], stop=frozenset(), sampling=Sampling(max_tokens=200, temperature=1.0), suppress=[2], suppress_first=[0, 1])
    assert decoded.tokens[0] == 3 and 2 not in decoded.tokens and set(decoded.tokens) == {0, 1, 3}


@pytest.mark.parametrize(
    "wrong", [{"max_tokens": 0}, {"temperature": -1.0}, {"temperature": float("nan")}, {"top_k": -1}, {"top_p": 0.0}, {"top_p": 1.5}, {"seed": -1}]
)
def test_a_sampling_that_makes_no_sense_is_refused(wrong):
    ((name, value),) = wrong.items()
    with pytest.raises(MmedgeError, match=f"{name} is {value}"):
        Sampling(**wrong)
