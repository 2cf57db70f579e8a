"""How far an engine's outputs are from the reference, by the bound that fits its precision.

fp32: the largest absolute difference, at most 1e-4 x max(1, max|reference|). fp16 and bf16: relative L2 at most 1e-2.
How good a model is at its task is another question: that is judged on data, never here.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from mmedge.tensors import Array, Feeds

FP32_BOUND = 1e-4
HALF_BOUND = 1e-2

Kind = Literal["max_abs", "relative_l2"]


def absolute_drift(got: Array, reference: Array) -> float:
    """max|got - reference| as a fraction of its bound; infinite where shapes differ or a value is not finite."""
    if got.shape != reference.shape or not _comparable(got, reference):
        return float("inf")
    if reference.size == 0:
        return 0.0
    wide, target = got.astype(np.float64), reference.astype(np.float64)
    return float(np.abs(wide - target).max() / (FP32_BOUND * max(1.0, np.abs(target).max())))


def relative_drift(got: Array, reference: Array) -> float:
    """||got - reference|| / ||reference|| as a fraction of its bound; infinite where shapes differ or a value is not finite."""
    if got.shape != reference.shape or not _comparable(got, reference):
        return float("inf")
    wide, target = got.astype(np.float64), reference.astype(np.float64)
    norm = float(np.linalg.norm(target))
    return float(np.linalg.norm(wide - target)) / (HALF_BOUND * norm) if norm else float("inf" if wide.any() else 0.0)


def drift(got: Feeds, reference: Feeds, precision: str) -> tuple[float, Kind]:
    """The worst output of a graph, as a fraction of the bound (up to 1 passes), and which bound it was."""
    found, kind = drifts(got, reference, precision)
    return max(found.values()), kind


def drifts(got: Feeds, reference: Feeds, precision: str) -> tuple[dict[str, float], Kind]:
    """As ``drift``, of each output."""
    kind: Kind = "max_abs" if precision == "fp32" else "relative_l2"
    measure = absolute_drift if kind == "max_abs" else relative_drift
    return {name: measure(got[name], value) if name in got else float("inf") for name, value in reference.items()}, kind


def _comparable(got: Array, reference: Array) -> bool:
    return bool(np.isfinite(got.astype(np.float64)).all() and np.isfinite(reference.astype(np.float64)).all())
