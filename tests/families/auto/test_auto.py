"""Architectures that no family takes: every graph equal to its module on every runtime, every output named and fed by an input."""

from __future__ import annotations

import json

import numpy as np
import onnx_ir as ir
import pytest
import torch
import transformers
from checkpoints import auto as made
from checks import compiled, distinct, graph_drift, on_one_thread

from mmedge.build import load
from mmedge.build.export import export as build
from mmedge.build.golden import media
from mmedge.errors import GateFailed, MmedgeError
from mmedge.evaluate.golden import Golden
from mmedge.families.auto import Options
from mmedge.families.auto.export import _connected
from mmedge.family import Allow
from mmedge.nets import checkpoint
from mmedge.target import Target

INPUTS = {
    "BertForSequenceClassification": {"model": ["input_ids", "attention_mask"]},
    "ViTForImageClassification": {"model": ["pixel_values"]},
    "SegformerForSemanticSegmentation": {"model": ["pixel_values"]},
    "DetrForObjectDetection": {"model": ["pixel_values"]},
}
OUTPUTS = {
    "BertForSequenceClassification": ["logits"],
    "ViTForImageClassification": ["logits"],
    "SegformerForSemanticSegmentation": ["logits"],
    "DetrForObjectDetection": ["logits", "pred_boxes", "last_hidden_state", "encoder_last_hidden_state"],
}


@pytest.mark.full
@pytest.mark.parametrize("architecture", list(INPUTS))
def test_one_graph(architecture, tmp_path, small_bundle):
    on_one_thread()
    made.CHECKPOINTS[architecture](tmp_path / "folder")
    bundle = compiled(small_bundle(architecture), tmp_path / "bundle", "cpu", "intel-cpu")
    model = bundle.manifest.models["auto"]
    assert {name: [spec.name for spec in graph.inputs] for name, graph in model.graphs.items()} == INPUTS[architecture]
    graph = model.graphs["model"]
    assert [spec.name for spec in graph.outputs] == OUTPUTS[architecture] and (graph.opset, graph.ir) == (18, 10)
    assert all(spec.shape[0] == "batch" for spec in (*graph.inputs, *graph.outputs)) and graph.parity is not None and graph.parity <= 1
    assert model.config["examples"] == ("rule" if architecture == "DetrForObjectDetection" else "processor")
    assert all(graph_drift(bundle, "auto", "model", backend) <= 1 for backend in ("ort", "openvino", "ref"))
    whole = checkpoint.load(architecture, tmp_path / "folder", Allow())
    feeds, _ = Golden(bundle, "auto").graph("model")
    results = []
    with bundle.session("auto", target="cpu") as session:
        for index in range(5):  # other values, other batches
            random = np.random.default_rng(index)
            size = 1 + index % 3
            fed = {key: np.resize(value, (size, *value.shape[1:])) for key, value in feeds.items()}
            fed = {key: random.standard_normal(value.shape).astype(np.float32) if value.dtype.kind == "f" else value for key, value in fed.items()}
            if "input_ids" in fed:
                fed["input_ids"] = random.integers(4, 19, fed["input_ids"].shape)
            with torch.no_grad():
                wanted = whole(**{key: torch.from_numpy(value) for key, value in fed.items()}).logits.numpy()
            got = session.run("model", **fed)["logits"]
            assert np.abs(got - wanted).max() <= 1e-4 * max(1, np.abs(wanted).max())
            results.append(got[:1])
    assert distinct(results)


@pytest.mark.full
def test_one_that_generates_writes_what_transformers_writes(tmp_path, small_bundle):
    """encoder, prefill and decode, driven by hand: twenty tokens for five texts."""
    on_one_thread()
    made.make_t5(tmp_path / "folder")
    bundle = compiled(small_bundle("T5ForConditionalGeneration"), tmp_path / "bundle", "cpu", "intel-cpu")
    model = bundle.manifest.models["auto"]
    caches = [f"{kind}_{part}_{index}" for kind in ("present", "cross") for index in range(2) for part in ("key", "value")]
    assert [spec.name for spec in model.graphs["prefill"].outputs] == ["logits", *caches]
    assert [spec.name for spec in model.graphs["decode"].outputs] == ["logits", *caches[:4]]
    pasts = [name.replace("present", "past") for name in caches]
    # The encoder's states, which transformers hands to a step too, are not among them: the cache holds all that is read of them.
    assert {spec.name for spec in model.graphs["decode"].inputs} == {"decoder_input_ids", "attention_mask", *pasts}
    assert list(model.graphs) == ["encoder", "prefill", "decode"] and model.config["examples"] == "rule"
    assert all(graph_drift(bundle, "auto", name, backend) <= 1 for name in model.graphs for backend in ("ort", "openvino", "ref"))
    whole = checkpoint.load("T5ForConditionalGeneration", tmp_path / "folder", Allow())
    texts = []
    with bundle.session("auto", target="cpu") as session:
        for index in range(5):
            ids = np.random.default_rng(index).integers(8, 60, (1, 4 + index))
            with torch.no_grad():
                wanted = whole.generate(torch.from_numpy(ids), max_new_tokens=20, min_new_tokens=20, do_sample=False)[0, 1:].tolist()
            texts.append(write(session, ids))
            assert texts[-1] == wanted
    assert distinct(texts)


