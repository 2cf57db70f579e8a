"""What a Whisper gives for sounds, kept in the cache: its answers at each place of known words, and the words that it writes itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmedge.cache import Trace
from mmedge.distill.short_window import Ears
from mmedge.distill.teacher import outputs
from mmedge.generate.decode import Decoded
from mmedge.nets.objectives import top_k
from mmedge.nets.objectives.labelled import UNASKED
from mmedge.processors.audio import Samples

STOPPED = ("stop", "length", "loop")


@dataclass(frozen=True, eq=False)
class Answers:
    """A teacher's, at each place of the words [rows, places, K], and the words [rows, places], which end with the stop token; ``UNASKED`` behind it."""

    labels: Tensor
    ids: Tensor
    log_probs: Tensor


def answers(
    ears: Ears, sounds: Sequence[Samples], labels: Sequence[Sequence[int]], kept: int, temperature: float, key: Mapping[str, Any], report: Trace
) -> Answers:
    """The teacher's, hearing each sound as it is, and reading the labels: as many places as the longest has.

    Args:
        labels: tokens of each sound, without prompt and stop token.
        kept: so many of the likeliest tokens.
    """
    stop, longest = ears.checkpoint.config.stop, max(map(len, labels)) + 1
    whole = np.full((len(labels), longest), UNASKED, np.int64)
    for row, one in enumerate(labels):
        whole[row, : len(one) + 1] = [*one, stop]

    def answer(rows: range) -> dict[str, Any]:
        asked = torch.from_numpy(whole[rows.start : rows.stop])
        with torch.inference_mode():
            features = torch.cat([ears.features(sounds[row]) for row in rows])
            logits = ears.checkpoint.model(input_features=features, decoder_input_ids=tokens_in(ears, asked)).logits
            ids, log_probs = top_k(logits[:, len(ears.checkpoint.config.prompt) - 1 :], kept, temperature=temperature)
        return {"ids": ids.numpy(), "log_probs": log_probs.clamp(min=torch.finfo(torch.float16).min).numpy()}

    report(f"the teacher hears {len(sounds)} sounds of {ears.window_s} s")
    found = outputs({**key, "output": "answers", "labels": whole.tolist(), "top_k": kept, "temperature": temperature}, len(sounds), answer, report)
    return Answers(torch.from_numpy(whole), torch.from_numpy(found.numbers("ids")), torch.from_numpy(found["log_probs"]))


def tokens_in(ears: Ears, labels: Tensor) -> Tensor:
    """What a decoder reads to answer each of the labels [B, places]: the prompt, and the labels without the last: int64 [B, prompt + places - 1]."""
    config = ears.checkpoint.config
    prompt = torch.tensor([config.prompt]).expand(len(labels), -1)
    return torch.cat([prompt, labels[:, :-1].masked_fill(labels[:, :-1] == UNASKED, config.stop)], 1)


def written(ears: Ears, sounds: Sequence[Samples], key: Mapping[str, Any], report: Trace) -> list[Decoded]:
    """What a network that is not trained here writes: from the cache, or computed now."""

    def write(rows: range) -> dict[str, Any]:
        found = [ears.write(sounds[row]) for row in rows]
        tokens = np.full((len(found), ears.places), UNASKED, np.int64)
        for row, one in enumerate(found):
            tokens[row, : len(one.tokens)] = one.tokens
        return {"tokens": tokens, "stopped": np.array([STOPPED.index(one.stopped) for one in found])}

    report(f"{len(sounds)} sounds through a window of {ears.window_s} s")
    found = outputs({**key, "output": "written", "window_s": ears.window_s, "places": ears.places}, len(sounds), write, report)
    rows = zip(found.numbers("tokens").tolist(), found.numbers("stopped").tolist())
    return [Decoded(tuple(token for token in tokens if token != UNASKED), 0.0, STOPPED[stopped]) for tokens, stopped in rows]  # type: ignore[arg-type]
