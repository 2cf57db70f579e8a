"""Rank and repair on encoders of real nodes, really quantized: what must stay in float is known, since outliers were planted before some products."""

from __future__ import annotations

import numpy as np
import pytest
from small_graphs import relative
from small_quantized import graph, normal

from mmedge.errors import MmedgeError
from mmedge.optimize import rounding
from mmedge.optimize.made import maker
from mmedge.optimize.repair import repair
from mmedge.optimize.sensitivity import rank
from mmedge.quantization import Dynamic, Static, WeightOnly

WIDTH, TOKENS, WIDER = 32, 6, 4
PARTS = {"q": (1, 1), "k": (1, 1), "v": (1, 1), "o": (1, 1), "up": (1, WIDER), "down": (WIDER, 1)}
"""Of a layer: what its matrices take and give, in widths."""


def encoder(path, layers, planted):
    """Layers of attention of one head and a network. ``planted``: node -> by how much one channel of what it takes is larger, and its weights less."""
    constants, lines = {"scale": np.float32(WIDTH**-0.5), "ones": np.ones(WIDTH, np.float32)}, []

    def product(name, takes):
        rows, columns = (WIDTH * part for part in PARTS[name.rpartition(".")[2]])
        weight, key = normal(rows, columns, seed=len(constants)) / rows**0.5, name.replace(".", "_")
        if factor := planted.get(name):
            gain = np.ones(rows, np.float32)
            gain[3] = factor
            constants[f"gain_{key}"], weight = gain, weight / gain[:, None]
            lines.append(f"spread_{key} = Mul({takes}, gain_{key})")
            takes = f"spread_{key}"
        constants[f"w_{key}"] = weight
        lines.append(f"[{key}] out_{key} = MatMul({takes}, w_{key})")
        return f"out_{key}"

    state = "x"
    for layer in range(layers):
        lines.append(f"norm_{layer} = LayerNormalization<axis=-1>({state}, ones)")
        q, k, v = (product(f"l{layer}.{part}", f"norm_{layer}") for part in "qkv")
        lines += [f"turned_{layer} = Transpose<perm=[0, 2, 1]>({k})", f"scores_{layer} = MatMul({q}, turned_{layer})"]
        lines += [f"small_{layer} = Mul(scores_{layer}, scale)", f"shares_{layer} = Softmax(small_{layer})", f"mixed_{layer} = MatMul(shares_{layer}, {v})"]
        lines += [f"sum_{layer} = Add({state}, {product(f'l{layer}.o', f'mixed_{layer}')})", f"again_{layer} = LayerNormalization<axis=-1>(sum_{layer}, ones)"]
        lines.append(f"active_{layer} = Relu({product(f'l{layer}.up', f'again_{layer}')})")
        lines.append(f"state_{layer} = Add(sum_{layer}, {product(f'l{layer}.down', f'active_{layer}')})")
        state = f"state_{layer}"
    body = "\n".join([*lines, f"y = LayerNormalization<axis=-1>({state}, ones)"])
    text = f"g (float[n, {TOKENS}, {WIDTH}] x) => (float[n, {TOKENS}, {WIDTH}] y) {{\n{body}\n}}"
    return graph(path, text, **constants)


def samples(count, seed=0):
    chance = np.random.default_rng(seed)
    return [{"x": chance.standard_normal((1, TOKENS, WIDTH)).astype(np.float32)} for _ in range(count)]


class Trial:
    """A graph by one method, evaluated as a task metric would: what its answers are off by, on samples that nothing was measured on."""

    def __init__(self, given, backend, options, folder):
        self.graph, self.backend, self.options, self.folder = given, backend, options, folder
        self.held_out = samples(6, seed=1)
        self.wanted = [rounding.run(given.path, one)["y"] for one in self.held_out]
        self.asked = {}

    def off(self, keep):
        key = frozenset(keep)
        if key not in self.asked:
            try:
                made = maker(self.backend, self.options).make(self.graph, lambda: iter(samples(8)), self.folder, self.options, key)
            except MmedgeError:
                return np.inf
            self.asked[key] = np.mean([relative(rounding.run(made.file, one)["y"], exact) for one, exact in zip(self.held_out, self.wanted)])
        return self.asked[key]

    def rank(self):
        return rank(self.graph, self.backend, self.options, lambda: iter(samples(8)))

    def operations(self, names):
        """What they multiply."""
        return sum(np.prod(PARTS[name.rpartition("_")[2]]) for name in names)


@pytest.mark.parametrize(("backend", "options"), [("ort", Static()), ("ort", Dynamic()), ("tensorrt", Static()), ("tensorrt", Static(ranges="entropy"))])
def test_a_planted_outlier_is_first(backend, options, tmp_path):
    for name in ("l1.v", "l0.down", "l2.up"):
        given = encoder(tmp_path / "g.onnx", 3, {name: 1000.0})
        found = rank(given, backend, options, lambda: iter(samples(8)))
        assert found[0] == name.replace(".", "_")
        assert len(found) == len(set(found)) == 18


def test_outliers_of_activations_do_no_harm_to_weights_alone(tmp_path):
    """They are in the weights' rows here: 4 bits with a scale for each block along the sum have to lose the small ones, a scale for each channel too."""
    found = rank(encoder(tmp_path / "g.onnx", 3, {"l1.v": 0.001}), "ort", WeightOnly(), lambda: iter(samples(8)))
    assert found[0] == "l1_v"


PLANTED = {"l0.up": 300.0, "l1.v": 100.0, "l1.o": 200.0, "l1.down": 60.0}


@pytest.mark.full
def test_repair_takes_hardly_more_than_the_exhaustive_answer(tmp_path):
    trial = Trial(encoder(tmp_path / "g.onnx", 2, PLANTED), "ort", Static(), tmp_path)
    ranked, greedy = trial.rank(), []
    for allowed in (0.1, 0.05):
        found = repair(ranked[:6], lambda kept, most=allowed: trial.off(kept) <= most)
        while trial.off(greedy) > allowed:
            greedy.append(min((name for name in ranked if name not in greedy), key=lambda name: trial.off([*greedy, name])))
        assert greedy and found.evaluations <= 12
        assert trial.off(found.kept_float) <= allowed
        assert trial.operations(found.kept_float) <= 1.2 * trial.operations(greedy), allowed


@pytest.mark.full
@pytest.mark.parametrize("backend", ["ort", "tensorrt"])
def test_twelve_evaluations_repair_twelve_layers(backend, tmp_path):
    planted = {"l1.up": 300.0, "l4.v": 100.0, "l5.o": 300.0, "l9.down": 60.0, "l11.q": 1000.0}
    trial = Trial(encoder(tmp_path / "g.onnx", 12, planted), backend, Static(), tmp_path)
    ranked = trial.rank()
    assert len(ranked) == 72
    assert set(ranked[:4]) < {name.replace(".", "_") for name in planted}
    found = repair(ranked[:36], lambda kept: trial.off(kept) <= 0.1)
    assert trial.off([]) > 0.2 and trial.off(found.kept_float) <= 0.1
    assert found.evaluations <= 12
    assert len(found.kept_float) <= 6
