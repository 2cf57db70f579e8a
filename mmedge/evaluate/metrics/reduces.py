"""How a metric comes from what is stored of it: by its name, for evaluations that are read back and compared."""

from __future__ import annotations

import re
from functools import partial

from mmedge.evaluate.metrics import captions, classification, meteor, retrieval, roc
from mmedge.evaluate.metrics.bootstrap import Reduce, Values, mean, ratio

MEANS = {"accuracy", "rouge_l", "cider_d", "vqa_accuracy", "exact_match", "cosine", "top1_agreement"}
RATIOS = {"wer", "cer", "spearman"}


def reduce_of(name: str, rows: Values, classes: int = 0) -> Reduce:
    """What makes the metric ``name`` of its ``rows``, float64 [units, statistics].

    Args:
        classes: how many there are, for what is averaged over them.

    Raises:
        KeyError: there is no such metric.
    """
    if name in MEANS:
        return mean
    if name in RATIOS:
        return ratio
    if name == "meteor":
        return meteor.score
    if name == "roc_auc":
        return roc.area if rows.shape[1] == 2 else partial(roc.mean_area, rows.shape[1] // 2)
    if name in ("auc_random", "auc_folder"):
        return roc.pair_area
    if found := re.fullmatch(r"bleu_(\d)", name):
        return partial(captions.bleu, int(found[1]))
    if found := re.fullmatch(r"\w+_to_\w+_(?:r(\d+)|median_rank)", name):
        return partial(retrieval.recall, int(found[1])) if found[1] else retrieval.median_rank
    if found := re.fullmatch(r"(precision|recall|f1)_(macro|micro|weighted)", name):
        return partial(classification.averaged, found[1], found[2], classes)
    raise KeyError(name)
