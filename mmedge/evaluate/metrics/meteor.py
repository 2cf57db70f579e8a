"""METEOR 1.5 (Denkowski and Lavie, WMT 2014): its own Java program aligns the texts, and the score comes from what it counts, so that it can be resampled."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from mmedge.evaluate.metrics.bootstrap import Draft, Metric, Samples, Values, divide, measure

ALPHA, BETA, GAMMA, DELTA = 0.85, 0.2, 0.6, 0.75
STAGES = np.array([1.0, 0.6, 0.8, 0.6])
"""Weights of exact, stem, synonym and paraphrase matches: with those above, what the paper tuned for English."""
STATISTICS = 23


def meteor(given: Sequence[str], references: Sequence[Sequence[str]]) -> Metric:
    """``meteor`` of the whole corpus, resampled over pictures; without an estimate where Java or the program is missing. Takes 10 s and 1 GB to start.

    Args:
        given: a text for each picture, its words separated by single spaces.
        references: of each picture, likewise.
    """
    java, jar = shutil.which("java"), _jar()
    if java is None:
        return Metric("meteor", None, "not computed: Java missing")
    if jar is None:
        return Metric("meteor", None, "not computed: meteor-1.5.jar missing (pip install pycocoevalcap brings it, 104 MB)")
    lines = [" ||| ".join(["SCORE", *texts, ours]) for ours, texts in zip(given, references, strict=True)]
    command = [java, "-Xmx2G", "-jar", str(jar), "-", "-", "-stdio", "-l", "en", "-norm"]
    told = subprocess.run(command, input="".join(f"{line}\n" for line in lines), capture_output=True, text=True, encoding="utf-8", cwd=jar.parent)
    rows = [line.split() for line in told.stdout.splitlines()]
    if told.returncode or [len(row) for row in rows] != [STATISTICS] * len(lines):
        return Metric("meteor", None, f"not computed: {jar.name} failed: {(told.stderr.strip() or 'no reason given').splitlines()[-1]}")
    samples = Samples(np.array(rows, dtype=np.float64).reshape(-1, STATISTICS), score)
    return measure([Draft("meteor", samples, how="METEOR 1.5, English, -norm")])[0]


def score(weights: Values, rows: Values) -> Values:
    """Of the summed counts: lengths and function words of text and reference, four counts a stage, chunks, matched words of either.

    Precision and recall weigh content words by delta and function words by the rest; the more chunks the matches fall into, the higher the penalty.
    """
    perfect = (rows[:, 21:23] == rows[:, 0:2]).all(axis=1) & (rows[:, 20] == 1)  # a text that is a reference's has no chunk
    total = weights @ np.column_stack([rows[:, :20], np.where(perfect, 0, rows[:, 20]), rows[:, 21:]])
    lengths, functions, chunks, matched = total[:, 0:2], total[:, 2:4], total[:, 20], total[:, 21:23]
    stages = total[:, 4:20].reshape(-1, 4, 4)  # [resamples, stages, content words of both sides, function words of both]
    found = np.einsum("s,rsk->rk", STAGES, DELTA * stages[:, :, :2] + (1 - DELTA) * stages[:, :, 2:])
    precision, recall = np.nan_to_num(divide(found, DELTA * (lengths - functions) + (1 - DELTA) * functions)).T
    mean = np.nan_to_num(divide(precision * recall, ALPHA * precision + (1 - ALPHA) * recall))
    fragmentation = np.nan_to_num(divide(chunks, matched.sum(axis=1) / 2))
    return np.asarray(mean * (1 - GAMMA * fragmentation**BETA))


def _jar() -> Path | None:
    package = find_spec("pycocoevalcap")
    places = [Path(place) / "meteor" / "meteor-1.5.jar" for place in (package.submodule_search_locations or [])] if package else []
    return next((place for place in places if place.is_file()), None)
