"""The rules for graphs find what breaks them."""

from __future__ import annotations

import numpy as np
import pytest
from graph_rules import faults
from onnx import TensorProto, helper, numpy_helper


def _graph(*nodes, inputs=("x",), outputs=("y",), weights=()):
    values = [[helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n"]) for name in side] for side in (inputs, outputs)]
    tensors = [numpy_helper.from_array(np.ones(1, np.float32), name) for name in weights]
    return helper.make_model(helper.make_graph(nodes, "g", *values, tensors), opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def _node(kind, inputs, outputs, **settings):
    return helper.make_node(kind, inputs.split(), outputs.split(), **settings)


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (_graph(_node("Sqrt", "x", "y")), []),
        (_graph(_node("Split", "x", "part_0 part_1", num_outputs=2), outputs=("part_0", "part_1")), []),
        (_graph(_node("Sqrt", "x", "a"), _node("Neg", "x", "a"), _node("Add", "a a", "y")), ["two outputs are named a"]),
        (_graph(_node("Split", "x", "y linear_25", num_outputs=2), outputs=("y", "linear_25")), ["output linear_25 has no name of its own"]),
        (_graph(_node("Split", "x", "part_0 part_2", num_outputs=2), outputs=("part_0", "part_2")), ["output part_0 has no name of its own"] * 2),
        (_graph(_node("Sqrt", "x", "0"), outputs=("0",)), ["output 0 has no name of its own"]),
        (_graph(_node("Sqrt", "w", "y"), weights=("w",)), ["output y depends on no input", "input x reaches no output"]),
        (_graph(_node("Sqrt", "x", "y"), inputs=("x", "z")), ["input z reaches no output"]),
        (_graph(_node("FusedMatMul", "x x", "y", domain="com.microsoft")), ["operator FusedMatMul is of the domain com.microsoft"]),
    ],
)
def test_the_rules_find_what_breaks_them(model, said):
    found = faults(model)
    assert len(found) == len(said)
    assert not said or found[0] == said[0]
