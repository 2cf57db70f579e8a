"""Accuracy of answers to questions about pictures, by the rule of VQA v2 (Goyal et al., CVPR 2017), mistakes of its script included.

The rule, its lists of words and what is odd about it are those of ``vqaEval.py`` in github.com/GT-Vision-Lab/VQA (2-clause BSD): published figures are its.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from mmedge.evaluate.metrics.bootstrap import Draft, Metric, Samples, mean, measure

FEWEST = 4
"""An answer that three others gave counts in full: below four a right one never does."""
UP_TO_TEN = "zero one two three four five six seven eight nine ten"
NUMBERS = {word: str(value) for value, word in enumerate(UP_TO_TEN.split())} | {"none": "0"}
ARTICLES = {"a", "an", "the"}
CONTRACTIONS = """
ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't haven't he'd he'd've he's how'd how'll how's isn't it'd it'd've
it'll ma'am mightn't mightn't've might've mustn't must've needn't not've o'clock oughtn't 'ow's'at shan't she'd've should've shouldn't shouldn't've
somebody'd've somebody'll somebody's someone'd someone'd've someone'll someone's something'd something'd've something'll that's there'd there'd've there're
there's they'd they'd've they'll they're they've 'twas wasn't we'd've we've weren't what'll what're what's what've when's where'd where's where've who'd
who'd've who'll who's who've why'll why're why's won't would've wouldn't wouldn't've y'all y'all'll y'all'd've you'd you'd've you'll you're you've
"""
SPELLINGS = {word[:at] + word[at + 1 :]: word for word in CONTRACTIONS.split() for at, letter in enumerate(word) if letter == "'"} | {"somebody'd": "somebodyd"}
"""A contraction with one apostrophe left out -> with it. One entry of the script is the wrong way round."""
PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
BETWEEN_DIGITS = re.compile(r"\d,\d", re.ASCII)
PERIOD = re.compile(r"\.(?!\d)", re.ASCII)
PERIODS = 32
"""As many are removed: the script passes a flag of that value where the count belongs."""


def vqa(given: Sequence[str], answers: Sequence[Sequence[str]]) -> list[Metric]:
    """``vqa_accuracy`` and ``exact_match``, resampled over questions.

    Args:
        given: the model's answer to each question.
        answers: what people answered: ten each in VQA v2. Of questions with fewer than four there is only the exact match, with any of them.
    """
    few = sum(len(people) < FEWEST for people in answers)
    official = [] if few else [accuracy(ours, people) for ours, people in zip(given, answers, strict=True)]
    exact = [normalise(ours) in {normalise(answer) for answer in people} for ours, people in zip(given, answers, strict=True)]
    why = f"not computed: {few} of {len(answers)} questions have fewer than {FEWEST} answers" if few else "there are no samples"
    rows = [np.array(found, dtype=np.float64)[:, None] for found in (official, exact)]
    return measure([Draft("vqa_accuracy", Samples(rows[0], mean), why), Draft("exact_match", Samples(rows[1], mean))])


def accuracy(given: str, answers: Sequence[str]) -> float:
    """Of one question: the mean over its people of min(1, others who answered this / 3)."""
    ours, people = _tidy(given), [_tidy(answer) for answer in answers]
    if len(set(people)) > 1:  # where all say the same, nothing is normalised: "Yes" then misses "yes"
        ours, people = _processed(ours), [_processed(answer) for answer in people]
    same = sum(answer == ours for answer in people)
    return (same * min(1.0, (same - 1) / 3) + (len(people) - same) * min(1.0, same / 3)) / len(people)


def normalise(answer: str) -> str:
    """An answer without punctuation, articles and case, numbers up to ten as digits, apostrophes put back."""
    return _processed(_tidy(answer))


def _tidy(text: str) -> str:
    return text.replace("\n", " ").replace("\t", " ").strip()


def _processed(text: str) -> str:
    plain = text
    for mark in PUNCTUATION:  # removed at the edge of a word, anywhere in a text that has a number like 1,000; a space inside words
        removed = f"{mark} " in text or f" {mark}" in text or BETWEEN_DIGITS.search(text)
        plain = plain.replace(mark, "" if removed else " ")
    words = [NUMBERS.get(word, word) for word in PERIOD.sub("", plain, count=PERIODS).lower().split()]
    return " ".join(SPELLINGS.get(word, word) for word in words if word not in ARTICLES)
