"""Checkpoints as they come: whole, in parts, damaged, as pickles, with code of their own."""

from __future__ import annotations

import json
import shlex
import socket
import subprocess
import sys

import pytest
import torch
import transformers
from checkpoints import spread
from safetensors.torch import load_file, save_file

from mmedge.errors import MmedgeError
from mmedge.family import Allow
from mmedge.nets.checkpoint import load, load_config, tokenizer

BERT = "BertForSequenceClassification"
SIZES = {"vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16, "max_position_embeddings": 24}
WEIGHT = "bert.embeddings.word_embeddings.weight"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A whole checkpoint; and no network."""

    def refuse(*arguments, **keywords):
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    spread(transformers.BertForSequenceClassification(transformers.BertConfig(**SIZES))).save_pretrained(tmp_path / "bert")
    return tmp_path / "bert"


def refused(folder, allow=Allow(), architecture=BERT):
    with pytest.raises(MmedgeError) as caught:
        load(architecture, folder, allow)
    return caught.value


def edit_weights(folder, change):
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


def edit_config(folder, **values):
    content = {**json.loads((folder / "config.json").read_text()), **values}
    (folder / "config.json").write_text(json.dumps({key: value for key, value in content.items() if value is not ...}))


def test_a_whole_checkpoint_is_loaded_as_it_is(folder):
    model = load(BERT, folder, Allow())
    own = transformers.BertForSequenceClassification.from_pretrained(folder)
    assert not model.training and all(torch.equal(value, own.state_dict()[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_becomes_float32(folder, dtype):
    load(BERT, folder, Allow()).to(dtype).save_pretrained(folder)
    assert {value.dtype for value in load(BERT, folder, Allow()).parameters()} == {torch.float32}


def test_parts_with_an_index(folder):
    model = load(BERT, folder, Allow())
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, max_shard_size="4KB")
    parts = sorted(folder.glob("model-*.safetensors"))
    again = load(BERT, folder, Allow())
    assert len(parts) > 2 and all(torch.equal(value, again.state_dict()[name]) for name, value in model.state_dict().items())
    parts[1].unlink()
    assert f"lacks {parts[1].name} of the {len(parts)} files" in refused(folder).what
    index = folder / "model.safetensors.index.json"
    index.write_text('{"weight_map": {"a": "../../outside.safetensors"}}')
    assert "does not say which file" in refused(folder).what
    index.write_text("[")
    assert "cannot be read as JSON" in refused(folder).what


@pytest.mark.parametrize("cut", [4, 200, -40])
def test_a_file_that_is_cut_off(folder, cut):
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[:cut])
    assert "model.safetensors is damaged or cut off" in refused(folder).what


@pytest.mark.full
@pytest.mark.parametrize("name", ["pytorch_model.bin", "pytorch_model-00001-of-00002.bin", "model.pt", "weights.pkl"])
def test_a_pickle_is_refused_with_a_command_that_converts_it(folder, name):
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    if "-of-" in name:
        keys = sorted(weights)
        torch.save({key: weights[key] for key in keys[:3]}, folder / name)
        torch.save({key: weights[key] for key in keys[3:]}, folder / name.replace("00001", "00002", 1))
    else:
        torch.save(weights, folder / name)
    torch.save({}, folder / "training_args.bin")
    error = refused(folder)
    assert f"as a pickle ({name})" in error.what
    command = shlex.split(error.fix.removeprefix("convert it: "))
    subprocess.run([sys.executable, *command[1:]], check=True)
    assert torch.equal(load(BERT, folder, Allow()).state_dict()[WEIGHT], weights[WEIGHT])


def test_no_weights_at_all_and_those_of_others(folder):
    (folder / "model.safetensors").rename(folder / "model.fp16.safetensors")
    assert "holds model.fp16.safetensors, but no model.safetensors" in refused(folder).what
    (folder / "model.fp16.safetensors").rename(folder / "tf_model.h5")
    assert "tf_model.h5 is of TensorFlow" in refused(folder).what
    (folder / "tf_model.h5").unlink()
    assert "holds no weights" in refused(folder).what


def test_weights_that_are_missing_extra_or_of_another_shape(folder):
    def missing(weights):
        del weights[WEIGHT], weights["classifier.bias"]

    def extra(weights):
        weights.update({f"other.{index}": torch.ones(2) for index in range(25)})

    whole = (folder / "model.safetensors").read_bytes()
    shape = f"{WEIGHT} [41, 16] instead of [40, 16]"
    for change, said, accepted in (
        (missing, f"lacks weights of {BERT}: {WEIGHT}, classifier.bias", {"made up": {"count": 2, "names": [WEIGHT, "classifier.bias"]}}),
        (
            extra,
            f"holds weights that {BERT} has not: other.0, other.1, other.10, ... (25 in all)",
            {"left out": {"count": 25, "names": sorted(f"other.{index}" for index in range(25))[:20]}},
        ),
        (
            lambda weights: weights.update({WEIGHT: torch.ones(41, 16)}),
            f"weights of another shape: {shape}",
            {"made up for another shape": {"count": 1, "names": [shape]}},
        ),
    ):
        (folder / "model.safetensors").write_bytes(whole)
        edit_weights(folder, change)
        error = refused(folder)
        assert said in error.what and "--any-weights" in error.fix and "ignore_mismatched" not in str(error)
        allow = Allow(weights=True)
        assert load(BERT, folder, allow).state_dict()[WEIGHT].shape == (40, 16)
        assert allow.accepted == {BERT: accepted}


def test_extra_keys_that_transformers_knows_are_no_fault(folder):
    edit_weights(folder, lambda weights: weights.update({"bert.embeddings.position_ids": torch.arange(24)[None]}))
    load(BERT, folder, Allow())


def test_a_config_that_does_not_fit_the_weights(folder):
    edit_config(folder, intermediate_size=24)
    error = refused(folder)
    assert "does not fit its config.json" in error.what and "[16] instead of [24]" in error.what


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_no_numbers(folder, value):
    edit_weights(folder, lambda weights: weights[WEIGHT].view(-1)[7:8].fill_(value))
    for allow in (Allow(), Allow(weights=True)):
        error = refused(folder, allow)
        assert "hold NaN or infinity" in error.what and WEIGHT in error.what


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"hidden_size": "wide"}, "Field 'hidden_size' expected int, got str"),
        ({"hidden_size": -16}, "cannot be loaded as"),
        ({"num_attention_heads": 3}, "cannot be loaded as"),
        ({"num_labels": "two"}, "holds a value that BertConfig does not take"),
        ({"hidden_act": "magic"}, "cannot be loaded as"),
        ({"model_type": "clip"}, "says model_type 'clip', but its architecture is of 'bert'"),
        ({"model_type": ["bert"]}, "says model_type ['bert']"),
    ],
)
def test_a_config_with_wrong_values(folder, values, said):
    edit_config(folder, **values)
    assert said in refused(folder).what


def test_a_model_type_that_is_missing_or_unknown(folder):
    edit_config(folder, model_type=...)
    assert load_config(folder, Allow()).hidden_size == 16  # the architecture says it
    load(BERT, folder, Allow())
    edit_config(folder, architectures=...)
    with pytest.raises(MmedgeError, match="names no model_type"):
        load_config(folder, Allow())
    edit_config(folder, model_type="brain")
    with pytest.raises(MmedgeError, match="model_type 'brain', which transformers"):
        load_config(folder, Allow())


def test_an_architecture_that_transformers_lacks(folder):
    assert "has no BrainForThinking" in refused(folder, architecture="BrainForThinking").what


CODE = """
import pathlib
from transformers import BertConfig, BertForSequenceClassification
pathlib.Path({mark!r}).write_text("ran")
class OwnConfig(BertConfig):
    model_type = "own"
class OwnModel(BertForSequenceClassification):
    config_class = OwnConfig
"""


def test_code_of_the_folder_runs_only_when_it_is_asked_for(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    mark = tmp_path / "mark"
    (folder / "own.py").write_text(CODE.format(mark=str(mark)))
    edit_config(folder, model_type="own", architectures=["OwnModel"], auto_map={"AutoConfig": "own.OwnConfig", "AutoModel": "own.OwnModel"})
    error = refused(folder, architecture="OwnModel")
    assert "wants to run its own code: own.OwnConfig, own.OwnModel" in error.what and "--trust-code" in error.fix
    with pytest.raises(MmedgeError, match="its own code"):
        load_config(folder, Allow())
    assert not mark.exists()
    assert load_config(folder, Allow(code=True)).model_type == "own"
    assert type(load("OwnModel", folder, Allow(code=True))).__name__ == "OwnModel" and mark.exists()


@pytest.mark.parametrize(
    ("named", "said"), [({"AutoModel": "owner/name--own.OwnModel"}, "code of another repository: owner/name"), (["x"], "names no classes")]
)
def test_code_from_elsewhere_is_never_fetched(folder, named, said):
    edit_config(folder, auto_map=named)
    assert said in refused(folder, Allow(code=True)).what


def test_a_slow_tokenizer_becomes_a_fast_one(folder):
    (folder / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "cat"]))
    assert json.loads(tokenizer(folder) or b"{}")["model"]["vocab"]["cat"] == 5


@pytest.mark.parametrize("content", ["", "{}", '{"version": "1.0", "model": {"type": "BPE", "vocab": {"a": 0'])
def test_a_damaged_tokenizer_is_refused(folder, content):
    (folder / "tokenizer.json").write_text(content)
    with pytest.raises(MmedgeError, match=r"tokenizer\.json is no tokenizer") as caught:
        tokenizer(folder)
    assert caught.value.fix and "\n" not in caught.value.what


def test_a_folder_without_tokenizer(folder):
    assert tokenizer(folder) is None  # although transformers makes one of nothing
    (folder / "tokenizer_config.json").write_text(json.dumps({"auto_map": {"AutoTokenizer": ["own.OwnTokenizer", None]}, "tokenizer_class": "OwnTokenizer"}))
    assert tokenizer(folder) is None
