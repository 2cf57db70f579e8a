"""The stand-in is no invention: what it has, TensorRT for RTX has too. That they behave alike, only a GPU could show."""

from __future__ import annotations

import inspect
import platform

import pytest
from backends.tensorrt import stand_in

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="TensorRT for RTX has wheels for x86-64 only")

ANYWHERE = {"name", "value"}
"""Of every enumeration."""


@pytest.mark.parametrize("one", stand_in.CLASSES, ids=lambda one: one.__name__)
def test_its_classes_and_names_are_tensorrts(one):
    pytest.importorskip("tensorrt_rtx_libs")
    trt = pytest.importorskip("tensorrt_rtx_bindings")
    real = getattr(trt, one.__name__)
    names = {name for name in vars(one) if not name.startswith("_")} - ANYWHERE - {"logger", "runtime_config"}
    assert {name for name in names if not hasattr(real, name)} == set()


@pytest.mark.parametrize("one", [one for one in stand_in.CLASSES if one.__name__.startswith(("IEx", "ICuda", "EngineI"))], ids=lambda one: one.__name__)
def test_its_methods_take_what_tensorrts_take(one):
    pytest.importorskip("tensorrt_rtx_libs")
    trt = pytest.importorskip("tensorrt_rtx_bindings")
    for name, method in inspect.getmembers(one, inspect.isfunction):
        if not name.startswith("_"):
            told = getattr(getattr(trt, one.__name__), name).__doc__
            taken = list(inspect.signature(method).parameters)[1:]
            assert all(f"{argument}: " in told for argument in taken), f"{name}{taken}: {told}"
