"""Adapters of peft: merged, equal to what they were unmerged, and refused where they are not whole."""

from __future__ import annotations

import json
import socket

import pytest
import torch
import transformers
from checkpoints import spread
from safetensors.torch import load_file, save_file

from mmedge import hub
from mmedge.build import adapter, load
from mmedge.errors import GateFailed, MmedgeError
from mmedge.family import Allow
from mmedge.nets import checkpoint

peft = pytest.importorskip("peft")
SIZES = {"vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16, "max_position_embeddings": 24}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    def refuse(*arguments, **keywords):
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setenv("MMEDGE_CACHE", str(tmp_path / "cache"))
    model = spread(transformers.BertForSequenceClassification(transformers.BertConfig(**SIZES)))
    model.save_pretrained(tmp_path / "base")
    (tmp_path / "base" / "vocab.txt").write_text("[UNK]")
    config = peft.LoraConfig(r=2, target_modules=["query", "value"], init_lora_weights=False, base_model_name_or_path="../base")
    with pytest.warns(UserWarning, match="config"):
        peft.get_peft_model(model, config).save_pretrained(tmp_path / "tuned")
    set_config(tmp_path / "tuned", base_model_name_or_path="../base")
    return tmp_path / "tuned"


def set_config(folder, **values):
    path = folder / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def merged(folder, allow=Allow()):
    return adapter.merged(folder, offline=True, trace=lambda line: None, allow=allow)


def test_the_merged_checkpoint_is_the_base_with_the_adapter_in_it(folder):
    found = merged(folder)
    whole = checkpoint.load("BertForSequenceClassification", found, Allow())
    under = checkpoint.load("BertForSequenceClassification", folder.parent / "base", Allow())
    apart = peft.PeftModel.from_pretrained(checkpoint.load("BertForSequenceClassification", folder.parent / "base", Allow()), folder).eval()
    ids = torch.tensor([[3, 9, 4], [7, 7, 30]])
    with torch.no_grad():
        logits = whole(ids).logits
        assert torch.allclose(logits, apart(ids).logits, atol=1e-5)
        assert not torch.allclose(logits, under(ids).logits, atol=1e-3)
    assert (found / "vocab.txt").read_text() == "[UNK]"
    assert adapter.record(found)["parity"] <= 1.0
    gate = load.gates("eyes", found)[0]
    assert (gate.name, gate.passed, gate.bound) == ("merge eyes", True, 1.0) and "tuned in base" in gate.note
    assert load.gates("eyes", folder.parent / "base") == []


def test_a_merge_that_changes_the_model_is_refused(folder, monkeypatch):
    merge = peft.LoraModel.merge_and_unload

    def wrong(self, **options):
        whole = merge(self, **options)
        with torch.no_grad():
            whole.classifier.bias.add_(0.01)
        return whole

    monkeypatch.setattr(peft.LoraModel, "merge_and_unload", wrong)
    with pytest.raises(GateFailed, match="merged differs from unmerged"):
        merged(folder)


def change(folder, edit):
    weights = load_file(folder / adapter.WEIGHTS)
    edit(weights)
    save_file(weights, folder / adapter.WEIGHTS, {"format": "pt"})


def refused(folder, allow=Allow()):
    with pytest.raises(MmedgeError) as caught:
        merged(folder, allow)
    return caught.value


def test_weights_that_are_missing_extra_not_finite_or_a_pickle(folder):
    whole = (folder / adapter.WEIGHTS).read_bytes()
    change(folder, lambda weights: weights.pop(sorted(weights)[0]))
    assert "lacks weights: base_model.model" in refused(folder).what
    allow = Allow(weights=True)
    merged(folder, allow)
    assert allow.accepted["adapter " + folder.name]["made up"]["count"] == 1
    (folder / adapter.WEIGHTS).write_bytes(whole)
    change(folder, lambda weights: weights.update({"base_model.model.other.lora_A.weight": torch.ones(2)}))
    assert "has no place for: base_model.model.other" in refused(folder).what
    (folder / adapter.WEIGHTS).write_bytes(whole)
    change(folder, lambda weights: weights[sorted(weights)[0]].fill_(float("nan")))
    assert "hold NaN or infinity" in refused(folder).what
    (folder / adapter.WEIGHTS).write_bytes(whole[:-9])
    assert "damaged or cut off" in refused(folder).what
    (folder / adapter.WEIGHTS).unlink()
    torch.save({}, folder / "adapter_model.bin")
    error = refused(folder)
    assert "pickle (adapter_model.bin)" in error.what and error.fix.endswith(adapter.WEIGHTS)


def test_a_base_that_is_not_there(folder, monkeypatch):
    set_config(folder, base_model_name_or_path="/nowhere/at/all")
    assert "is not there: /nowhere/at/all" in refused(folder).what
    set_config(folder, base_model_name_or_path=None)
    assert "does not say which model" in refused(folder).what
    asked = []
    monkeypatch.setattr(hub, "fetch", lambda source, **options: asked.append(source) or folder.parent / "base")
    for name in ("owner/name", "hf:owner/name@v1"):
        set_config(folder, base_model_name_or_path=name)
        assert adapter.base(folder, offline=True, trace=print) == folder.parent / "base"
    assert asked == ["hf:owner/name@main", "hf:owner/name@v1"]


def test_an_adapter_of_another_kind(folder):
    set_config(folder, peft_type="MAGIC")
    assert "is no adapter of BertForSequenceClassification" in refused(folder).what
    set_config(folder, peft_type="LORA", target_modules=["nothing"])
    assert "is no adapter of" in refused(folder).what
