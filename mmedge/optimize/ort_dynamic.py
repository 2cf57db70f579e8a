"""8 bits for ONNX Runtime where activations take their range from each run: constant matrices per channel, tables by rows, recurrent layers.

Convolutions stay in fp32: ConvInteger, which they would become, has no fast kernel.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from pathlib import Path

from mmedge.need import need
from mmedge.optimize import proto
from mmedge.optimize.integer import ort_operators, saturates, weights_of
from mmedge.optimize.lookups import rest_in_8_bits, rows_in_8_bits
from mmedge.optimize.made import Feeding, Made, hold, refusing
from mmedge.quantization import Quantize, name_of
from mmedge.runner import Graph

TYPES = ["MatMul", "LSTM"]


def make(graph: Graph, feeds: Feeding, out: Path, options: Quantize, keep: Collection[str] = ()) -> Made:
    """``feeds`` are not looked at. Raises MmedgeError as ``Maker.make``."""
    begin = time.perf_counter()
    tool = need("onnxruntime.quantization", extra="build")
    model = proto.as_products(proto.load(graph))
    weighted = list(weights_of(model))
    rows_in_8_bits(model, keep)
    proto.tidy(model)
    proto.mark(model)
    scratch = out / "dynamic.onnx"
    with refusing("onnxruntime", graph):
        tool.quantize_dynamic(
            model,
            str(scratch),
            op_types_to_quantize=TYPES,
            nodes_to_exclude=sorted(keep),
            per_channel=True,
            reduce_range=saturates(),
            weight_type=tool.QuantType.QInt8,
            use_external_data_format=graph.weights is not None,
            extra_options={"MatMulConstBOnly": True},
        )
        made = proto.reload(scratch)
        stored = rest_in_8_bits(made, keep)
        file, weights = proto.save(made, graph, out, name_of(options))
        operators = ort_operators(file)
    still = weights_of(made)
    left = tuple(name for name in weighted if name in {*still, *stored})
    return hold(Made(file, weights, "int8", name_of(options), left, operators.total(), time.perf_counter() - begin), graph)
