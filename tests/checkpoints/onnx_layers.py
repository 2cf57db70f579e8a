"""ONNX graphs of one layer of everything, written by hand, with caches that work."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper, parser

WIDTH, WORDS, PLACES = 8, 64, 48


def weights(prefix: str = "", seed: int = 0) -> list[onnx.TensorProto]:
    random = np.random.default_rng(seed)
    square = {name: random.standard_normal((WIDTH, WIDTH)) for name in ("wq", "wk", "wv", "wcq", "wck", "wcv")}
    others = {"words": random.standard_normal((WORDS, WIDTH)), "places": random.standard_normal((PLACES, WIDTH)), "out": random.standard_normal((WIDTH, WORDS))}
    made = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in {**square, **others}.items()]
    constants = {"zero": 0, "one": 1, "two": 2, "axis1": [1], "axis0": [0], "last": [-1]}
    made += [numpy_helper.from_array(np.array(value, np.int64), name) for name, value in constants.items()]
    return [*made, numpy_helper.from_array(np.array(-1e9, np.float32), "never")]


def body(past: bool, cross: str, given_positions: bool = False) -> str:
    """One layer. ``past``: whether a cache goes in (pk, pv); ``cross``: past (keys go in: gk, gv), states (computed here), none."""
    grown = "k = Concat<axis=2>(pk, knew)\n v = Concat<axis=2>(pv, vnew)\n" if past else "k = Identity(knew)\n v = Identity(vnew)\n"
    before = "shaped = Shape(pk)\n before = Gather(shaped, two)\n" if past else "before = Identity(zero)\n"
    looked = """
 q2 = MatMul(h2, wcq)
 q3 = Unsqueeze(q2, axis1)
 kt2 = Transpose<perm=[0,1,3,2]>(ck)
 scores2 = MatMul(q3, kt2)
 chances2 = Softmax<axis=-1>(scores2)
 mixed2 = MatMul(chances2, cv)
 flat2 = Squeeze(mixed2, axis1)
 h3 = Add(h2, flat2)
"""
    keys = {
        "past": "ck = Identity(gk)\n cv = Identity(gv)\n",
        "states": """
 ck1 = MatMul(encoder_hidden_states, wck)
 ck = Unsqueeze(ck1, axis1)
 cv1 = MatMul(encoder_hidden_states, wcv)
 cv = Unsqueeze(cv1, axis1)
""",
    }
    return f"""
 sizes = Shape(input_ids)
 count = Gather(sizes, one)
 {before}
 total = Add(before, count)
 counted = Range(before, total, one)
 {"at = Identity(position_ids)" if given_positions else "at = Unsqueeze(counted, axis0)"}
 x = Gather(words, input_ids)
 p = Gather(places, at)
 h = Add(x, p)
 q1 = MatMul(h, wq)
 q = Unsqueeze(q1, axis1)
 k1 = MatMul(h, wk)
 knew = Unsqueeze(k1, axis1)
 v1 = MatMul(h, wv)
 vnew = Unsqueeze(v1, axis1)
 {grown}
 kt = Transpose<perm=[0,1,3,2]>(k)
 scores = MatMul(q, kt)
 columns = Range(zero, total, one)
 rows = Unsqueeze(counted, last)
 seen = LessOrEqual(columns, rows)
 masked = Where(seen, scores, never)
 chances = Softmax<axis=-1>(masked)
 mixed = MatMul(chances, v)
 flat = Squeeze(mixed, axis1)
 h2 = Add(h, flat)
 {keys.get(cross, "")}
 {looked if cross != "none" else "h3 = Identity(h2)"}
 logits = MatMul(h3, out)
