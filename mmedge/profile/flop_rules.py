"""FLOPs of one node from the shapes it ran with, operator by operator."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

from mmedge import onnx_file

Shapes = Sequence[tuple[int, ...]]


def flops_of(kind: str, nodes: list[Any], inputs: Shapes, outputs: Shapes) -> int | None:
    """Of one node's run; None where it cannot be told."""
    rule = RULES.get(kind)
    if rule is None or not outputs:
        return None
    try:
        counts = {rule(node, _placed(node, inputs), outputs) for node in nodes or [None]}
    except (IndexError, KeyError, ValueError):  # a form of the operator that the rule does not know
        return None
    return counts.pop() if len(counts) == 1 else None


def _placed(node: Any, inputs: Shapes) -> list[tuple[int, ...]]:
    """Shapes at the place of their input: the profile passes over those that were left out, which are ``()`` here."""
    if node is None or len(inputs) != sum(map(bool, node.input)):
        return list(inputs)
    given = iter(inputs)
    return [next(given) if name else () for name in node.input]


def _matmul(node: Any, inputs: Shapes, outputs: Shapes) -> int:
    return 2 * prod(outputs[0]) * inputs[0][-1]


def _fused_matmul(node: Any, inputs: Shapes, outputs: Shapes) -> int:
    if any(onnx_file.attribute(node, f"transBatch{side}", 0) for side in "AB"):
        raise ValueError
    return 2 * prod(outputs[0]) * inputs[0][-2 if onnx_file.attribute(node, "transA", 0) else -1]


def _gemm(node: Any, inputs: Shapes, outputs: Shapes) -> int:
    rows, columns = outputs[0]
    return 2 * columns * prod(inputs[0]) if rows else 0  # A is rows x depth, or its transpose


def _convolution(weight: int) -> Callable[[Any, Shapes, Shapes], int]:
    return lambda node, inputs, outputs: 2 * prod(outputs[0]) * prod(inputs[weight][1:])


def _transposed(node: Any, inputs: Shapes, outputs: Shapes) -> int:
    return 2 * prod(inputs[0]) * prod(inputs[1][1:])


def _recurrent(node: Any, inputs: Shapes, outputs: Shapes) -> int:
    steps, rows, _ = inputs[0]  # or rows, steps
    return 2 * steps * rows * (prod(inputs[1]) + prod(inputs[2]))


def _einsum(node: Any, inputs: Shapes, outputs: Shapes) -> int:
    """Two factors: every combination of their indices is multiplied once, and added where one of them is summed over."""
    terms, arrow, result = onnx_file.attribute(node, "equation", "").replace(" ", "").partition("->")
    factors = terms.split(",")
    if len(factors) != 2 or "." in terms or not arrow:
        raise ValueError
    sizes: dict[str, int] = {}
    for letters, shape in zip(factors, inputs):
        for letter, size in zip(letters, shape):
            sizes[letter] = max(size, sizes.get(letter, 1))
    return 2 * prod(sizes.values()) if set(sizes) - set(result) else 0


def _attention(node: Any, inputs: Shapes, outputs: Shapes) -> int:
    query, key = inputs[:2]
    length = key[-2] + (inputs[4][2] if len(inputs) > 4 and inputs[4] else 0)  # [B, S, heads * size] or [B, heads, S, size]
    return 2 * length * (prod(query) + prod(outputs[0]))


def _multi_head(node: Any, inputs: Shapes, outputs: Shapes) -> int:
    query, key = inputs[:2]
    if len(query) != 3 or len(key) not in (3, 4):
        raise ValueError
    length = key[-2] + (inputs[6][2] if len(inputs) > 6 and inputs[6] else 0)
    return 2 * length * (prod(query) + prod(outputs[0]))


def _grouped(node: Any, inputs: Shapes, outputs: Shapes) -> int:
    return 4 * prod(outputs[0]) * outputs[1][2]  # over the whole length of the cache that comes out


