"""Weights in blocks of 4 or 8 bits, each with a scale: MatMulNBits, ONNX Runtime's own operator and tool."""

from __future__ import annotations

import logging
from collections.abc import Collection
from typing import Any

from mmedge.need import need
from mmedge.tensors import Array

INTEGER_ARITHMETIC = 4
"""``accuracy_level`` 4: activations are rounded to 8 bits per block too, and multiplied as integers; with float arithmetic it is slower than fp32."""


def in_blocks(model: Any, chosen: Collection[str], bits: int, block_size: int) -> Any:
    """A graph with the constant second factor of some MatMul nodes in blocks.

    Args:
        model: an ``onnx.ModelProto``; it is changed.
        chosen: names of nodes whose factor is an initializer with its content in the model.
    """
    tool = _tool()
    del model.graph.value_info[:]  # they would describe the matrices that were there
    others = [node.name for node in model.graph.node if node.name not in chosen]
    level = INTEGER_ARITHMETIC
    quantizer = tool.MatMulNBitsQuantizer(model, bits=bits, block_size=block_size, is_symmetric=True, accuracy_level=level, nodes_to_exclude=others)
    quantizer.process()
    return quantizer.model.model


def blocks_of(matrix: Array, bits: int, block_size: int) -> tuple[Array, Array]:
    """A matrix [in, out] as ``in_blocks`` stores it: uint8 [out, blocks, bytes of a block], the lower half of a byte first, and float32 scales [out, blocks].

    0 is stored as half of the range: 8 of 4 bits, 128 of 8.
    """
    tool = _tool()
    config = tool.DefaultWeightOnlyQuantConfig(block_size=block_size, is_symmetric=True, bits=bits)
    packed, scales, _ = tool.DefaultWeightOnlyQuantizer(config).qbits_block_quant(matrix)
    return packed, scales.reshape(packed.shape[:2])


def _tool() -> Any:
    """Silent. Importing it has every logger of the process write what it says to stderr, which is undone."""
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    tool = need("onnxruntime.quantization.matmul_nbits_quantizer", extra="build")
    logging.getLogger(tool.__name__).setLevel(logging.WARNING)
    root.setLevel(level)
    root.handlers[:] = handlers
    return tool


def product(name: str, factor: str, packed: str, scales: str, out: str, shape: tuple[int, int], bits: int, block_size: int) -> Any:
    """A node that multiplies ``factor`` by a matrix of ``shape`` [in, out] that is stored as ``blocks_of`` gives it."""
    onnx = need("onnx", extra="build")
    sizes = {"K": shape[0], "N": shape[1], "bits": bits, "block_size": block_size, "accuracy_level": INTEGER_ARITHMETIC}
    return onnx.helper.make_node("MatMulNBits", [factor, packed, scales], [out], name=name, domain="com.microsoft", **sizes)
