"""Folders of optimum's signature: run by their verbs, and equal to the files as they were."""

from __future__ import annotations

from functools import partial

import numpy as np
import onnx
import pytest
from checkpoints import sources
from checks import distinct, export_folder, graph_drift

from mmedge.build.golden import media
from mmedge.errors import MmedgeError
from mmedge.families.onnx import Options
from mmedge.families.onnx.export import export
from mmedge.generate.decode import Sampling

SHORT = Sampling(max_tokens=20)


def session(bundle):
    return bundle.session("onnx", target="cpu")


@pytest.mark.full
@pytest.mark.parametrize("make", [sources.make_speech, partial(sources.make_speech, merged=False, external=True)], ids=["merged", "pair, external data"])
def test_whisper(make, tmp_path):
    make(tmp_path / "folder")
    bundle = export_folder(tmp_path / "folder", tmp_path / "bundle", "onnx", "cpu", "intel-cpu")
    model = bundle.manifest.models["onnx"]
    assert list(model.graphs) == ["encoder", "cross", "decoder"] and model.config["start"] == [0, 2, 4, 4]
    decoder = onnx.load(bundle.file(model.graphs["decoder"].file))
    assert not any(node.op_type == "If" for node in decoder.graph.node)
    assert [spec.name for spec in model.graphs["decoder"].inputs][1:] == ["past_key_0", "past_value_0", "cross_key_0", "cross_value_0"]
    assert all(graph_drift(bundle, "onnx", name, backend) <= 1 for name in model.graphs for backend in ("ort", "openvino", "ref"))
    with session(bundle) as ears:
        said = [ears.transcribe(media()[name], sampling=SHORT) for name in ("question", "remark")]
        assert said == [case.expected for case in model.cases] and distinct(said) and all(said)
        twice = ears.transcribe((np.tile(np.sin(np.arange(16_000, dtype=np.float32)), 40), 16_000), sampling=SHORT)
        assert len(twice.split()) >= 1


@pytest.mark.full
def test_a_folder_too_large_for_memory(tmp_path, monkeypatch):
    """Weights stay in their files until they are written into the bundle's one."""
    sources.make_speech(tmp_path / "folder", merged=False, external=True)
    small = export_folder(tmp_path / "folder", tmp_path / "small", "onnx")
    monkeypatch.setattr("mmedge.families.onnx.surgery.is_small", lambda model: False)
    monkeypatch.setattr("mmedge.build.graphs.LARGE_BYTES", 0)
    bundle = export_folder(tmp_path / "folder", tmp_path / "bundle", "onnx")
    model = bundle.manifest.models["onnx"]
    assert all(graph.weights for graph in model.graphs.values()) and not any(graph.weights for graph in small.manifest.models["onnx"].graphs.values())
    with session(bundle) as ears, session(small) as same:
        assert ears.transcribe(media()["question"], sampling=SHORT) == same.transcribe(media()["question"], sampling=SHORT) == model.cases[0].expected


def test_a_language_is_an_option(tmp_path):
    sources.make_speech(tmp_path / "folder")
    exported = export(tmp_path / "folder", Options(language="de"), media())
    assert exported.config.start == (0, 3, 4, 4)
    with pytest.raises(MmedgeError, match="does not know the language 'fr'") as caught:
        export(tmp_path / "folder", Options(language="fr"), media())
    assert "de, en" in caught.value.fix


def test_a_captioner(tmp_path):
    sources.make_captioner(tmp_path / "folder")
    bundle = export_folder(tmp_path / "folder", tmp_path / "bundle", "onnx")
    with session(bundle) as eyes:
        pieces: list[str] = []
        said = [eyes.caption(media()[name], sampling=SHORT, on_text=pieces.append) for name in ("cat", "coffee")]
        assert said == [case.expected for case in bundle.manifest.models["onnx"].cases] and distinct(said)
        assert "".join(pieces).replace(" ", "") == "".join(said).replace(" ", "")


def test_a_chat_model(tmp_path):
    sources.make_chat(tmp_path / "folder")
    bundle = export_folder(tmp_path / "folder", tmp_path / "bundle", "onnx")
    model = bundle.manifest.models["onnx"]
    with session(bundle) as mind:
        texts = [media()[name] for name in ("text_3", "text_2")]
        assert [mind.chat(text, sampling=SHORT) for text in texts] == [case.expected for case in model.cases]
        assert mind.chat([{"role": "user", "content": texts[0]}], sampling=SHORT) == model.cases[0].expected
        with pytest.raises(MmedgeError, match="the prompt has"):
            mind.chat("a" * 100)
        with pytest.raises(MmedgeError, match="this chat model cannot transcribe"):
            mind.transcribe(media()["question"])


@pytest.mark.parametrize("apart", [False, True])
def test_an_image_text_model(tmp_path, apart):
    sources.make_dual(tmp_path / "folder", apart=apart)
    bundle = export_folder(tmp_path / "folder", tmp_path / "bundle", "onnx")
    inputs = {name: [spec.name for spec in graph.inputs] for name, graph in bundle.manifest.models["onnx"].graphs.items()}
    assert inputs == {"image_encoder": ["pixel_values"], "text_encoder": ["input_ids", "attention_mask"]}
    with session(bundle) as eyes:
        image, text = eyes.embed_image(media()["cat"]), eyes.embed_text(["a cat", "a cup"])
        assert image.shape == (8,) and text.shape == (2, 8) and np.allclose(np.linalg.norm(text, axis=1), 1)
        assert np.array_equal(eyes.embed_text("a cat"), eyes.embed_text(["a cat"])[0])
        ranked = eyes.classify(media()["cat"], ["a cat", "a cup"])
        scores = np.exp(100 * text @ image)
        assert dict(ranked)["a cat"] == pytest.approx(float(scores[0] / scores.sum()), abs=1e-4)
        with pytest.raises(MmedgeError, match="no labels of its own"):
            eyes.classify(media()["cat"])


@pytest.mark.parametrize(("takes", "item", "other"), [("image", "cat", "coffee"), ("text", "text_1", "text_2"), ("audio", "question", "remark")])
def test_a_classifier(tmp_path, takes, item, other):
    sources.make_classifier(tmp_path / "folder", takes)
    bundle = export_folder(tmp_path / "folder", tmp_path / "bundle", "onnx")
    with session(bundle) as classifier:
        chances = dict(classifier.classify(media()[item]))
        assert set(chances) == {"low", "middle", "high"} and sum(chances.values()) == pytest.approx(1)
        assert chances != dict(classifier.classify(media()[other]))
        with pytest.raises(MmedgeError, match="labels of its own"):
            classifier.classify(media()[item], ["a"])
