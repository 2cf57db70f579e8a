"""A decoder and its key/value cache, in either form.

Tensor names, the same in every family. Inputs: ``input_ids`` int64 [1, tokens] or ``inputs_embeds`` float32 [1, tokens, width]; whatever else the graph takes;
``past_key_0``, ``past_value_0``, ``past_key_1``, ... float32 [1, heads, past, head_dim]; a fixed cache also takes ``past_length`` int64 [1].
Outputs: ``logits`` float32 [1, tokens or 1, vocabulary], of which the last row counts, and ``present_key_0``, ... for every past.

A growing cache starts with a past of length 0, so the graph that decodes also reads the prompt. A fixed one has an integer length, starts as zeros, and
``past_length`` says how much of it is filled.
"""

from __future__ import annotations

import numpy as np

from mmedge.errors import MmedgeError
from mmedge.runner import Runner
from mmedge.tensors import Array, Feeds

PAST, PRESENT, LENGTH = "past_", "present_", "past_length"


class Cache:
    """One text in the making: every call appends its tokens to the cache, which stays in the runtime's memory.

    Args:
        runner: the decoder graph.
        constants: inputs that are the same in every step, such as what an encoder gave.
    """

    def __init__(self, runner: Runner, constants: Feeds | None = None) -> None:
        pasts = [spec for spec in runner.inputs if spec.name.startswith(PAST) and spec.name != LENGTH]
        lengths = {size for spec in pasts if isinstance(size := spec.shape[2], int)}
        self.limit: int | None = min(lengths) if lengths else None
        """The most tokens that fit, prompt included; None for a cache that grows."""
        self.length = 0
        start: dict[str, Array] = {spec.name: np.zeros([_start(size, axis) for axis, size in enumerate(spec.shape)], spec.dtype) for spec in pasts}
        self._counted = any(spec.name == LENGTH for spec in runner.inputs)
        self._carried = runner.carry({PRESENT + spec.name.removeprefix(PAST): spec.name for spec in pasts}, {**start, **(constants or {})})

    def __call__(self, tokens: int, feeds: Feeds) -> dict[str, Array]:
        """Run over ``tokens`` more positions. Returns the outputs other than the cache.

        Raises:
            MmedgeError: a fixed cache is full.
        """
        if self.limit is not None and self.length + tokens > self.limit:
            raise MmedgeError(
                f"the text is longer than the {self.limit} tokens of this target's cache", "ask with a shorter text, or export with a longer context"
            )
        counter: dict[str, Array] = {LENGTH: np.array([self.length], np.int64)} if self._counted else {}
        outputs = self._carried.run({**feeds, **counter})
        self.length += tokens
        return outputs


def _start(size: int | str, axis: int) -> int:
    """Dynamic sizes of an empty cache: a batch of one text, and no past."""
    return size if isinstance(size, int) else 1 if axis == 0 else 0
