"""What is named for an export and is none, is not whole, or wants to run code."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from mmedge import hub
from mmedge.build import load
from mmedge.bundle import MANIFEST
from mmedge.errors import MmedgeError

RECIPE = 'schema = "mmedge.recipe/1"\nname = "x"\n[models.eyes]\nfamily = "toy"\n'


@pytest.mark.parametrize(
    ("what", "said", "fix"),
    [
        ("", "there is no recipe ''", "use one of"),
        ("file:", "names no path", "write file:path"),
        ("https://huggingface.co/openai/whisper-tiny.en", "neither a folder here nor a recipe", "mmedge export hf:openai/whisper-tiny.en@main"),
        ("openai/whisper-tiny.en@v2", "neither a folder here nor a recipe", "mmedge export hf:openai/whisper-tiny.en@v2"),
        ("./nowhere", "there is no file or folder ./nowhere", "the folder of a checkpoint"),
        ("nowhere.onnx", "there is no file or folder nowhere.onnx", "an ONNX file"),
        ("notes.txt", "is a file, but no recipe", "name a recipe"),
        ("file:notes.txt", "is a file", "name the folder"),
        ("model.bin", "is a pickle", "name the folder"),
        ("model.gguf", "is of llama.cpp", "take the checkpoint"),
        ("model.onnx", "is not a valid ONNX file", "undamaged"),
        ("lost.toml", "there is no folder", "starts at the recipe"),
        ("none.toml", "names neither files nor a folder for its dual_encoder model", "folder ="),
        ("x" * 3000, "File name too long", "name another"),
        ("empty", "it holds no config.json", "WhisperForConditionalGeneration, and most others of transformers"),
        ("listed", "that is no list of names", "undamaged"),
        ("other", "neither a model family nor transformers", "nearest: LlamaForCausalLM"),
        ("text", "cannot be read as JSON", "undamaged"),
    ],
)
def test_what_cannot_be_exported(refused, what, said, fix):
    for name in ("notes.txt", "model.bin", "model.gguf", "model.onnx"):
        Path(name).write_text("mine")
    Path("lost.toml").write_text(RECIPE.replace('"toy"', '"dual_encoder"') + 'folder = "nowhere"\n')
    Path("none.toml").write_text(RECIPE.replace('"toy"', '"dual_encoder"'))
    Path("text").mkdir()
    Path("text/config.json").write_text("[" * 100_000)
    for name, config in (("empty", None), ("listed", {"architectures": [{}]}), ("other", {"architectures": ["LamaForCausalLM"]})):
        Path(name).mkdir()
        if config:
            (Path(name) / "config.json").write_text(json.dumps(config).replace("[{}]", "5"))
    found = refused("export", what, "-t", "cpu", "-o", "new.bundle", "--offline")
    assert said in found[0] and fix in found[1]
    assert not (Path("new.bundle") / MANIFEST).exists()


def test_a_module_runs_only_when_it_is_asked_for(refused):
    Path("mine.toml").write_text(RECIPE.replace('family = "toy"', 'module = "beside:factory"'))
    Path("beside.py").write_text("open('ran', 'w')")
    what, fix = refused("export", "mine.toml", "-t", "cpu")
    assert "wants to run code: beside:factory" in what and "--trust-code" in fix
    assert "beside is not installed" in refused("export", "mine.toml", "-t", "cpu", "--trust-code")[0]
    assert not Path("ran").exists()


@pytest.mark.parametrize(
    ("base", "what"), [("nowhere", "is not there: nowhere"), ("owner/name", "hf:owner/name@main"), (None, "does not say which model it was trained on")]
)
def test_an_adapter_without_its_base(refused, base, what):
    Path("tuned").mkdir()
    Path("tuned/adapter_config.json").write_text(json.dumps({"base_model_name_or_path": base}))
    assert what in refused("export", "tuned", "-t", "cpu", "--offline")[0]


@pytest.mark.parametrize("file", ["encoder_model.onnx", "decoder_model.onnx", "decoder_with_past_model.onnx"])
def test_a_folder_of_optimum_that_is_not_whole(refused, mmedge, file):
    from checkpoints.sources import make_speech

    make_speech(Path("folder"), merged=False)
    whole = Path("folder", file).read_bytes()
    Path("folder", file).write_bytes(whole[: len(whole) // 2])
    assert f"{file} is not a valid ONNX file" in refused("export", "folder", "-t", "cpu")[0]
    Path("folder", file).unlink()
    if file != "encoder_model.onnx":  # without it the two decoders are graphs like any other
        assert f"lacks {file}" in refused("export", "folder", "-t", "cpu")[0]


def test_a_bundle_is_no_checkpoint(toy_bundle):
    with pytest.raises(MmedgeError, match="is a bundle already") as caught:
        load.recipe_for(str(toy_bundle), offline=True, trace=print)
    assert "mmedge compile" in caught.value.fix


def test_a_users_folder_is_not_hashed_without_need(tmp_path):
    (tmp_path / "loop").symlink_to(tmp_path)
    assert hub.fetch(f"file:{tmp_path}", sha256=None) == tmp_path


def test_no_network_and_nothing_cached(refused):
    what, fix = refused("export", "-t", "cpu", "-o", "new.bundle", "--offline")
    assert "pip:silero-vad" in what and "is not in the cache" in what and "without --offline" in fix
    assert not (Path("new.bundle") / MANIFEST).exists()


def test_a_cache_that_cannot_be(refused, monkeypatch):
    monkeypatch.setenv("MMEDGE_CACHE", "/proc/nowhere")
    Path("weights.bin").write_bytes(b"x")
    Path("mine.toml").write_text(
        RECIPE + f'files = {{"w.bin" = {{sources = ["file:{Path("weights.bin").absolute()}"], sha256 = "{hashlib.sha256(b"x").hexdigest()}"}}}}\n'
    )
    assert "the cache /proc/nowhere cannot be written" in refused("export", "mine.toml", "-t", "cpu", "-o", "new.bundle")[0]
