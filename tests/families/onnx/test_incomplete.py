"""Folders of optimum's signature that lack a file, or hold a damaged one."""

from __future__ import annotations

import json
from functools import partial

import pytest
from checkpoints import sources
from checks import export_folder

from mmedge.build.export import export as build
from mmedge.build.golden import media
from mmedge.errors import MmedgeError
from mmedge.families.onnx import Options, layout
from mmedge.families.onnx.export import export
from mmedge.recipe import Model, Recipe
from mmedge.target import Target


def session(bundle):
    return bundle.session("onnx", target="cpu")


@pytest.mark.parametrize(
    ("make", "verb", "item", "lacks"),
    [
        (sources.make_speech, "transcribe", "question", "tokenizer"),
        (sources.make_captioner, "caption", "cat", "image processor"),
        (sources.make_chat, "chat", "text_1", "tokenizer"),
        (sources.make_dual, "embed_image", "cat", "image processor"),
        (sources.make_dual, "embed_text", "text_1", "tokenizer"),
        (partial(sources.make_classifier, takes="image"), "classify", "cat", "image processor"),
        (partial(sources.make_classifier, takes="audio"), "classify", "question", "feature extractor"),
        (partial(sources.make_classifier, takes="text"), "classify", "text_1", "tokenizer"),
    ],
)
def test_without_its_tokenizer_or_processor_a_folder_still_gives_its_graphs(tmp_path, make, verb, item, lacks):
    make(tmp_path / "folder", complete=False)
    said = []
    recipe = Recipe(name="small", models={"onnx": Model(family="onnx", folder=str(tmp_path / "folder"))})
    bundle = build(recipe, tmp_path / "bundle", [Target.load("cpu")], report=said.append)
    with session(bundle) as model, pytest.raises(MmedgeError, match=f"exported without a {lacks}") as caught:
        getattr(model, verb)(media()[item])
    assert "export again" in caught.value.fix
    (line,) = (line for line in said if f"the checkpoint has no {lacks}" in line)
    assert line.startswith("onnx: ") and f"no {verb}" in line
    (gate,) = (gate for gate in bundle.manifest.gates["export"] if gate.name == f"verb onnx.{verb}" and lacks in gate.note)
    assert gate.word() == "--"


def test_a_whole_folder_lacks_nothing(tmp_path):
    sources.make_captioner(tmp_path / "folder")
    bundle = export_folder(tmp_path / "folder", tmp_path / "bundle", "onnx")
    assert not [gate for gate in bundle.manifest.gates["export"] if gate.name.startswith("verb ")]


@pytest.mark.parametrize(("merged", "lost"), [(False, "decoder_with_past_model"), (True, "decoder_model_merged"), (True, "encoder_model")])
def test_a_folder_that_lacks_a_part(tmp_path, merged, lost):
    sources.make_speech(tmp_path, merged=merged)
    (tmp_path / f"{lost}.onnx").unlink()
    with pytest.raises(MmedgeError, match=rf"lacks {lost}\.onnx"):
        layout.parts(tmp_path, {"model_type": "whisper"})


def test_a_folder_without_its_external_data(tmp_path):
    sources.make_speech(tmp_path, merged=False, external=True)
    (tmp_path / "encoder_model.onnx_data").unlink()
    with pytest.raises(MmedgeError, match=r"encoder_model\.onnx is not a valid ONNX file"):
        export(tmp_path, Options(), media())


def test_a_damaged_config(tmp_path):
    sources.make_chat(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(MmedgeError, match="cannot be read as JSON"):
        export(tmp_path, Options(), media())
    (tmp_path / "config.json").write_text(json.dumps({}))
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(MmedgeError, match="is no tokenizer"):
        export(tmp_path, Options(), media())