def write(session, ids):
    mask = np.ones_like(ids)
    states = session.run("encoder", input_ids=ids, attention_mask=mask)["last_hidden_state"]
    found = session.run("prefill", decoder_input_ids=np.zeros((1, 1), np.int64), attention_mask=mask, encoder_outputs_last_hidden_state=states)
    logits, held = found.pop("logits"), found
    tokens: list[int] = []
    while True:
        scores = logits[0, -1].copy()
        scores[1] = -np.inf  # the end, which transformers was told not to choose
        tokens.append(int(scores.argmax()))
        if len(tokens) == 20:
            return tokens
        past = {key.replace("present", "past"): value for key, value in held.items()}
        found = session.run("decode", decoder_input_ids=np.array([tokens[-1:]]), attention_mask=mask, **past)
        logits = found.pop("logits")
        held = {**held, **found}


def test_an_output_without_a_name_or_an_input_fails():
    x, w = ir.val("x", ir.DataType.FLOAT, (2,)), ir.val("w", ir.DataType.FLOAT, (2,), const_value=ir.tensor(np.ones(2, np.float32), name="w"))
    good, loose = ir.node("Relu", [x]), ir.node("Relu", [w])
    good.outputs[0].name, loose.outputs[0].name = "logits", "other"
    graph = ir.Graph([x], [good.outputs[0], loose.outputs[0]], nodes=[good, loose], initializers=[w], opset_imports={"": 18})
    model = ir.Model(graph, ir_version=10)
    with pytest.raises(GateFailed, match="the output other of model of Brain depends on no input"):
        _connected("Brain", "model", model, ("logits", "other"))
    with pytest.raises(GateFailed, match="came out with outputs logits, other instead of logits, boxes"):
        _connected("Brain", "model", model, ("logits", "boxes"))


CODE = """
from transformers import ViTConfig, ViTForImageClassification
class OwnConfig(ViTConfig):
    model_type = "own"
class OwnModel(ViTForImageClassification):
    config_class = OwnConfig
    def forward(self, pixel_values):
        return super().forward(pixel_values=pixel_values * 2)
"""


@pytest.mark.full
def test_a_model_with_code_of_its_own(tmp_path, monkeypatch):
    on_one_thread()
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    made.make_vit(tmp_path / "folder")
    plain = checkpoint.load("ViTForImageClassification", tmp_path / "folder", Allow())
    (tmp_path / "folder" / "own.py").write_text(CODE)
    config = json.loads((tmp_path / "folder" / "config.json").read_text())
    config |= {"model_type": "own", "architectures": ["OwnModel"], "auto_map": {"AutoConfig": "own.OwnConfig", "AutoModel": "own.OwnModel"}}
    (tmp_path / "folder" / "config.json").write_text(json.dumps(config))
    recipe = load.recipe_for(str(tmp_path / "folder"), offline=True, trace=print)
    with pytest.raises(MmedgeError, match="wants to run its own code"):
        build(recipe, tmp_path / "bundle", [Target.load("cpu")], report=lambda line: None)
    bundle = build(recipe, tmp_path / "bundle", [Target.load("cpu")], allow=Allow(code=True), report=lambda line: None)
    pixels = np.random.default_rng(0).standard_normal((1, 3, 32, 32)).astype(np.float32)
    with bundle.session("auto", target="cpu") as session, torch.no_grad():
        wanted = plain(torch.from_numpy(2 * pixels)).logits.numpy()
        assert np.abs(session.run("model", pixel_values=pixels)["logits"] - wanted).max() < 1e-4


@pytest.mark.full
def test_what_transformers_cannot_export_says_why(tmp_path, monkeypatch):
    made.make_bert(tmp_path, complete=False)

    def refuse(self, model, inputs, config):
        raise ValueError("nobody can export this") from RuntimeError("a loop over data\nand more")

    monkeypatch.setattr(transformers.exporters.exporter_onnx.OnnxExporter, "export_program", refuse)
    from mmedge.families.auto.export import export

    with pytest.raises(MmedgeError, match=r"BertForSequenceClassification cannot be exported \(model\) by transformers .*: a loop over data") as caught:
        export(tmp_path, Options(), media(), Allow())
    assert "module =" in caught.value.fix
