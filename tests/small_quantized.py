"""Graphs that a quantizer has something to do in, small enough to be made and run in a moment, and what they are as backends take them."""

from __future__ import annotations

import hashlib

import numpy as np
import onnx
from small_graphs import share, write

from mmedge.runner import Graph
from mmedge.tensors import TensorSpec

WIDTH, WORDS = 128, 2304

ATTENDS = f"""g (float[n, {WIDTH}] x) => (float[n, {WIDTH}] y) {{
  [up] a = MatMul(x, w1)
  biased = Add(a, bias)
  active = Relu(biased)
  [down] b = MatMul(active, w2)
  turned = Transpose<perm=[1, 0]>(b)
  [scores] scores = MatMul(b, turned)
  small = Mul(scores, scale)
  shares = Softmax(small)
  [mixed] mixed = MatMul(shares, b)
  y = LayerNormalization<axis=-1>(mixed, ones)
}}"""

DECODES = f"""g (int64[1, tokens] ids) => (float[1, tokens, {WORDS}] logits) {{
  states = Gather(words, ids)
  [mix] a = MatMul(states, w1)
  active = Tanh(a)
  [back] b = MatMul(active, w2)
  turned = Transpose<perm=[1, 0]>(words)
  [project] logits = MatMul(b, turned)
}}"""

CONVOLVES = """g (float[n, 3, 16, 16] x) => (float[n, 32] y) {
  [stem] a = Conv<pads=[1, 1, 1, 1], strides=[2, 2]>(x, k1, b1)
  a6 = Clip(a, zero, six)
  [wide] b = Conv(a6, k2, b2)
  b6 = Clip(b, zero, six)
  [depth] c = Conv<group=512, pads=[1, 1, 1, 1]>(b6, k3, b2)
  c6 = Clip(c, zero, six)
  [narrow] d = Conv(c6, k4, b1)
  e = Add(d, a6)
  f = GlobalAveragePool(e)
  g = Flatten(f)
  [head] y = Gemm<transB=1>(g, w, bias)
}"""


def normal(*shape, seed=0):
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(np.float32)


def attends(folder, **options):
    constants = {"w1": normal(WIDTH, 8 * WIDTH) / 11, "bias": normal(8 * WIDTH), "w2": normal(8 * WIDTH, WIDTH) / 32}
    return graph(folder / "attends.onnx", ATTENDS, **constants, scale=np.float32(0.05), ones=np.ones(WIDTH, np.float32), **options)


def decodes(folder, **options):
    return graph(
        folder / "decodes.onnx", DECODES, words=normal(WORDS, WIDTH) / 4, w1=normal(WIDTH, WIDTH) / 11, w2=normal(WIDTH, WIDTH, seed=1) / 11, **options
    )


def convolves(folder, **options):
    kernels = {"k1": normal(128, 3, 3, 3) / 5, "k2": normal(512, 128, 1, 1) / 12, "k3": normal(512, 1, 3, 3) / 3, "k4": normal(128, 512, 1, 1) / 23}
    others = {"b1": normal(128), "b2": normal(512), "w": normal(32, 128) / 11, "bias": normal(32), "zero": np.float32(0), "six": np.float32(6)}
    return graph(folder / "convolves.onnx", CONVOLVES, **kernels, **others, **options)


SMALL = {"attends": attends, "decodes": decodes, "convolves": convolves}


def feeds_for(name, count=8, seed=0):
    """What a graph takes: ``count`` samples."""
    chance = np.random.default_rng(seed)
    if name == "decodes":
        return [{"ids": chance.integers(0, WORDS, (1, 6))} for _ in range(count)]
    shape = (5, WIDTH) if name == "attends" else (1, 3, 16, 16)
    return [{"x": chance.standard_normal(shape).astype(np.float32)} for _ in range(count)]


def graph(path, text, *, apart=False, opset=18, **constants):
    """``apart``: the tensors in a file beside it."""
    write(path, text, opset=opset, **constants)
    weights = path.with_name("weights.bin") if apart else None
    if weights:
        share([path], weights)
    model = onnx.load(path, load_external_data=False)
    specs = [tuple(TensorSpec(value.name, _dtype(value), _shape(value)) for value in side) for side in (model.graph.input, model.graph.output)]
    return Graph(path, hashlib.sha256(path.read_bytes()).hexdigest(), *specs, weights)


def _dtype(value):
    return str(onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type))


def _shape(value):
    return tuple(size.dim_param or size.dim_value for size in value.type.tensor_type.shape.dim)
