"""The toy's model with weights: its mean colour by way of five matrices, one of whose inputs is hard to round. And pictures to judge it on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from evaluate.data_sets import json_lines
from PIL import Image
from small_graphs import write

from mmedge.bundle import Bundle
from mmedge.evaluate.data import open_data
from mmedge.optimize.survivors import survivors
from mmedge.optimize.work import begin
from mmedge.target import Target

KEY = "image_encoder"
PIXELS = 3 * 8 * 8

GRAPH = """g (float[batch, 3, 8, 8] pixel_values) => (float[batch, 3] image_embedding) {
  flat = Flatten(pixel_values)
  [turn] x = MatMul(flat, w0)
  [back] y = MatMul(x, w00)
  [spread] a = MatMul(y, w1)
  [narrow] b = MatMul(a, w2)
  [mean] c = MatMul(b, w3)
  image_embedding = Sub(c, one)
}"""

COLOURS = {"black": (0, 0, 0), "white": (255, 255, 255), "red": (255, 0, 0), "green": (0, 128, 0), "blue": (0, 0, 255), "yellow": (255, 255, 0)}


def target(**options):
    given = {"backends": ("ort",), "quantize": {"ort": ({"method": "dynamic"}, {"method": "static"})}, "precisions": {"ort": ("fp32",)}}
    return Target(name="small", summary="", max_opset=23, max_ir=10, **{**given, **options})


def weighty(path, *, outlier=1.0):
    """The bundle at ``path`` with such a graph instead of the toy's own.

    Args:
        outlier: how many times as large as the others one channel of what ``narrow`` takes is.
    """
    random = np.random.default_rng(0)
    turn, _ = np.linalg.qr(random.standard_normal((PIXELS, PIXELS)))
    scale = np.ones(PIXELS)
    scale[7] = outlier
    mean = np.zeros((PIXELS, 3))
    for channel in range(3):
        mean[channel * 64 : (channel + 1) * 64, channel] = 2 / 64
    constants = {"w0": turn, "w00": turn.T, "w1": turn * scale, "w2": (turn / scale).T, "w3": mean}
    model = write(path.parent / "weighty.onnx", GRAPH, one=np.float32(1), **{name: array.astype(np.float32) for name, array in constants.items()})
    with Bundle.writing(path) as bundle:
        eyes = bundle.manifest.models["eyes"]
        entry = eyes.graphs["image_encoder"].model_copy(update={"file": bundle.add("eyes", "image_encoder.onnx", model)})
        bundle.manifest = bundle.manifest.model_copy(update={"models": {"eyes": eyes.model_copy(update={"graphs": {"image_encoder": entry}})}})
        bundle.commit()
    return path


def pictures(folder, count=4, labelled=True, names=tuple(COLOURS)):
    """``count`` of each colour, with some noise."""
    random = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for name in names:
        for number in range(count):
            noisy = np.clip(np.array(COLOURS[name]) + random.normal(0, 25, (10, 10, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(noisy).save(folder / f"{name}{number}.png")
            rows.append({"file_name": f"{name}{number}.png", "label": name})
    if labelled:
        json_lines(folder / "metadata.jsonl", rows)
    return folder


def sifted(bundle, data, at=None, lines=None, **options):
    """(what became of the candidates, warnings)."""
    opened = data if not isinstance(data, Path) else open_data(data)
    with begin(Bundle.open(bundle), at or target(), opened, **options, report=(lines if lines is not None else []).append) as work:
        return survivors(work, KEY), work.warnings
