"""A model's graphs in every form that its targets ask for, with one copy of its weights."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from mmedge.build import graphs as module
from mmedge.build.weights import Weights, external_files, rename
from mmedge.bundle import Bundle
from mmedge.errors import MmedgeError
from mmedge.family import OnnxGraph, TorchGraph
from mmedge.manifest import Model
from mmedge.nets.decoder import decoder_graph
from mmedge.runner import Candidate, Engine, load_backend
from mmedge.target import Target

WIDTH, HEADS, CONTEXT = 64, 2, 8


class Body(nn.Module):
    """One layer of attention over an embedding of 40 tokens."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Embedding(40, WIDTH)
        self.query, self.key, self.value = (nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(3))

    def forward(self, inputs, cache, mask, positions):
        states = self.embed(inputs["input_ids"])
        query, key, value = (layer(states).unflatten(-1, (HEADS, -1)).transpose(1, 2) for layer in (self.query, self.key, self.value))
        key, value = cache.update(key, value, 0)
        mixed = ((query @ key.transpose(2, 3) + mask).softmax(-1) @ value).transpose(1, 2).flatten(2)
        return mixed[:, -1:] @ self.embed.weight.T


def decoder():
    return decoder_graph(
        Body(),
        prompt={"input_ids": torch.tensor([[1, 2, 3]])},
        step={"input_ids": torch.tensor([[4, 5]])},
        dynamic={"input_ids": {1: "tokens"}},
        layers=1,
        heads=HEADS,
        head_dim=WIDTH // HEADS,
        context=CONTEXT,
    )


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    path = tmp_path_factory.mktemp("bundles") / "forms"
    with Bundle.writing(path, create=True) as bundle, bundle.scratch() as scratch:
        made = module.write_graphs(bundle, "chat", {"language": decoder()}, {"ScatterND", "TensorScatter"}, scratch, {"tokens": (1, 1, 64), "past": (0, 4, 31)})
    return path, made


def fixed_target(opset):
    return Target(name="board", summary="", backends=("ort",), cache="fixed", max_opset=opset, max_ir=10)


@pytest.mark.full
def test_every_form_is_there_once_and_shares_one_weights_file(written):
    path, made = written
    assert list(made.entries) == ["language", "language-scatternd", "language-tensorscatter"]
    assert len({entry.weights.path for entry in made.entries.values()}) == 1
    weights = path / made.entries["language"].weights.path
    unique = sum(parameter.nbytes for parameter in Body().parameters())
    assert unique <= weights.stat().st_size <= unique + 6 * 4096, "a form has brought its own copy"
    assert made.entries["language"].opset == made.entries["language-scatternd"].opset == 18
    assert made.entries["language-tensorscatter"].opset == 24
    operators = {node.op_type for node in onnx.load(str(path / made.entries["language-tensorscatter"].file.path), load_external_data=False).graph.node}
    assert "TensorScatter" in operators
    assert "ScatterND" not in operators


@pytest.mark.full
def test_the_forms_agree_token_by_token(written):
    path, made = written
    bundle = Bundle(path, None)
    outputs = {}
    for name, entry in made.entries.items():
        model = Model(family="chat", config={}, graphs=made.entries, assets={}, golden=entry.file, cases=())
        bundle.manifest = bundle._draft or _manifest(model)
        with load_backend("ort").open(Engine(Candidate(bundle.graph("chat", name), "fp32")), Target.load("cpu")) as runner:
            from mmedge.generate.cache import Cache

            cache = Cache(runner)
            outputs[name] = [cache(len(tokens), {"input_ids": np.array([tokens])})["logits"][0, -1].copy() for tokens in ([1, 2, 3], [4], [5], [6])]
            if cache.limit is not None:
                with pytest.raises(MmedgeError, match="longer than the 8 tokens"):
                    cache(3, {"input_ids": np.array([[7, 8, 9]])})
    for name in ("language-scatternd", "language-tensorscatter"):
        np.testing.assert_allclose(outputs[name], outputs["language"], atol=1e-5)
    assert not np.allclose(outputs["language"][1], outputs["language"][2])


def _manifest(model):
    from mmedge.manifest import Manifest

    return Manifest(name="forms", created="", models={"chat": model}, media={})


@pytest.mark.full
def test_a_target_runs_the_form_it_asks_for(written):
    _, made = written
    model = Model(family="chat", config={}, graphs=made.entries, assets={}, golden=made.entries["language"].file, cases=())
    assert model.graphs_for(Target.load("cpu")) == {"language": "language"}
    assert model.graphs_for(fixed_target(18)) == {"language": "language-scatternd"}
    assert model.graphs_for(fixed_target(24)) == {"language": "language-tensorscatter"}
    growing_only = model.model_copy(update={"graphs": {"language": made.entries["language"]}})
    assert growing_only.graphs_for(fixed_target(18)) == {"language": "language"}


def linear(path, location=None):
    """y = x W, its weights in ``location`` beside the file."""
    weight = numpy_helper.from_array(np.arange(40 * 40, dtype=np.float32).reshape(40, 40) / 1600, "w")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "linear",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 40])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 40])],
        [weight],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(model, str(path), save_as_external_data=location is not None, location=location, size_threshold=0)
    return path


def test_a_file_with_weights_beside_it_is_taken_whole(tmp_path):
    (tmp_path / "user").mkdir()
    feeds = {"x": np.ones((1, 40), np.float32)}
    source = OnnxGraph(linear(tmp_path / "user" / "model.onnx", "model.onnx_data"), feeds)
    with Bundle.writing(tmp_path / "b", create=True) as bundle, bundle.scratch() as scratch:
        made = module.write_graphs(bundle, "linear", {"one": source, "two": source}, set(), scratch, {})
    entry = made.entries["one"]
    assert entry.weights is not None
    assert entry.weights.size_bytes == 40 * 40 * 4
    assert entry.weights == made.entries["two"].weights
    found = onnx.reference.ReferenceEvaluator(str(tmp_path / "b" / entry.file.path)).run(None, feeds)[0]
    np.testing.assert_array_equal(found, made.recorded["one"][1]["y"])


def test_weights_outside_the_folder_are_refused(tmp_path):
    (tmp_path / "user").mkdir()
    path = linear(tmp_path / "user" / "model.onnx", "weights.bin")
    (tmp_path / "user" / "weights.bin").rename(tmp_path / "weights.bin")
    with pytest.raises(MmedgeError, match="missing"):
        external_files(path)
    rename(path, "../weights.bin")
    with pytest.raises(MmedgeError, match="outside of its folder"):
        external_files(path)


def test_small_models_stay_single_files(tmp_path):
    source = TorchGraph(nn.Linear(4, 4).eval(), {"x": torch.ones(1, 4)}, ("y",))
    with Bundle.writing(tmp_path / "b", create=True) as bundle, bundle.scratch() as scratch:
        made = module.write_graphs(bundle, "linear", {"one": source}, set(), scratch, {})
    assert made.entries["one"].weights is None
    assert not list((tmp_path / "b").rglob("weights*"))


def test_equal_tensors_are_stored_once(tmp_path):
    ir = pytest.importorskip("onnx_ir")
    with Weights(tmp_path / "weights.bin") as weights:
        for name in ("a", "b"):
            model = ir.load(str(linear(tmp_path / f"{name}.onnx")))
            weights.take(model)
            ir.save(model, str(tmp_path / f"{name}.onnx"))
    assert (tmp_path / "weights.bin").stat().st_size == 40 * 40 * 4
