from __future__ import annotations

import numpy as np
import pytest

from mmedge.evaluate.drift import absolute_drift, drift, relative_drift


def test_absolute_bound_scales_with_the_largest_reference_and_not_below_one():
    assert absolute_drift(np.float32([0.5, 0.50004]), np.float32([0.5, 0.5])) == pytest.approx(0.4, rel=1e-2)
    assert absolute_drift(np.float32([100.004]), np.float32([100.0])) == pytest.approx(0.4, rel=1e-2)


def test_relative_bound_is_one_percent_of_the_norm():
    assert relative_drift(np.float32([3.03, 4.04]), np.float32([3, 4])) == pytest.approx(1.0, rel=1e-3)


@pytest.mark.parametrize("measure", [absolute_drift, relative_drift])
def test_what_cannot_be_compared_never_passes(measure):
    reference = np.ones((2, 3), np.float32)
    assert measure(np.ones((3, 2), np.float32), reference) == np.inf
    assert measure(np.full((2, 3), np.nan, np.float32), reference) == np.inf
    assert measure(np.ones((2, 3), np.float32), np.full((2, 3), np.inf, np.float32)) == np.inf
    assert measure(reference, reference) == 0


def test_the_worst_output_counts_and_a_missing_one_fails():
    reference = {"a": np.ones(2, np.float32), "b": np.ones(2, np.float32)}
    assert drift({"a": reference["a"], "b": reference["b"] + 1e-3}, reference, "fp32") == (pytest.approx(10, rel=1e-3), "max_abs")
    assert drift({"a": reference["a"], "b": reference["b"] + 1e-3}, reference, "bf16") == (pytest.approx(0.1, rel=1e-3), "relative_l2")
    assert drift({"a": reference["a"]}, reference, "fp32")[0] == np.inf
