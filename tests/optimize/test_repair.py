"""The search for what must stay in float, on models whose every operation has a known effect on the metric."""

from __future__ import annotations

import numpy as np
import pytest

from mmedge.optimize.repair import repair

LAYERS, EACH = 12, 6
"""Of an encoder: projections of queries, keys, values and outputs, and two layers of its network."""


class Toy:
    """A drop that is the sum of the effects of what is quantized, against an allowed share of the whole."""

    def __init__(self, seed, allowed, noise=0.4):
        random = np.random.default_rng(seed)
        self.effects = {f"layers.{layer}.{part}": float(random.lognormal(0, 1.5)) for layer in range(LAYERS) for part in range(EACH)}
        scores = {name: effect * float(random.lognormal(0, noise)) for name, effect in self.effects.items()}
        self.ranked = sorted(scores, key=scores.__getitem__, reverse=True)
        self.bound = allowed * sum(self.effects.values())
        self.asked = []

    def holds(self, kept):
        self.asked.append(kept)
        return sum(effect for name, effect in self.effects.items() if name not in kept) <= self.bound

    def greedy(self):
        """The exhaustive answer: one at a time, always the operation whose return to float helps most."""
        kept = []
        for name in sorted(self.effects, key=self.effects.__getitem__, reverse=True):
            if self.holds(frozenset(kept)):
                break
            kept.append(name)
        return kept


@pytest.mark.parametrize("allowed", [0.1, 0.3, 0.5])
def test_twelve_evaluations_find_hardly_more_than_the_exhaustive_answer(allowed):
    shares = []
    for seed in range(60):
        toy = Toy(seed, allowed)
        made = repair(toy.ranked, toy.holds)
        assert len(toy.asked) == made.evaluations <= 12
        assert toy.holds(frozenset(made.kept_float))
        shares.append(len(made.kept_float) / len(toy.greedy()))
    assert np.mean(shares) <= 1.2


def test_a_ranking_that_is_right_gives_exactly_the_exhaustive_answer():
    for seed in range(20):
        toy = Toy(seed, 0.3, noise=0.0)
        assert list(repair(toy.ranked, toy.holds).kept_float) == toy.greedy()


def test_one_operation_that_spoils_everything_is_found_at_once():
    made = repair(["bad", *map(str, range(71))], lambda kept: "bad" in kept)
    assert made.kept_float == ("bad",) and made.evaluations == 1


def test_an_operation_that_the_ranking_underrates_is_found_and_the_others_are_given_back():
    ranked = [*map(str, range(8)), "bad"]
    assert repair(ranked, lambda kept: "bad" in kept).kept_float == ("bad",)


def test_a_model_that_does_not_even_hold_in_float_has_no_repair():
    assert repair(list("abcd"), lambda kept: False) is None
    assert repair([], lambda kept: False) is None


def test_no_set_is_evaluated_twice_and_the_limit_holds_even_where_nothing_is_found():
    toy = Toy(0, 0.0)
    made = repair(toy.ranked, toy.holds, most=5)
    assert made is None and len(toy.asked) == len(set(toy.asked)) == 5
