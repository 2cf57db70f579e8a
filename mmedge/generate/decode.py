"""The decode loop: token after token, the likeliest or a drawn one, until there is a reason to stop."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mmedge.errors import MmedgeError
from mmedge.spans import timed

Step = Callable[[NDArray[np.int64]], NDArray[np.float32]]
"""The next tokens [tokens] -> the logits [vocabulary] of what follows the last of them. Whoever makes it keeps the cache."""

LONGEST_PHRASE = 24
LOOP_REPEATS = 4
LOOP_TOKENS = 8
ECHO_TOKENS = 4


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the next token is chosen, and how many there may be. Raises MmedgeError: a value makes no sense."""

    max_tokens: int = 256
    """At most so many tokens after the prompt."""
    temperature: float = 0.0
    """0 takes the likeliest token; otherwise logits are divided by this and a token is drawn."""
    top_k: int = 0
    """Draw among so many of the likeliest; 0: among all."""
    top_p: float = 1.0
    """Draw among the likeliest tokens that together reach this probability, after ``top_k`` (Holtzman et al. 2020, nucleus sampling)."""
    seed: int = 0
    """Of the draws: the same seed gives the same text."""

    def __post_init__(self) -> None:
        for name, good, rule in (
            ("max_tokens", self.max_tokens >= 1, "at least 1"),
            ("temperature", 0 <= self.temperature < math.inf, "0 or more"),
            ("top_k", self.top_k >= 0, "0 or more"),
            ("top_p", 0 < self.top_p <= 1, "above 0, at most 1"),
            ("seed", self.seed >= 0, "0 or more"),
        ):
            if not good:
                raise MmedgeError(f"{name} is {getattr(self, name)}", f"make it {rule}")


GREEDY = Sampling()
"""The likeliest token every time."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """What a decode loop gave."""

    tokens: tuple[int, ...]
    """Without the prompt and without the stop token."""
    avg_logprob: float
    """Mean natural-log probability per token under the model itself (no temperature), the stop token included; suppressed tokens have none."""
    stopped: Literal["stop", "length", "loop"]
    """A stop token; the maximum length; or the same phrase over and over, of which the tokens keep all."""


@timed("decode loop")
def decode(
    step: Step,
    prompt: Sequence[int],
    *,
    stop: frozenset[int],
    sampling: Sampling = GREEDY,
    suppress: Sequence[int] = (),
    suppress_first: Sequence[int] = (),
    on_token: Callable[[int], None] | None = None,
) -> Decoded:
    """Decode until a stop token, the maximum length, or a loop.

    Args:
        step: runs the model on the prompt first, then on one token at a time.
        prompt: at least one token.
        stop: tokens that end the text.
        suppress: tokens that are never chosen.
        suppress_first: tokens that are not chosen right after the prompt.
        on_token: called with every token of the result as soon as it is known.
    """
    never, not_first = np.asarray(suppress, np.int64), np.asarray([*suppress, *suppress_first], np.int64)
    random = np.random.default_rng(sampling.seed)
    tokens: list[int] = []
    total_logprob, chosen = 0.0, 0
    logits = step(np.asarray(prompt, np.int64))
    while True:
        scores = _without(logits, never if chosen else not_first)
        token = int(scores.argmax()) if sampling.temperature == 0 else draw(scores, sampling, random)
        top = scores.max()
        total_logprob += float(scores[token] - top - np.log(np.exp(scores - top).sum()))
        chosen += 1
        if token in stop:
            return Decoded(tuple(tokens), total_logprob / chosen, "stop")
        tokens.append(token)
        if on_token:
            on_token(token)
        if loops(tokens):
            return Decoded(tuple(tokens), total_logprob / chosen, "loop")
        if len(tokens) >= sampling.max_tokens:
            return Decoded(tuple(tokens), total_logprob / chosen, "length")
        logits = step(np.asarray([token], np.int64))


def draw(scores: NDArray[np.float32], sampling: Sampling, random: np.random.Generator) -> int:
    """A token by its probability, among those that ``sampling`` leaves: temperature first, then top-k, then top-p, as transformers has it."""
    tempered = scores.astype(np.float64) / sampling.temperature
    left = np.flatnonzero(kept(tempered, sampling.top_k, sampling.top_p))
    total = np.exp(tempered[left] - tempered[left].max()).cumsum()
    return int(left[min(np.searchsorted(total, random.random() * total[-1], side="right"), len(left) - 1)])


def kept(scores: NDArray[np.float64], top_k: int, top_p: float) -> NDArray[np.bool_]:
    """[vocabulary] -> which tokens may be drawn. Equals in score to the last of ``top_k`` stay; the likeliest always stays."""
    keep = scores > -np.inf
    if 0 < top_k < len(scores):
        keep &= scores >= np.partition(scores, -top_k)[-top_k]
    if top_p < 1:
        ids = np.flatnonzero(keep)
        ids = ids[scores[ids].argsort(kind="stable")]
        total = np.exp(scores[ids] - scores[ids[-1]]).cumsum()
        keep[ids[:-1][total[:-1] <= (1 - top_p) * total[-1]]] = False
    return keep


def _without(logits: NDArray[np.float32], tokens: NDArray[np.int64]) -> NDArray[np.float32]:
    if not len(tokens):
        return logits
    scores = np.array(logits, np.float32)  # a copy: the runner may own or reuse its buffer
    scores[tokens] = -np.inf
    return scores


def loops(tokens: Sequence[int]) -> bool:
    """Whether the text ends in one phrase said over and over: four times or more, eight tokens or more in all.

    A person says "no, no, no" and may repeat a question twice; a decoder that has lost the sound never stops.
    """
    for length in range(1, min(LONGEST_PHRASE, len(tokens) // LOOP_REPEATS) + 1):
        span = max(LOOP_TOKENS, LOOP_REPEATS * length)
        tail = tokens[-span:]
        if len(tail) == span and all(tail[index] == tail[index + length] for index in range(span - length)):
            return True
    return False


def until_loop(tokens: Sequence[int]) -> list[int]:
    """What ``decode`` keeps of a longer text: everything up to where a loop is noticed. For texts of a reference that has no such guard."""
    return list(next((tokens[:end] for end in range(1, len(tokens) + 1) if loops(tokens[:end])), tokens))


def echoes(tokens: Sequence[int]) -> bool:
    """Whether the text is one phrase of four tokens or more, said exactly twice: likely a decoder that did not notice the end, possibly a speaker."""
    half = len(tokens) // 2
    return len(tokens) % 2 == 0 and half >= ECHO_TOKENS and tuple(tokens[:half]) == tuple(tokens[half:])
