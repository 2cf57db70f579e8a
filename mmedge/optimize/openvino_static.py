"""8 bits for OpenVINO with measured ranges, by NNCF: SmoothQuant, signed weights, corrected biases; in transformers, unsigned activations where they fit.

A table that is both looked up in and multiplied by would be stored once in 8 bits and once in 32: its weights alone are rounded, once for both.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from pathlib import Path
from typing import Any

from mmedge.optimize import proto
from mmedge.optimize.integer import is_transformer, weights_of
from mmedge.optimize.lookups import tables
from mmedge.optimize.made import Feeding, Made, hold, refusing
from mmedge.optimize.openvino_nncf import Samples, computed, fold, nncf, origins, read, save, scope, weights
from mmedge.quantization import Quantize, Static, name_of
from mmedge.runner import Graph


def make(graph: Graph, feeds: Feeding, out: Path, options: Quantize, keep: Collection[str] = ()) -> Made:
    """Without knowing that a graph is a transformer, NNCF puts rounding where attention is made slower by it. Raises MmedgeError as ``Maker.make``."""
    assert isinstance(options, Static)
    begin = time.perf_counter()
    source = proto.load(graph, filled=False)
    transformer, model = is_transformer(source), read(graph)
    origin = origins(model, source)
    fold(model)
    tied = {node.name for table in tables(source, keep) if table.products for node in (*table.looked_up, *table.products)}
    with nncf() as tool, refusing("NNCF", graph):
        samples = Samples(feeds)
        if tied:
            others = scope(tool, origin, {}, set(origin.values()) - tied)
            model = tool.compress_weights(model, mode=tool.CompressWeightsMode.INT8_SYM, ignored_scope=others)
        advanced = tool.AdvancedQuantizationParameters()
        if options.smooth is not None:
            advanced.smooth_quant_alphas = tool.AdvancedSmoothQuantParameters(matmul=options.smooth)
        if options.ranges == "percentile":
            advanced.activations_range_estimator_params = _quantiles(tool, 1 - options.percentile / 100)
        made = tool.quantize(
            model,
            tool.Dataset(samples),
            # Zero points cost convolutions time and gain them nothing: EfficientNet-Lite0 takes .42 of onnxruntime's fp32 without, .49 with, and is as exact.
            preset=tool.QuantizationPreset.MIXED if transformer else tool.QuantizationPreset.PERFORMANCE,
            model_type=tool.ModelType.TRANSFORMER if transformer else None,
            fast_bias_correction=transformer,  # the other way takes longer, and leaves EfficientNet-Lite0 a third of the distance
            subset_size=len(samples),
            ignored_scope=scope(tool, origin, weights_of(source), {*keep, *tied}),
            advanced_parameters=advanced,
        )
        file, binary = save(made, graph, out, name_of(options))
        integer = computed(file)
    left, _ = weights(made, origin, weights_of(source))
    return hold(Made(file, binary, "int8", name_of(options), left, integer, time.perf_counter() - begin), graph)


def _quantiles(tool: Any, outside: float) -> Any:
    """Ranges without the outermost values of either side: the mean of each sample's."""
    kinds = tool.quantization.range_estimator
    one = kinds.StatisticsCollectorParameters(kinds.StatisticsType.QUANTILE, kinds.AggregatorType.MEAN, quantile_outlier_prob=outside)
    return kinds.RangeEstimatorParameters(min=one, max=one)
