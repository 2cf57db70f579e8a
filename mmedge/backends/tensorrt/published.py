"""What NVIDIA publishes of the ONNX parser in each TensorRT. A parser that is at hand says nothing of an older one: for that there are only these lists.

That a graph keeps to them is no proof that it is taken; that it does not is a good reason to expect a refusal.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmedge import onnx_file
from mmedge.backends.tensorrt.refusals import Refusal
from mmedge.backends.tensorrt.versions import within
from mmedge.documents import Document


class Opsets(Document):
    """The opsets that a TensorRT is said to take. Nothing is known between two of these but that the later one takes no fewer."""

    since: str
    least: int
    most: int
    source: str


class Added(Document):
    """What a TensorRT takes that those before it do not."""

    since: str
    operators: tuple[str, ...] = ()
    computed: tuple[str, ...] = ()
    """Operators whose axes may be computed; before, they had to be constants."""
    source: str


OPSETS = (
    Opsets(since="10.0", least=9, most=20, source="onnx-tensorrt 10.0-GA and 10.1-GA, docs/operators.md"),
    Opsets(since="10.14", least=9, most=24, source="onnx-tensorrt 10.14 to 10.16, docs/operators.md"),
    Opsets(since="11.5", least=9, most=25, source="TensorRT 11.5 release notes: added support for ONNX opset 25"),
)

BLOCKED = Opsets(
    since="10.0",
    least=9,
    most=21,
    source="onnx-tensorrt 10.0-GA and 10.1-GA: operators.md has INT4 for DequantizeLinear, which ONNX has from opset 21 on; onnxOpImporters.cpp reads its "
    "blocks; ModelImporter.cpp holds the opset to no upper bound. NvInfer.h 10.3, IDequantizeLayer: blocks of 2-D constants. ModelOpt writes 21 for it",
)
"""The opsets that are taken with weights of 4 bits, though the lists end before them. 21 only lets operators take more types, but for GroupNormalization."""

CHANGED = {("GroupNormalization", 21): "10.9"}
"""Operators that mean something else from an opset on -> the first TensorRT that is said to read them so (CHANGELOG.md, Parser changes of 10.9.0)."""

OPERATORS = frozenset(
    """
    Abs Acos Acosh Add And ArgMax ArgMin Asin Asinh Atan Atanh AveragePool BatchNormalization Cast CastLike Ceil Celu Clip Concat Constant ConstantOfShape Conv
    ConvTranspose Cos Cosh CumSum DepthToSpace DequantizeLinear Div Dropout Einsum Elu Equal Erf Exp Expand EyeLike Flatten Floor GRU Gather GatherElements
    GatherND Gelu Gemm GlobalAveragePool GlobalLpPool GlobalMaxPool Greater GreaterOrEqual GridSample GroupNormalization HardSigmoid HardSwish Hardmax Identity
    If ImageScaler InstanceNormalization IsInf IsNaN LRN LSTM LayerNormalization LeakyRelu Less LessOrEqual Log LogSoftmax Loop LpNormalization LpPool MatMul
    Max MaxPool Mean MeanVarianceNormalization Min Mish Mod Mul Neg NonMaxSuppression NonZero Not OneHot Or PRelu Pad ParametricSoftplus Pow QuantizeLinear RNN
    RandomNormal RandomNormalLike RandomUniform RandomUniformLike Range Reciprocal ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean
    ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu Reshape Resize ReverseSequence RoiAlign Round ScaledTanh Scan Scatter ScatterElements ScatterND Selu
    Shape Shrink Sigmoid Sign Sin Sinh Size Slice Softmax Softplus Softsign SpaceToDepth Split Sqrt Squeeze Sub Sum Tan Tanh ThresholdedRelu Tile TopK
    Transpose Trilu Unsqueeze Upsample Where Xor
    """.split()  # noqa: SIM905 (in quotes they would be twice as long)
)
"""Of TensorRT 10.0 (onnx-tensorrt 10.0-GA, docs/operators.md)."""

CHANGES = "TensorRT's CHANGELOG.md, Parser changes of {}"
ADDED = (
    Added(since="10.1", operators=("DeformConv",), source=CHANGES.format("10.1.0")),
    Added(since="10.3", computed=("Slice",), source=CHANGES.format("10.3.0")),
    Added(since="10.4", operators=("BlackmanWindow", "HammingWindow", "HannWindow"), computed=("Pad",), source=CHANGES.format("10.4.0")),
    Added(since="10.5", operators=("STFT",), source=CHANGES.format("10.5.0")),
    Added(since="10.7", computed=("Squeeze", "Unsqueeze"), source=CHANGES.format("10.7.0")),
    Added(since="10.8", computed=("CumSum",), source=CHANGES.format("10.8.0")),
    Added(since="10.14", operators=("Attention",), source=CHANGES.format("10.14")),
    Added(since="10.15", operators=("RMSNormalization", "RotaryEmbedding", "TensorScatter"), source=CHANGES.format("10.15")),
    Added(since="11.0", operators=("Swish",), source=CHANGES.format("11.0")),
)

AXES = {"Slice": 3, "Pad": 3, "Squeeze": 1, "Unsqueeze": 1, "CumSum": 1}
"""Operator -> which of its inputs is the axes."""

SCATTER_REDUCTION = "10.9"
"""Before it, a ScatterND that names a reduction is refused, be it ``none`` (onnx-tensorrt 10.1-GA, onnxOpImporters.cpp; CHANGELOG.md of 10.9.0)."""

INT4 = 22
"""ONNX's number of the type."""

