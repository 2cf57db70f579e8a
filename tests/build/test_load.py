"""What the user names -> a recipe whose models have families; a recipe's model -> one folder or file."""

from __future__ import annotations

import hashlib
import json

import pytest

from mmedge.build import load
from mmedge.errors import MmedgeError
from mmedge.family import Allow
from mmedge.recipe import Model, Recipe

HEAD = 'schema = "mmedge.recipe/1"\nname = "mine"\n'


def folder(path, files=("model.safetensors",), **config):
    path.mkdir(parents=True, exist_ok=True)
    for name in files:
        (path / name).write_bytes(b"x")
    if config:
        (path / "config.json").write_text(json.dumps(config))
    return path


def family(path):
    return next(iter(load.recipe_for(str(path), offline=True, trace=print).models.values())).family


@pytest.mark.parametrize(
    ("config", "found"),
    [
        ({"architectures": ["CLIPModel"]}, "dual_encoder"),
        ({"architectures": ["WhisperForConditionalGeneration"]}, "speech"),
        ({"architectures": ["BertForSequenceClassification"]}, "auto"),
        ({"architectures": ["SegformerForSemanticSegmentation"], "model_type": "segformer"}, "auto"),
        ({"model_type": "segformer"}, "auto"),
        ({"architectures": ["OwnModel"], "model_type": "own", "auto_map": {"AutoModel": "own.OwnModel"}}, "auto"),
    ],
)
def test_the_config_decides_the_family(tmp_path, config, found):
    assert family(folder(tmp_path / "model", **config)) == found


def test_files_decide_too(tmp_path):
    assert family(folder(tmp_path / "a", ("encoder_model.onnx",), architectures=["WhisperForConditionalGeneration"])) == "onnx"
    assert family(folder(tmp_path / "b" / "onnx", ("model.onnx",)).parent) == "onnx"
    assert family(folder(tmp_path / "c", ("model.onnx", "model.safetensors"), architectures=["WhisperForConditionalGeneration"])) == "speech"
    (tmp_path / "Detector v2.onnx").write_bytes(b"x")
    recipe = load.recipe_for(str(tmp_path / "Detector v2.onnx"), offline=True, trace=print)
    assert recipe.name == "detector-v2" and recipe.models["onnx"].file == str(tmp_path / "Detector v2.onnx")
    assert load.recipe_for(f"file:{tmp_path}#Detector v2.onnx", offline=True, trace=print).models["onnx"].family == "onnx"


def test_an_adapter_has_the_family_of_its_base(tmp_path):
    folder(tmp_path / "base", architectures=["WhisperForConditionalGeneration"])
    folder(tmp_path / "tuned", ("adapter_model.safetensors",))
    (tmp_path / "tuned" / "adapter_config.json").write_text('{"base_model_name_or_path": "../base"}')
    assert family(tmp_path / "tuned") == "speech"


@pytest.mark.parametrize(
    ("config", "said", "fix"),
    [
        ({"architectures": ["LamaForCausalLM"]}, "neither a model family nor transformers", "nearest: LlamaForCausalLM"),
        ({"architectures": ["WisperForConditionalGeneration"]}, "has WisperForConditionalGeneration", "nearest: WhisperForConditionalGeneration"),
        ({"architectures": []}, "its config.json names no architecture", "supported: "),
        (
            {"model_type": "whisper"},
            "names no architecture, and whisper may be WhisperForConditionalGeneration",
            '"architectures": ["WhisperForConditionalGeneration"]',
        ),
        ({"architectures": "CLIPModel"}, "says architectures 'CLIPModel': that is no list of names", '"architectures": ["CLIPModel"]'),
        ({"architectures": {"a": 1}}, "that is no list of names", "undamaged"),
        # A known model_type does not hide a slip of the pen.
        ({"architectures": ["WhisperForConditionalGeneratio"], "model_type": "whisper"}, "neither a", "nearest: WhisperForConditionalGeneration;"),
        ({"architectures": ["LamaForCausalLM"], "model_type": "llama"}, "has LamaForCausalLM", "nearest: LlamaForCausalLM;"),
        ({"model_type": "brain"}, "its config.json names no architecture", "and most others of transformers"),
        ({}, "it holds no config.json", "supported: "),
    ],
)
def test_what_no_family_takes(tmp_path, config, said, fix):
    with pytest.raises(MmedgeError) as caught:
        family(folder(tmp_path / "model", **config))
    assert said in caught.value.what and fix in caught.value.fix


