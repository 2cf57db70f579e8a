"""Small ONNX graphs as text, with weights by name."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
from onnx import numpy_helper, parser

from mmedge.build.weights import Weights


def write(path, text, opset=18, **constants):
    """``text``: the graph in ONNX's own language, without header and initializers. Returns ``path``."""
    model = parser.parse_model(f'<ir_version: 10, opset_import: ["" : {opset}]>\n{text}')
    model.graph.initializer.extend(numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items())
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)
    return path


def types(path):
    """Name of a tensor -> its type, as the file itself declares it."""
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    declared = {value.name: value.type.tensor_type.elem_type for value in (*model.graph.input, *model.graph.value_info, *model.graph.output)}
    declared |= {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    return {name: onnx.TensorProto.DataType.Name(kind) for name, kind in declared.items()}


def made_by(path, kind):
    """The nodes of one operator."""
    return [node for node in onnx.load(path).graph.node if node.op_type == kind]


def share(paths, weights):
    """Put the large tensors of some graphs into one file, as a bundle has them."""
    with Weights(weights) as taken:
        for path in paths:
            model = ir.load(path)
            taken.take(model)
            ir.save(model, path)


def relative(got, reference):
    """Relative L2."""
    return float(np.linalg.norm(got.astype(np.float64) - reference) / np.linalg.norm(reference))
