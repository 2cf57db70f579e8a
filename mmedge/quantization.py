"""What a target may ask of quantizers: ``[[quantize.BACKEND]]`` tables of a method and its options. Each is one candidate for every graph."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from mmedge.documents import Document

BLOCK_SIZE: Literal[32] = 32
PERCENTILE = 99.99


class Dynamic(Document):
    """Weights in 8 bits, per channel; activations are rounded to 8 bits while the graph runs, by their range in that run. Needs no data."""

    method: Literal["dynamic"] = "dynamic"


class Static(Document):
    """Weights and activations in 8 bits; the ranges of activations are measured once on calibration data."""

    method: Literal["static"] = "static"
    ranges: Literal["minmax", "percentile", "entropy"] = "minmax"
    """``minmax``: all that was seen. ``percentile``: without the outermost values. ``entropy``: what changes the distribution least (Kullback-Leibler); not
    OpenVINO's."""
    percentile: float = Field(default=PERCENTILE, gt=50, le=100)
    smooth: float | None = Field(default=None, ge=0, le=1)
    """How much of the activations' outliers is moved into weights (SmoothQuant's alpha); null: the tool's own choice. OpenVINO only."""


class WeightOnly(Document):
    """Weights alone, in blocks with a scale each: for decoders, whose time goes to reading them. Needs no data."""

    method: Literal["weight-only"] = "weight-only"
    bits: Literal[4, 8] = 4
    block_size: Literal[16, 32, 64, 128] = BLOCK_SIZE
    """Numbers with a common scale, along the sum. With 8 bits, onnxruntime's are at least 64; OpenVINO's and NVIDIA's have a scale for every channel.
    With 4 bits, NVIDIA's are 64 or 128."""


Quantize = Dynamic | Static | WeightOnly

OPTIONS: dict[str, type[Document]] = {"dynamic": Dynamic, "static": Static, "weight-only": WeightOnly}

MODULES = {
    ("ort", "dynamic"): "ort_dynamic",
    ("ort", "static"): "ort_static",
    ("ort", "weight-only"): "ort_weight_only",
    ("openvino", "static"): "openvino_static",
    ("openvino", "weight-only"): "openvino_weight_only",
    ("tensorrt", "static"): "nvidia_static",
    ("tensorrt", "weight-only"): "nvidia_weight_only",
}
"""(backend, method) -> the module of ``optimize/`` that makes it."""

NVIDIA_BLOCKS = (64, 128)
"""Numbers with a common scale that TensorRT has kernels for with 4 bits (NVIDIA, "Quantization Schemes")."""


def name_of(options: Quantize) -> str:
    """A method with what distinguishes it, in one word, such as ``static-entropy`` or ``weight-only-4``."""
    if isinstance(options, Static):
        cut = f"-{options.percentile:g}" if options.ranges == "percentile" and options.percentile != PERCENTILE else ""
        return f"static-{options.ranges}{cut}" + (f"-smooth-{options.smooth:g}" if options.smooth is not None else "")
    if isinstance(options, WeightOnly):
        return f"weight-only-{options.bits}" + (f"-blocks-{options.block_size}" if options.block_size != BLOCK_SIZE else "")
    return options.method


def known(tables: Any) -> Any:
    """Before they are read: a backend, method or option that is none, and an option that one tool alone has, are refused with what is nearest."""
    methods = {name: sorted(method for other, method in MODULES if other == name) for name, _ in MODULES}
    for backend, candidates in tables.items() if isinstance(tables, Mapping) else ():
        if backend not in methods:
            raise ValueError(f"nothing quantizes for {backend!r}{_nearest(backend, list(methods))}")
        for candidate in candidates if isinstance(candidates, list | tuple) else ():
            if isinstance(candidate, Mapping):
                _held(backend, candidate, methods[backend])
    return tables


def _held(backend: str, candidate: Mapping[str, Any], methods: list[str]) -> None:
    method = candidate.get("method")
    if not isinstance(method, str):
        raise ValueError(f"a candidate for {backend} names no method{_nearest('', methods)}")
    if method not in methods:
        raise ValueError(f"{backend} has no method {method!r}{_nearest(method, methods)}")
    options = [name for name in OPTIONS[method].model_fields if name != "method"]
    if stray := next((name for name in candidate if name not in (*options, "method")), None):
        raise ValueError(f"{backend}: {method} has no option {stray!r}{_nearest(stray, options)}")
    if said := _strange(backend, candidate):
        raise ValueError(said)


def _strange(backend: str, candidate: Mapping[str, Any]) -> str:
    """What a backend's tool does not have of a method; empty where it has all."""
    block = candidate.get("block_size", BLOCK_SIZE)
    if (backend, candidate["method"], candidate.get("bits", 4)) == ("tensorrt", "weight-only", 4) and block not in NVIDIA_BLOCKS:
        return f"tensorrt has weights of 4 bits in blocks of {' or '.join(map(str, NVIDIA_BLOCKS))}, not of {block}: set block_size"
    if backend != "openvino" and candidate.get("smooth") is not None:
        return f"smooth is an option of openvino's, not of {backend}'s"
    if backend == "openvino" and candidate.get("ranges") == "entropy":
        return "openvino has no ranges by entropy: there is minmax, percentile"
    return ""


def _nearest(name: str, there: list[str]) -> str:
    near = difflib.get_close_matches(name, there, n=1, cutoff=0.4)
    return f": did you mean {near[0]}?" if near else f": there is {', '.join(there) or 'none'}"


Tables = Annotated[dict[str, tuple[Annotated[Quantize, Field(discriminator="method")], ...]], BeforeValidator(known)]
"""backend -> its candidates."""