RULES: dict[str, Callable[[Any, Shapes, Shapes], int]] = {
    **dict.fromkeys(("MatMul", "MatMulInteger", "QLinearMatMul"), _matmul),
    **dict.fromkeys((f"com.microsoft:{kind}" for kind in ("MatMulNBits", "MatMulIntegerToFloat", "DynamicQuantizeMatMul")), _matmul),
    **dict.fromkeys(("Conv", "ConvInteger", "DeformConv", "com.microsoft:FusedConv"), _convolution(1)),
    **dict.fromkeys(("LSTM", "GRU", "RNN", "com.microsoft:DynamicQuantizeLSTM"), _recurrent),
    **dict.fromkeys(("Gemm", "com.microsoft:FusedGemm"), _gemm),
    "QLinearConv": _convolution(3),
    "ConvTranspose": _transposed,
    "Einsum": _einsum,
    "Attention": _attention,
    "com.microsoft:FusedMatMul": _fused_matmul,
    "com.microsoft:MultiHeadAttention": _multi_head,
    "com.microsoft:GroupQueryAttention": _grouped,
}
_INTEGER = "MatMulInteger QLinearMatMul ConvInteger QLinearConv MatMulNBits MatMulIntegerToFloat DynamicQuantizeMatMul DynamicQuantizeLSTM"
INTEGER = frozenset(_INTEGER.split())
"""Operators that multiply integers of 8 bits."""

_FREE = """
    Abs Acos Acosh Add And ArgMax ArgMin Asin Asinh Atan Atanh AveragePool BatchNormalization Bernoulli BitCast BitShift BitwiseAnd BitwiseNot BitwiseOr
    BitwiseXor BlackmanWindow Cast CastLike Ceil Celu CenterCropPad Clip Col2Im Compress Concat ConcatFromSequence Constant ConstantOfShape Cos Cosh CumProd
    CumSum DepthToSpace DequantizeLinear Div Dropout DynamicQuantizeLinear Elu Equal Erf Exp Expand EyeLike Flatten Floor Gather GatherElements GatherND Gelu
    GlobalAveragePool GlobalLpPool GlobalMaxPool Greater GreaterOrEqual GridSample GroupNormalization HammingWindow HannWindow HardSigmoid HardSwish Hardmax
    Identity If ImageDecoder InstanceNormalization IsInf IsNaN LRN LayerNormalization LeakyRelu Less LessOrEqual Log LogSoftmax Loop LpNormalization LpPool Max
    MaxPool MaxRoiPool MaxUnpool Mean MeanVarianceNormalization MelWeightMatrix Min Mish Mod Mul Multinomial Neg NegativeLogLikelihoodLoss NonMaxSuppression
    NonZero Not OneHot Optional OptionalGetElement OptionalHasElement Or PRelu Pad Pow QuantizeLinear RMSNormalization RandomNormal RandomNormalLike
    RandomUniform RandomUniformLike Range Reciprocal ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum
    ReduceSumSquare RegexFullMatch Relu Reshape Resize ReverseSequence RoiAlign RotaryEmbedding Round Scan Scatter ScatterElements ScatterND Selu SequenceAt
    SequenceConstruct SequenceEmpty SequenceErase SequenceInsert SequenceLength SequenceMap Shape Shrink Sigmoid Sign SimplifiedLayerNormalization Sin Sinh
    Size Slice Softmax SoftmaxCrossEntropyLoss Softplus Softsign SpaceToDepth Split SplitToSequence Sqrt Squeeze StringConcat StringNormalizer StringSplit Sub
    Sum SwiGLU Swish Tan Tanh TensorScatter TfIdfVectorizer ThresholdedRelu Tile TopK Transpose Trilu Unique Unsqueeze Upsample Where Xor
"""
FREE = frozenset(_FREE.split())
"""ONNX's own operators without a product that is summed: they count nothing. What is neither here nor in RULES (DFT, Det, another domain's) is unknown."""
_FREE_OF_MICROSOFT = """
    BiasGelu FastGelu Gelu QuickGelu BiasSoftmax SkipLayerNormalization SkipSimplifiedLayerNormalization RotaryEmbedding QuantizeLinear
    DequantizeLinear QLinearAdd QLinearMul QLinearSigmoid QLinearLeakyRelu QLinearConcat QLinearAveragePool QLinearGlobalAveragePool QLinearSoftmax
"""
FREE_OF_OTHERS = frozenset(f"com.microsoft:{kind}" for kind in _FREE_OF_MICROSOFT.split())
