"""Retrieval between pictures and texts, both ways: recall among the first 1, 5 and 10, and the median rank.

The protocol is that of Karpathy and Fei-Fei (Deep Visual-Semantic Alignments, CVPR 2015): a query's rank is that of the best right answer. Two choices differ
from scripts in the wild: texts that say the same are one entry of the gallery, right for every picture that has it; and among equal scores the wrong answers
come first, so that a model that gives everything one score finds nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from mmedge.evaluate.metrics.bootstrap import Draft, Metric, Samples, Values, divide, measure

RECALLS = (1, 5, 10)


def gallery(captions: Sequence[Sequence[str]]) -> tuple[list[str], NDArray[np.bool_]]:
    """(texts, relevant [pictures, texts]): each different caption once, and which pictures it is right for.

    Captions are the same when they differ only in case, white space or a full stop at the end.
    """
    number: dict[str, int] = {}
    texts: list[str] = []
    pairs = []
    for picture, own in enumerate(captions):
        for text in own:
            if number.setdefault(_plain(text), len(texts)) == len(texts):
                texts.append(text)
            pairs.append((picture, number[_plain(text)]))
    relevant = np.zeros((len(captions), len(texts)), dtype=np.bool_)
    if pairs:
        relevant[tuple(np.array(pairs).T)] = True
    return texts, relevant


def retrieval(scores: Values, relevant: NDArray[np.bool_]) -> list[Metric]:
    """``image_to_text_r1``, ``_r5``, ``_r10``, ``_median_rank`` and ``text_to_image_...``, resampled over pictures, each with its texts.

    Args:
        scores: float [pictures, texts], higher is closer.
        relevant: [pictures, texts]: which are right. A picture or text without any is no query, but stands in the other's gallery.
    """
    if scores.shape != relevant.shape:
        raise ValueError(f"scores {scores.shape} and relevant {relevant.shape} differ in shape")
    finite = bool(np.isfinite(scores).all())
    pictures = np.flatnonzero(relevant.any(axis=1))
    texts, theirs = np.nonzero(relevant.T)
    asked, at = np.unique(texts, return_index=True)
    drawn_with = theirs[at]  # a text's first picture
    ways = {
        "image_to_text": (ranks(scores, relevant, pictures), np.arange(len(pictures)), relevant.shape[1]),
        "text_to_image": (ranks(scores.T, relevant.T, asked), np.unique(drawn_with, return_inverse=True)[1], relevant.shape[0]),
    }
    drafts = []
    for way, (found, unit, size) in ways.items():
        rows = _by_unit(found, unit)
        why, how = ("there are no captions", f"{len(found)} queries, {size} in the gallery") if finite else ("not computed: some scores are not finite", "")
        rows = rows if finite else rows[:0]
        drafts += [Draft(f"{way}_r{k}", Samples(rows, partial(recall, k)), why, how=how) for k in RECALLS]
        drafts.append(Draft(f"{way}_median_rank", Samples(rows, median_rank), why, higher_is_better=False, how=how))
    return measure(drafts)


def ranks(scores: Values, relevant: NDArray[np.bool_], queries: NDArray[np.int64]) -> Values:
    """The rank, from 1, of the best right answer to each query, a row of [all queries, answers]. Wrong answers with its score come before it."""
    best = (scores[query][relevant[query]].max() for query in queries)  # a row at a time: scores may fill half of the memory
    return np.array([1.0 + np.count_nonzero((scores[query] >= least) & ~relevant[query]) for query, least in zip(queries, best)])


def _plain(text: str) -> str:
    return " ".join(text.casefold().split()).rstrip(". ")


def _by_unit(found: Values, unit: NDArray[np.int64]) -> Values:
    """The ranks of each unit's queries in a row, filled up with NaN."""
    units = int(unit.max()) + 1 if len(unit) else 0
    order = np.argsort(unit, kind="stable")
    sizes = np.bincount(unit, minlength=units)
    place = np.arange(len(unit)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    rows = np.full((units, int(sizes.max(initial=1))), np.nan)
    rows[unit[order], place] = found[order]
    return rows


def recall(k: int, weights: Values, rows: Values) -> Values:
    """The share of all queries with a rank of at most ``k``; a row holds the ranks of one unit's queries, filled up with NaN."""
    return divide(weights @ (rows <= k).sum(axis=1).astype(np.float64), weights @ np.isfinite(rows).sum(axis=1).astype(np.float64))


def median_rank(weights: Values, rows: Values) -> Values:
    """Of all queries' ranks, each as often as its unit was drawn."""
    unit, place = np.nonzero(np.isfinite(rows))
    order = np.argsort(rows[unit, place], kind="stable")
    values, running = rows[unit, place][order], np.cumsum(weights[:, unit[order]], axis=1)
    total = running[:, -1]
    low, high = ((running <= np.floor(middle)[:, None]).sum(axis=1) for middle in ((total - 1) / 2, total / 2))
    return (values[low] + values[high]) / 2
