"""Weights alone in 8 bits per channel or 4 in blocks for OpenVINO, by NNCF: every matrix and table, those of words and the output matrix included."""

from __future__ import annotations

import time
from collections.abc import Collection
from pathlib import Path

from mmedge.optimize import proto
from mmedge.optimize.integer import weights_of
from mmedge.optimize.made import Feeding, Made, hold, refusing
from mmedge.optimize.openvino_nncf import nncf, origins, read, save, scope, weights
from mmedge.quantization import Quantize, WeightOnly, name_of
from mmedge.runner import Graph


def make(graph: Graph, feeds: Feeding, out: Path, options: Quantize, keep: Collection[str] = ()) -> Made:
    """``feeds`` are not looked at. Raises MmedgeError as ``Maker.make``."""
    assert isinstance(options, WeightOnly)
    begin = time.perf_counter()
    source, model = proto.load(graph, filled=False), read(graph)
    origin = origins(model, source)
    with nncf() as tool, refusing("NNCF", graph):
        ignored = scope(tool, origin, weights_of(source), keep)
        if options.bits == 4:
            made = tool.compress_weights(model, mode=tool.CompressWeightsMode.INT4_ASYM, group_size=options.block_size, all_layers=True, ignored_scope=ignored)
        else:
            made = tool.compress_weights(model, mode=tool.CompressWeightsMode.INT8_ASYM, ignored_scope=ignored)
        file, binary = save(made, graph, out, name_of(options))
    left, integer = weights(made, origin, weights_of(source))
    precision = "int4" if options.bits == 4 else "int8"
    return hold(Made(file, binary, precision, name_of(options), left, integer, time.perf_counter() - begin), graph)  # type: ignore[arg-type]
