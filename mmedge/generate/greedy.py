"""The decode loop: most likely token after most likely token, until there is a reason to stop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Step = Callable[[NDArray[np.int64]], NDArray[np.float32]]
"""The next tokens [tokens] -> the logits [vocabulary] of what follows the last of them. Whoever makes it keeps the cache."""

LONGEST_PHRASE = 24
LOOP_REPEATS = 4
LOOP_TOKENS = 8
ECHO_TOKENS = 4


@dataclass(frozen=True, slots=True)
class Decoded:
    """What a decode loop gave."""

    tokens: tuple[int, ...]
    """Without the prompt and without the stop token."""
    avg_logprob: float
    """Mean natural-log probability per token, the stop token included; suppressed tokens have none."""
    stopped: Literal["stop", "length", "loop"]
    """A stop token; the maximum length; or the same phrase over and over, of which the tokens keep all."""


def greedy(
    step: Step,
    prompt: Sequence[int],
    *,
    stop: frozenset[int],
    max_tokens: int,
    suppress: Sequence[int] = (),
    suppress_first: Sequence[int] = (),
) -> Decoded:
    """Decode greedily.

    Args:
        step: runs the model on the prompt first, then on one token at a time.
        prompt: at least one token.
        stop: tokens that end the text.
        max_tokens: at most so many tokens after the prompt, at least 1.
        suppress: tokens that are never chosen.
        suppress_first: tokens that are not chosen right after the prompt.
    """
    never, not_first = np.asarray(suppress, np.int64), np.asarray(suppress_first, np.int64)
    tokens: list[int] = []
    total_logprob, chosen = 0.0, 0
    logits = step(np.asarray(prompt, np.int64))
    while True:
        scores = np.array(logits, np.float32)  # a copy: the runner may own or reuse its buffer
        scores[never] = -np.inf
        if not chosen:
            scores[not_first] = -np.inf
        best = int(scores.argmax())
        total_logprob -= float(np.log(np.exp(scores - scores[best]).sum()))
        chosen += 1
        if best in stop:
            return Decoded(tuple(tokens), total_logprob / chosen, "stop")
        tokens.append(best)
        if loops(tokens):
            return Decoded(tuple(tokens), total_logprob / chosen, "loop")
        if len(tokens) >= max_tokens:
            return Decoded(tuple(tokens), total_logprob / chosen, "length")
        logits = step(np.asarray([best], np.int64))


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


def echoes(tokens: Sequence[int]) -> bool:
    """Whether the text is one phrase of four tokens or more, said exactly twice: likely a decoder that did not notice the end, possibly a speaker."""
    half = len(tokens) // 2
    return len(tokens) % 2 == 0 and half >= ECHO_TOKENS and tuple(tokens[:half]) == tuple(tokens[half:])
