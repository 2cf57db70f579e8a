"""Captions against references: BLEU-1 to 4, ROUGE-L and CIDEr-D as the COCO caption evaluation defines them (Chen et al. 2015, arXiv 1504.00325); METEOR.

Tokens come from ``ptb``: the evaluation's own tokenizer wants Java.
"""

from __future__ import annotations

import math
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from mmedge.evaluate.metrics.bootstrap import Draft, Metric, Samples, Values, mean, measure
from mmedge.evaluate.metrics.meteor import meteor
from mmedge.evaluate.metrics.ptb import NAME, tokenize
from mmedge.need import need

Tokens = list[str]
Ngram = tuple[str, ...]
Vectors = tuple[list[dict[Ngram, float]], list[float]]
"""The tf-idf of each order's n-grams, and its norm."""

ORDERS = (1, 2, 3, 4)
BETA = 1.2
"""ROUGE-L: how much more recall counts than precision."""
SIGMA = 6.0
"""CIDEr-D: of the penalty for a difference in length."""
TINY, SMALL = 1e-15, 1e-9
"""What the evaluation adds to BLEU's dividends and divisors."""


def captions(given: Sequence[str], references: Sequence[Sequence[str]]) -> list[Metric]:
    """``bleu_1`` to ``bleu_4``, ``rouge_l``, ``cider_d`` (0 to 10) and ``meteor``, resampled over pictures.

    Args:
        given: the model's caption of each picture.
        references: one or more captions by people, of each.

    All of them are for English: where most letters are of other scripts, ``how`` begins with that.

    BLEU is of the whole corpus, with the closest reference length; ROUGE-L and CIDEr-D are means over pictures. CIDEr-D weighs words by how many of *these*
    pictures' references have them, in every resample: compare it only over the same data.

    Raises:
        ValueError: a picture has no reference.
        MmedgeError: the extra ``eval`` is not installed.
    """
    if not all(references):
        raise ValueError("a picture has no reference")
    ours = [tokenize(text) for text in given]
    theirs = [[tokenize(text) for text in texts] for texts in references]
    how = f"{foreign}; {NAME}" if (foreign := _foreign([*given, *(text for texts in references for text in texts)])) else NAME
    bleu_rows = np.array([_matches(*pair) for pair in zip(ours, theirs, strict=True)], dtype=np.float64).reshape(-1, 2 + 2 * len(ORDERS))
    drafts = [Draft(f"bleu_{order}", Samples(bleu_rows, partial(bleu, order)), how=how) for order in ORDERS]
    drafts.append(Draft("rouge_l", Samples(_column([_rouge_l(*pair) for pair in zip(ours, theirs)]), mean), how=how))
    few = len(theirs) < 2  # every word is then in every picture's references, and weighs nothing
    consensus = Samples(_column([] if few else _cider_d(ours, theirs)), mean)
    drafts.append(Draft("cider_d", consensus, "not computed: it takes more than one picture", how=how))
    aligned = meteor([" ".join(tokens) for tokens in ours], [[" ".join(tokens) for tokens in texts] for texts in theirs])
    return [*measure(drafts), replace(aligned, how=f"{foreign}; {aligned.how}") if foreign and aligned.estimate else aligned]


def _foreign(texts: Iterable[str]) -> str:
    """What to say where most letters are not Latin; otherwise nothing. Of a script without spaces a sentence is one word; stems and synonyms are English."""
    letters = Counter(character for text in texts for character in text if character.isalpha())
    other = sum(count for letter, count in letters.items() if not unicodedata.name(letter, "").startswith("LATIN"))
    return f"for English, and {other / letters.total():.0%} of these letters are not Latin: it tells little here" if other * 2 > letters.total() else ""


def _column(values: Sequence[float]) -> Values:
    return np.array(values, dtype=np.float64).reshape(-1, 1)


def _ngrams(tokens: Tokens, order: int) -> Counter[Ngram]:
    return Counter(tuple(tokens[start : start + order]) for start in range(len(tokens) - order + 1))


def _matches(given: Tokens, references: Sequence[Tokens]) -> list[int]:
    """What BLEU sums (Papineni et al., ACL 2002): length, closest reference length, then for each order the n-grams given and those of them that match."""
    closest = min((len(reference) for reference in references), key=lambda length: (abs(length - len(given)), length))
    row = [len(given), closest]
    for order in ORDERS:
        found = _ngrams(given, order)
        most: Counter[Ngram] = Counter()
        for reference in references:
            most |= _ngrams(reference, order)
        row += [found.total(), (found & most).total()]
    return row


def bleu(order: int, weights: Values, rows: Values) -> Values:
    """Of the corpus that was drawn, from the sums of what ``_matches`` counts."""
    total = weights @ rows
    precisions = (total[:, 3 : 3 + 2 * order : 2] + TINY) / (total[:, 2 : 2 + 2 * order : 2] + SMALL)
    ratio = (total[:, 0] + TINY) / (total[:, 1] + SMALL)
    return np.prod(precisions, axis=1) ** (1 / order) * np.exp(np.minimum(0, 1 - 1 / ratio))


def _rouge_l(given: Tokens, references: Sequence[Tokens]) -> float:
    """Lin 2004, by the longest common subsequence; the best precision and the best recall may be of different references."""
    longest = [need("rapidfuzz.distance", extra="eval").LCSseq.similarity(given, reference) for reference in references]
    precision = max(longest) / max(1, len(given))
    recall = max(length / max(1, len(reference)) for length, reference in zip(longest, references))
    return (1 + BETA**2) * precision * recall / (recall + BETA**2 * precision) if precision and recall else 0.0


def _cider_d(given: Sequence[Tokens], references: Sequence[Sequence[Tokens]]) -> list[float]:
    """Of each picture. Vedantam et al., CVPR 2015, section 5.2: clipped counts, and a Gaussian penalty for the difference in length."""
    pictures = [{ngram for reference in texts for order in ORDERS for ngram in _ngrams(reference, order)} for texts in references]
    document_frequency = Counter(ngram for picture in pictures for ngram in picture)
    most = math.log(len(references))

    def vectors(tokens: Tokens) -> Vectors:
        weighed = [{ngram: count * (most - math.log(max(1, document_frequency[ngram]))) for ngram, count in _ngrams(tokens, order).items()} for order in ORDERS]
        return weighed, [math.sqrt(sum(value * value for value in vector.values())) for vector in weighed]

    scores = []
    for ours, texts in zip(given, references):
        own = vectors(ours)
        alike = [_similarity(own, vectors(reference)) * _penalty(ours, reference) for reference in texts]
        scores.append(10 * sum(alike) / len(texts))
    return scores


def _similarity(ours: Vectors, theirs: Vectors) -> float:
    """The mean over orders of the cosine, where no n-gram counts for more than in the reference."""
    total = 0.0
    for mine, my_norm, its, its_norm in zip(*ours, *theirs):
        if my_norm and its_norm:
            total += sum(min(value, its.get(ngram, 0.0)) * its.get(ngram, 0.0) for ngram, value in mine.items()) / (my_norm * its_norm)
    return total / len(ORDERS)


def _penalty(ours: Tokens, reference: Tokens) -> float:
    return math.exp(-((len(ours) - len(reference)) ** 2) / (2 * SIGMA**2))
