"""Compiling what was quantized: what its tests ask of a bundle, and times that are given instead of measured."""

from __future__ import annotations

import pytest
from quantized_toy import KEY, ROLE, interval, manifest_of

from mmedge.deploy import chosen
from mmedge.rated import Interval

GRAPH = f"{ROLE}/{KEY}"
VARIANTS = ("models", ROLE, "graphs", KEY, "variants")


def quiet(line):
    pass


def placed(path, target="cpu"):
    return manifest_of(path).engines[target][GRAPH]


def quantized_of(path, target="cpu"):
    return manifest_of(path).quantized[target][ROLE]


@pytest.fixture
def given(monkeypatch):
    """Let the candidates take these times of fp32's, by name; returns those that were measured."""

    def given(**ratios):
        asked = []

        def measured(survivors, bench):
            asked.extend(one.rated.name for one in survivors)
            times = {"fp32": 1.0, **ratios}
            found = []
            for one in survivors:
                ratio = times[one.rated.name.partition(" ")[2]]
                pair = Interval(value=1, low=1, high=1, n=9) if ratio == 1 else interval(ratio)
                found.append(one.rated.model_copy(update={"ratio": pair, "latency_ms": 2 * ratio, "memory_mb": 5.0}))
            return found

        monkeypatch.setattr(chosen, "measured", measured)
        return asked

    return given
