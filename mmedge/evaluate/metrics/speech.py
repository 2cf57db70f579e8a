"""Word and character error rates of transcripts: edit distances by jiwer, texts normalised by the normalizer that is named."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np

from mmedge.evaluate.metrics.bootstrap import Draft, Metric, Samples, measure, ratio
from mmedge.need import need

Unit = Literal["word", "character"]
UNITS: dict[str, Unit] = {"wer": "word", "cer": "character"}
Normalizer = Literal["none", "basic", "english"]
NAMES: dict[Normalizer, str] = {"none": "no normalizer", "basic": "Whisper's basic normalizer", "english": "Whisper's English normalizer"}


def speech(heard: Sequence[str], said: Sequence[str], normalizer: Normalizer) -> list[Metric]:
    """``wer`` and ``cer``: edits (substitutions, deletions, insertions) over the words or characters said, of all clips together; resampled over clips.

    Args:
        heard: what the model transcribed, of each clip.
        said: the references. An empty one adds what was heard in it as insertions.
        normalizer: applied to both. ``basic`` (any language) and ``english`` are those of Radford et al. 2022, appendix C, from the package whisper_normalizer.

    Raises:
        MmedgeError: the extra ``eval`` is not installed.
    """
    clean = _normalizer(normalizer)
    pairs = [(clean(reference), clean(hypothesis)) for reference, hypothesis in zip(said, heard, strict=True)]
    drafts = []
    for name, unit in UNITS.items():
        rows = np.array([edits(unit, *pair) for pair in pairs], dtype=np.float64).reshape(-1, 2)
        why = "every reference is empty" if len(rows) else "there are no samples"
        drafts.append(Draft(name, Samples(rows, ratio), why, higher_is_better=False, how=NAMES[normalizer]))
    return measure(drafts)


def edits(unit: Unit, reference: str, hypothesis: str) -> tuple[int, int]:
    """(edits, words or characters in the reference)."""
    jiwer = need("jiwer", extra="eval")
    found = (jiwer.process_words if unit == "word" else jiwer.process_characters)(reference, hypothesis)
    return found.substitutions + found.deletions + found.insertions, found.hits + found.substitutions + found.deletions


def _normalizer(name: Normalizer) -> Callable[[str], str]:
    if name == "none":
        return str
    if name == "basic":
        return need("whisper_normalizer.basic", extra="eval").BasicTextNormalizer()
    return need("whisper_normalizer.english", extra="eval").EnglishTextNormalizer()
