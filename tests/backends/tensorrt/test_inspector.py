"""What an engine tells of its layers. The documents are written in the three forms that NVIDIA publishes (trt-engine-explorer: TensorRT 8 with details and
without, and 10); none is of an engine that was opened here."""

from __future__ import annotations

import json

import pytest

from mmedge.backends.tensorrt import inspector
from mmedge.backends.tensorrt.inspector import Layer
from mmedge.errors import MmedgeError


def tensor(said):
    return {"Name": "t", "Location": "Device", "Dimensions": [1, 8], "Format/Datatype": said}


def layer(name, kind, inputs=(), outputs=(), weights=None, nodes=()):
    made = {"Name": name, "LayerType": kind, "Inputs": [*map(tensor, inputs)], "Outputs": [*map(tensor, outputs)], "TacticValue": "0x0000000000000000"}
    if weights:
        made["Weights"] = {"Type": weights, "Count": 864}
    if nodes:
        made["Metadata"] = "\x1e".join(f"[ONNX Layer: {node}]" for node in nodes)
    return made


def read(*entries):
    return inspector.layers(json.dumps({"Layers": entries, "Bindings": ["x", "y"]}))


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        (layer("c", "CaskConvolution", ["Row major linear FP32"], ["Row major linear FP32 format"], "Float"), "fp32"),
        (layer("c", "CaskConvolution", ["Channel major FP16 format where channel % 4 == 0"], ["Row major linear FP32"], "Half"), "fp16"),
        (layer("c", "CaskConvolution", ["Thirty-two wide channel vectorized row major Int8 format"], ["Row major linear FP32"], "Int8"), "int8"),
        (layer("f", "fusion", ["Int8"], ["Half"]), "int8"),
        (layer("k", "kgen", ["Half", "Int64"], ["Half"]), "fp16"),
        (layer("n", "kgen", ["Float"], ["Half"]), "fp32"),
        (layer("b", "gemm", ["BFloat16"], ["BFloat16"]), "bf16"),
        (layer("i", "kgen", ["Int64"], ["Int64"]), None),
        (layer("r", "Reformat", ["Row major linear FP32"], ["Four wide channel vectorized row major Int8 format"]), None),
        (layer("o", "NoOp", ["Half"], ["Half"]), None),
        (layer("d", "gemm", ["N/A due to dynamic shapes"], ["N/A due to dynamic shapes"]), None),
        ("only a name", None),
    ],
)
def test_a_layers_type_is_what_it_multiplies(entry, expected):
    (found,) = read(entry)
    assert found.type == expected


def test_the_onnx_files_nodes_are_told_where_the_engine_knows_them():
    assert read(layer("__myl_MulSum", "kgen", nodes=["/layers.0/Mul", "/layers.0/ReduceSum"]), "[trainStation1]") == (
        Layer("__myl_MulSum", "kgen", None, False, ("/layers.0/Mul", "/layers.0/ReduceSum")),
        Layer("[trainStation1]"),
    )


def test_whether_a_precision_is_in_the_engine():
    half = read(layer("g", "gemm", ["Half"], ["Half"]), layer("n", "kgen", ["Float"], ["Float"]))
    assert [inspector.holds(half, one) for one in ("fp16", "fp32", "int8")] == [True, True, False]
    assert inspector.holds(read("a", "b"), "fp16") is None


def test_a_report_counts_layers_and_trusts_those_with_weights():
    many = read(*[layer(str(index), "kgen", ["Float"], ["Float"]) for index in range(5)], layer("g", "CaskGemm", ["Half"], ["Half"], "Half"))
    assert inspector.said(many) == {"precision": "fp16", "layers": "5 in fp32, 1 in fp16"}
    assert inspector.said(many[:5])["precision"] == "fp32"


@pytest.mark.parametrize("document", ["", "[]", "{}", '{"Layers": [{"LayerType": "x"}]}', '{"Layers": [5]}'])
def test_what_is_no_such_document_is_one_error(document):
    with pytest.raises(MmedgeError, match="gave no list of layers"):
        inspector.layers(document)
