"""A network whose every node can be told from the others by name, to plant faults in."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto, helper, numpy_helper

LAYERS, WIDTH = 6, 32


def network(damaged=None, branches=True):
    """A stem, six layers with a residual each, one more inside an If, and a head: pixel_values -> image_embedding, as the toy has them."""
    random = np.random.default_rng(0)

    def weight(name, *shape):
        array = (random.standard_normal(shape) / np.sqrt(shape[0])).astype(np.float32)
        return numpy_helper.from_array(array * (2.0 if name == damaged else 1.0), name)

    weights = [weight("stem.weight", 3, WIDTH), weight("head.weight", WIDTH, 3), weight("inner.weight", WIDTH, WIDTH)]
    weights += [numpy_helper.from_array(np.array(True), "always")]
    nodes = [
        helper.make_node("GlobalAveragePool", ["pixel_values"], ["mean"], name="pool"),
        helper.make_node("Flatten", ["mean"], ["flat"], name="flatten"),
        helper.make_node("MatMul", ["flat", "stem.weight"], ["hidden.0"], name="stem"),
    ]
    for layer in range(LAYERS):
        weights.append(weight(f"layers.{layer}.weight", WIDTH, WIDTH))
        nodes += [
            helper.make_node("MatMul", [f"hidden.{layer}", f"layers.{layer}.weight"], [f"product.{layer}"], name=f"layers.{layer}.matmul"),
            helper.make_node("Tanh", [f"product.{layer}"], [f"bent.{layer}"], name=f"layers.{layer}.tanh"),
            helper.make_node("Add", [f"hidden.{layer}", f"bent.{layer}"], [f"hidden.{layer + 1}"], name=f"layers.{layer}.add"),
        ]
    last = f"hidden.{LAYERS}"
    then = helper.make_graph(
        [helper.make_node("MatMul", [last, "inner.weight"], ["inner"])], "then", [], [helper.make_tensor_value_info("inner", TensorProto.FLOAT, None)]
    )
    otherwise = helper.make_graph(
        [helper.make_node("Identity", [last], ["same"])], "otherwise", [], [helper.make_tensor_value_info("same", TensorProto.FLOAT, None)]
    )
    if branches:
        nodes.append(helper.make_node("If", ["always"], ["chosen"], name="choose", then_branch=then, else_branch=otherwise))
    nodes.append(helper.make_node("MatMul", ["chosen" if branches else last, "head.weight"], ["image_embedding"], name="head"))
    return model(nodes, weights)


def model(nodes, weights):
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("pixel_values", TensorProto.FLOAT, ["batch", 3, 8, 8])],
        [helper.make_tensor_value_info("image_embedding", TensorProto.FLOAT, ["batch", 3])],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10, producer_name="pytorch")