"""


def nodes(text: str) -> list[onnx.NodeProto]:
    parsed = parser.parse_graph(f"g (float[1] unused) => (float[1] logits) {{{text}}}")
    return list(parsed.node)


def value(name: str, *shape: int | str, kind: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, list(shape))


IDS = value("input_ids", "batch_size", "decoder_sequence_length", kind=TensorProto.INT64)
STATES = value("encoder_hidden_states", "batch_size", "encoder_sequence_length", WIDTH)
LOGITS = value("logits", "batch_size", "decoder_sequence_length", WORDS)


def cache(kind: str, side: str) -> list[onnx.ValueInfoProto]:
    length = {
        "decoder": "past" if side.startswith("past") else "past + tokens",
        "encoder": "encoder_sequence_length",
        "": "past" if side.startswith("past") else "past + tokens",
    }
    return [value(f"{side}.0.{kind + '.' if kind else ''}{part}", "batch_size", 1, length[kind], WIDTH) for part in ("key", "value")]


def save(path: Path, graph: onnx.GraphProto, external: bool = False) -> None:
    used = {name for node in graph.node for name in node.input}
    for node in graph.node:
        for attribute in node.attribute:
            used |= {name for inner in attribute.g.node for name in inner.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    onnx.checker.check_model(model)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, str(path), save_as_external_data=external, location=f"{path.name}_data", size_threshold=64)


def renamed(made: list[onnx.NodeProto], names: dict[str, str]) -> list[onnx.NodeProto]:
    for node in made:
        for side in (node.input, node.output):
            for index, name in enumerate(side):
                side[index] = names.get(name, name)
    return made


def decoder(folder: Path, merged: bool, external: bool = False) -> None:
    """decoder_model_merged.onnx; or decoder_model.onnx and decoder_with_past_model.onnx."""
    names = {"k": "present.0.decoder.key", "v": "present.0.decoder.value", "ck": "present.0.encoder.key", "cv": "present.0.encoder.value"}
    own, other = cache("decoder", "present"), cache("encoder", "present")
    first = renamed(nodes(body(False, "states")), names)
    given = {f"{short}{part[0]}": f"past_key_values.0.{side}.{part}" for short, side in (("p", "decoder"), ("g", "encoder")) for part in ("key", "value")}
    later = renamed(nodes(body(True, "past")), {**given, "k": "present.0.decoder.key", "v": "present.0.decoder.value"})
    pasts = [*cache("decoder", "past_key_values"), *cache("encoder", "past_key_values")]
    if not merged:
        save(folder / "decoder_model.onnx", helper.make_graph(first, "g", [IDS, STATES], [LOGITS, *own, *other], weights()), external)
        save(folder / "decoder_with_past_model.onnx", helper.make_graph(later, "g", [IDS, *pasts], [LOGITS, *own], weights()), external)
        return
    empty = [
        helper.make_node("Constant", [], [f"empty.{part}"], value=numpy_helper.from_array(np.zeros((0, 1, 1, 1), np.float32))) for part in ("key", "value")
    ]
    outputs = [LOGITS, *own, *other]
    tag = [renamed(branch, {one: f"{one}/{index}" for node in branch for one in node.output}) for index, branch in enumerate((first, later))]
    results = [[value_named(one, f"{one.name}/{index}") for one in outputs] for index in range(2)]
    results[1][3:] = [value_named(one, f"empty.{part}") for one, part in zip(other, ("key", "value"))]
    choice = helper.make_node(
        "If",
        ["use_cache_branch"],
        [one.name for one in outputs],
        then_branch=helper.make_graph([*tag[1], *empty], "with_past", [], results[1]),
        else_branch=helper.make_graph(tag[0], "no_past", [], results[0]),
    )
    flag = value("use_cache_branch", 1, kind=TensorProto.BOOL)
    save(folder / "decoder_model_merged.onnx", helper.make_graph([choice], "merged", [IDS, STATES, *pasts, flag], outputs, weights()), external)


def value_named(one: onnx.ValueInfoProto, name: str) -> onnx.ValueInfoProto:
    made = onnx.ValueInfoProto()
    made.CopyFrom(one)
    made.name = name
    return made
