"""What frozen encoders of a fusion give for every sample that has their modality, computed once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmedge.distill.memory import hold_states
from mmedge.distill.modalities import Modalities
from mmedge.distill.samples import Numbers, Reader, Samples
from mmedge.distill.subject import Report
from mmedge.distill.teacher import Outputs, outputs
from mmedge.errors import MmedgeError
from mmedge.evaluate.samples import Unreadable
from mmedge.nets.fusing import Encoded
from mmedge.nets.multimodal_config import Modality


@dataclass(frozen=True, eq=False)
class Known:
    """One modality."""

    given: Outputs
    mask: Tensor | None
    """int64 [rows, T] of texts, 0 on filling."""
    rows: Numbers
    """[samples]: where each one's is, -1 where it is missing. Of texts its first one's."""
    texts: Mapping[str, int]
    """Of texts: where each is."""
    pooled: Tensor
    """float32 [rows, D]."""

    def states(self) -> Tensor:
        """float32 [rows, T, D]. Raises MmedgeError: they do not fit into memory."""
        first = self.given.rows("tokens", [0])
        hold_states(len(self.pooled), *first.shape[1:])
        return torch.from_numpy(self.given["tokens"])


def known(modality: Modality, its: Modalities, samples: Samples, key: Mapping[str, Any], report: Report) -> Known:
    """From the cache, or computed now.

    Args:
        key: what the outputs depend on, beside the data and the modality.

    Raises:
        MmedgeError: no sample has the modality, one cannot be decoded, or the cache cannot be written.
    """
    there = [number for number, has in enumerate(samples.has) if modality in has]
    if not there:
        raise MmedgeError(
            f"no sample of {samples.data.name} has {modality}", f"name the column: --column {modality}=COLUMN; or drop {modality} from the recipe's network"
        )
    key = {**key, "outputs": ["pooled", "tokens"], "modality": modality, "encoder": its.told[modality].model_dump(mode="json")}
    report(f"{modality}: {len(there)} of {len(samples)} samples")
    if modality == "text":
        return _texts(its, samples, key, report)
    reader, encoder = Reader(samples.data), its.encoders[modality]

    def compute(rows: range) -> dict[str, Any]:
        return _given(encoder, its.feeds(modality, list(reader([there[row] for row in rows]))))

    try:
        given = outputs({**key, "data": samples.fingerprint}, len(there), compute, report)
    except Unreadable as error:
        raise MmedgeError(error.what, error.fix) from error
    rows = np.full(len(samples), -1)
    rows[there] = np.arange(len(there))
    return Known(given, None, rows, {}, torch.from_numpy(given["pooled"]))


def _texts(its: Modalities, samples: Samples, key: Mapping[str, Any], report: Report) -> Known:
    """Every different text once, all filled up to the longest."""
    unique = sorted({text for texts in samples.texts for text in texts})
    assert its.tokens is not None
    tokens, encoder = its.tokens(unique), its.encoders["text"]

    def compute(rows: range) -> dict[str, Any]:
        return _given(encoder, {name: value[rows.start : rows.stop] for name, value in tokens.items()})

    given = outputs({**key, "texts": unique}, len(unique), compute, report)
    at = {text: row for row, text in enumerate(unique)}
    rows = np.array([at[texts[0]] if texts else -1 for texts in samples.texts])
    return Known(given, torch.from_numpy(tokens["attention_mask"]), rows, at, torch.from_numpy(given["pooled"]))


def _given(encoder: Any, feeds: Mapping[str, Any]) -> dict[str, Any]:
    with torch.inference_mode():
        found: Encoded = encoder(**{name: torch.from_numpy(value) for name, value in feeds.items()})
    return {"pooled": found.pooled.numpy(), "tokens": found.tokens.numpy()}


def lacking(samples: Samples, names: Sequence[Modality], numbers: Numbers) -> str:
    """How many of these samples lack which modality, as a sentence's part; empty where none lacks any."""
    counts = {name: sum(name not in samples.has[number] for number in numbers) for name in names}
    return ", ".join(f"{count} of {len(numbers)} samples lack {name}" for name, count in counts.items() if count)