@pytest.mark.parametrize(
    ("name", "said"), [("m.gguf", "is of llama.cpp"), ("m.safetensors", "one file of a checkpoint"), ("m.bin", "is a pickle"), ("m.tflite", "is of LiteRT")]
)
def test_files_of_other_kinds(tmp_path, name, said):
    (tmp_path / name).write_bytes(b"x")
    for what in (tmp_path / name, f"file:{tmp_path / name}"):
        with pytest.raises(MmedgeError, match=said):
            load.recipe_for(str(what), offline=True, trace=print)


def test_a_recipes_paths_start_at_the_recipe(tmp_path, monkeypatch):
    folder(tmp_path / "here" / "model", architectures=["CLIPModel"])
    (tmp_path / "here" / "m.onnx").write_bytes(b"x")
    text = HEAD + '[models.eyes]\nfolder = "model"\n[models.other]\nfile = "m.onnx"\n[models.own]\nmodule = "package.inner:factory"\n'
    (tmp_path / "here" / "mine.toml").write_text(text)
    monkeypatch.chdir(tmp_path)
    recipe = load.recipe_for("here/mine.toml", offline=True, trace=print)
    assert {role: model.family for role, model in recipe.models.items()} == {"eyes": "dual_encoder", "other": "onnx", "own": "module"}
    assert load.checkpoint(recipe.models["eyes"], offline=True, trace=print) == tmp_path / "here" / "model"
    assert load.checkpoint(recipe.models["other"], offline=True, trace=print) == tmp_path / "here" / "m.onnx"
    assert recipe.models["own"].settings() == {"module": "package.inner:factory"}


def test_what_is_written_down_does_not_tell_whose_disk_it_was(tmp_path):
    folder(tmp_path / "model", architectures=["CLIPModel"])
    for what in (str(tmp_path / "model"), f"file:{tmp_path / 'model'}"):
        recipe = load.recipe_for(what, offline=True, trace=print)
        assert str(tmp_path) not in recipe.model_dump_json() and recipe.model_dump()["models"]["dual_encoder"]["folder"] == "model"
    found = load.sources(recipe.models["dual_encoder"], tmp_path / "model")
    assert found["model.safetensors"] == hashlib.sha256(b"x").hexdigest() and set(found) == {"model.safetensors", "config.json"}


@pytest.mark.parametrize(
    ("model", "said", "fix"),
    [
        ({"family": "speech"}, "names neither files nor a folder for its speech model", "folder ="),
        ({"family": "speech", "folder": "nowhere"}, "there is no folder nowhere", "starts at the recipe"),
        ({"family": "onnx", "file": "nowhere.onnx"}, "there is no file nowhere.onnx", "starts at the recipe"),
    ],
)
def test_a_recipe_whose_model_is_not_there(model, said, fix):
    with pytest.raises(MmedgeError) as caught:
        load.checkpoint(Model(**model), offline=True, trace=print, allow=Allow())
    assert said in caught.value.what and fix in caught.value.fix


def test_the_toy_needs_no_files():
    load.checkpoint(Recipe.load("toy").models["eyes"], offline=True, trace=print)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[models.eyes]\nfolder = "a"\nfile = "b"\n', "folder and file exclude each other"),
        ('[models.eyes]\nmodule = "a.b"\n', "models.eyes.module: String should match pattern"),
        ('[models.eyes]\nmodule = "../a:b"\n', "models.eyes.module: String should match pattern"),
        ("[models.eyes]\n", "names no family for a model that has neither"),
        ('[models.eyes]\nfolder = "nowhere"\n', "there is no folder"),
    ],
)
def test_recipes_that_make_no_sense(tmp_path, text, said):
    (tmp_path / "mine.toml").write_text(HEAD + text)
    with pytest.raises(MmedgeError, match=said):
        load.recipe_for(str(tmp_path / "mine.toml"), offline=True, trace=print)