QUANTIZES = {"QuantizeLinear", "DequantizeLinear"}
"""Their zero point, the third input, must be 0 (onnx-tensorrt, docs/operators.md of every release)."""

RANDOM = {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial", "Bernoulli"}


def objections(model: Any, version: str) -> tuple[Refusal, ...]:
    """What NVIDIA's lists have against a model (of ``onnx_file.read``) for a version of TensorRT; empty where it keeps to them."""
    opset = max((one.version for one in model.opset_import if one.domain in ("", "ai.onnx")), default=0)
    found = [_opset(opset, version, any(tensor.data_type == INT4 for tensor in model.graph.initializer))]
    for graph in onnx_file.graphs(model.graph):
        known, tensors = constants(graph), _tensors(graph)
        for node in graph.node:
            against = _operator(node, version) or _changed(node, opset, version) or _axes(node, known, version)
            found.append(against or _scatter(node, version) or _zero_point(node, tensors))
    first: dict[tuple[str, str], Refusal] = {}
    for one in found:
        if one is not None:
            first.setdefault((one.operator, one.reason), one)
    return tuple(first.values())


def since(operator: str) -> str | None:
    """The first TensorRT 10 or later that is said to take an ONNX operator; None: none is."""
    if operator in OPERATORS:
        return "10.0"
    return next((one.since for one in ADDED if operator in one.operators), None)


def opsets(version: str) -> Opsets:
    """Of the newest list that is no newer than a version."""
    return [one for one in OPSETS if reached(version, one.since)][-1]


def reached(version: str, since: str) -> bool:
    """Whether a version is as new as ``since``."""
    return within(version, since, "999")


def _opset(opset: int, version: str, blocked: bool) -> Refusal | None:
    known = opsets(version)
    if known.least <= opset <= (max(known.most, BLOCKED.most) if blocked and reached(version, BLOCKED.since) else known.most):
        return None
    return Refusal("", "", f"the graph is in opset {opset}; for TensorRT {version}, NVIDIA's list has {known.least} to {known.most}")


def _operator(node: Any, version: str) -> Refusal | None:
    if node.domain not in ("", "ai.onnx"):
        return Refusal(node.name, node.op_type, f"the operator is of the domain {node.domain}, which is on no list of NVIDIA's")
    first = since(node.op_type)
    if first is None:
        return Refusal(node.name, node.op_type, "the operator is on no list of NVIDIA's")
    return None if reached(version, first) else Refusal(node.name, node.op_type, f"TensorRT takes the operator from {first} on")


def _changed(node: Any, opset: int, version: str) -> Refusal | None:
    for (operator, since), first in CHANGED.items():
        if node.op_type == operator and opset >= since and not reached(version, first):
            return Refusal(node.name, operator, f"as opset {since} has it, TensorRT takes it from {first} on")
    return None


def _axes(node: Any, known: set[str], version: str) -> Refusal | None:
    at = AXES.get(node.op_type)
    if at is None or len(node.input) <= at or not node.input[at] or node.input[at] in known:
        return None
    first = next(one.since for one in ADDED if node.op_type in one.computed)
    return None if reached(version, first) else Refusal(node.name, node.op_type, f"its axes are computed, which TensorRT takes from {first} on")


def _scatter(node: Any, version: str) -> Refusal | None:
    if node.op_type != "ScatterND" or reached(version, SCATTER_REDUCTION) or not any(one.name == "reduction" for one in node.attribute):
        return None
    return Refusal(node.name, node.op_type, f"it names a reduction, which TensorRT takes from {SCATTER_REDUCTION} on")


def _zero_point(node: Any, tensors: Mapping[str, Any]) -> Refusal | None:
    tensor = tensors.get(node.input[2]) if node.op_type in QUANTIZES and len(node.input) > 2 else None
    if tensor is None or not (any(tensor.raw_data) or any(tensor.int32_data)):
        return None
    return Refusal(node.name, node.op_type, "its zero point is not 0, which NVIDIA's lists ask for")


def _tensors(graph: Any) -> dict[str, Any]:
    """Name -> tensor, of what a graph holds itself."""
    named = {node.output[0]: one.t for node in graph.node if node.op_type == "Constant" for one in node.attribute if one.name == "value"}
    return {**named, **{tensor.name: tensor for tensor in graph.initializer}}


def constants(graph: Any) -> set[str]:
    """Names of what does not depend on a graph's inputs: parsers compute that beforehand."""
    known = {tensor.name for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type not in RANDOM and not onnx_file.inside(node) and all(name in known for name in node.input if name):
            known.update(node.output)
    return known
