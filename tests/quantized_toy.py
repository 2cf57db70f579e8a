"""The toy's bundle as quantizing would leave it, with candidates in 8 bits made by hand: what rests on a feature of the CPU, and what does not."""

from __future__ import annotations

import numpy as np
import pytest
from small_graphs import write

from mmedge import fallback
from mmedge.bundle import Bundle
from mmedge.evaluate.golden import Golden
from mmedge.evaluate.recorded import pack_outputs, record
from mmedge.manifest import Quantized, Variant
from mmedge.optimize.rounding import run
from mmedge.rated import Choice, Interval, Loss, Rated
from mmedge.target import Target

ROLE, KEY = "eyes", "image_encoder"
CPU = Target.load("cpu")
FLAG = "avx512_vnni"
INT8 = {"precision": "int8"}
ROUNDED = """g (float[batch, 3, {size}, {size}] pixel_values) => (float[batch, 3] image_embedding) {{
  mean = GlobalAveragePool(pixel_values)
  flat = Flatten(mean)
  w = DequantizeLinear(weights, scale)
  doubled = MatMul(flat, w)
  image_embedding = Sub(doubled, one)
}}"""
"""As the toy computes it, but for a factor."""


def interval(value, n=300):
    return Interval(value=value, low=value - 0.01, high=value + 0.01, n=n)


def rated(name, *, precision="fp32", ratio=1.0, lost=0.0, **more):
    found = Interval(value=lost, low=lost - 0.001, high=lost + 0.001, n=300)
    timed = {"ratio": interval(ratio) if ratio != 1.0 else Interval(value=1, low=1, high=1, n=9), "latency_ms": ratio} if ratio else {}
    loss = Loss(metric="accuracy", found=found, allowed=0.01, word="kept")
    known = {"backend": name.partition(" ")[0], "passed": True, "metric": interval(0.9 - lost), "loss": loss, "size_mb": 1.0}
    return Rated(name=name, precision=precision, **{**known, **timed, **more})


def rounded(folder, size, factor):
    """The toy's graph with weights in 8 bits that are too small by ``factor``."""
    constants = {"weights": np.eye(3, dtype=np.int8) * 100, "scale": np.float32(0.02 * factor), "one": np.float32(1)}
    return write(folder / f"rounded-{factor}.onnx", ROUNDED.format(size=size), **constants)


def quantized_toy(path, *, first=None, second=None, chosen="ort quick", budget=None):
    """Quantize the toy at ``path`` for ``cpu``: ``ort quick`` in int8, which rests on ``FLAG``, then ``ort spare``, then fp32.

    Args:
        first, second: changes to their Rated.
    """
    with Bundle.writing(path) as bundle, bundle.scratch() as scratch:
        model = bundle.manifest.models[ROLE]
        size = model.graphs[KEY].inputs[0].shape[2]
        feeds = Golden(bundle, ROLE).graph(KEY)[0]
        variants = []
        for name, factor in (("quick", 0.9), ("spare", 0.8)):
            made = rounded(scratch, size, factor)
            file = bundle.add(ROLE, f"{name}.onnx", made)
            stored = bundle.add(ROLE, f"{name}-golden.npz", pack_outputs(run(made, feeds, optimise=True)))
            variants.append(Variant(precision="int8", backend="ort", method=name, drift=9.0, file=file, outputs=stored))
        found = [
            rated("ort quick", **{**INT8, "ratio": 0.5, "lost": 0.004, "features": (FLAG,), "made_of": variants[0].file.sha256, **(first or {})}),
            rated("ort spare", **{**INT8, "ratio": 0.8, "lost": 0.002, "made_of": variants[1].file.sha256, **(second or {})}),
            rated("ort fp32"),
        ]
        choice = Choice(chosen=chosen, why="the fastest that holds", rated=tuple(found))
        graphs = {KEY: model.graphs[KEY].model_copy(update={"variants": tuple(variants)})}
        placed = fallback.placement(choice.of(chosen), choice.why, CPU)
        models = {ROLE: model.model_copy(update={"graphs": graphs})}
        bundle.manifest = bundle.manifest.model_copy(update={"models": models, "engines": {"cpu": {f"{ROLE}/{KEY}": placed}}})
        quantized = Quantized(
            task="classification",
            metric="accuracy",
            higher_is_better=True,
            data="pictures",
            fingerprint="0" * 64,
            samples=300,
            fp32=interval(0.9),
            whole=interval(0.896),
            loss=choice.of(chosen).loss,
            goal="latency",
            machine="a machine with it",
            graphs={KEY: choice},
            **({"budget": budget} if budget else {}),
        )
        bundle.manifest = bundle.manifest.model_copy(update={"quantized": {"cpu": {ROLE: quantized}}})
        with pytest.MonkeyPatch.context() as patch:
            masked(patch, FLAG)
            content, cases = record(bundle, ROLE, CPU)
        quantized = quantized.model_copy(update={"golden": bundle.add(ROLE, "golden-cpu.npz", content), "cases": cases})
        bundle.manifest = bundle.manifest.model_copy(update={"quantized": {"cpu": {ROLE: quantized}}})
        bundle.commit()
    return path


def masked(patch, *flags):
    """Let the CPU have these features alone."""
    for module in ("mmedge.features", "mmedge.optimize.integer"):
        patch.setattr(f"{module}.cpu_flags", lambda root=None: flags)


def manifest_of(path):
    return Bundle.open(path).manifest
