"""Checkpoints of transformers whose files are damaged or do not belong together."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mmedge.bundle import MANIFEST


@pytest.fixture
def bert(mmedge):
    """A whole checkpoint in the folder ``bert``, and what it is changed with."""
    from checkpoints.auto import make_bert

    make_bert(Path("bert"))
    return Path("bert")


def without(folder, *keys):
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    save_file({key: value for key, value in weights.items() if key not in keys}, folder / "model.safetensors", {"format": "pt"})
    return weights


def damage(folder, how):
    import torch
    from safetensors.torch import save_file

    path = folder / "model.safetensors"
    if how == "pickle":
        torch.save(without(folder), folder / "pytorch_model.bin")
        path.unlink()
    elif how == "missing":
        without(folder, "classifier.weight")
    elif how == "extra":
        save_file({**without(folder), "other.weight": torch.ones(2)}, path, {"format": "pt"})
    elif how == "NaN":
        weights = without(folder)
        weights["classifier.bias"][1] = float("nan")
        save_file(weights, path, {"format": "pt"})
    elif how == "cut":
        path.write_bytes(path.read_bytes()[:-10])
    elif how == "shard":
        path.unlink()
        (folder / "model.safetensors.index.json").write_text('{"weight_map": {"a": "model-00001-of-00002.safetensors"}}')
    else:
        content = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**content, **how}))


@pytest.mark.parametrize(
    ("how", "what", "fix"),
    [
        ("pickle", "holds its weights as a pickle (pytorch_model.bin)", "convert it: python -c"),
        ("missing", "lacks weights of BertForSequenceClassification: classifier.weight", "--any-weights"),
        ("extra", "holds weights that BertForSequenceClassification has not: other.weight", "--any-weights"),
        ("NaN", "hold NaN or infinity: classifier.bias", "undamaged"),
        ("cut", "model.safetensors is damaged or cut off", "get it again"),
        ("shard", "lacks model-00001-of-00002.safetensors of the 1 files", "missing files"),
        ({"hidden_size": "wide"}, "Field 'hidden_size' expected int, got str", "correct it"),
        ({"num_labels": 5}, "weights of another shape: classifier.bias [3] instead of [5]", "--any-weights"),
        ({"model_type": "brain"}, "model_type 'brain', which transformers", "config.json that was saved"),
        ({"auto_map": {"AutoModel": "own.OwnModel"}}, "wants to run its own code: own.OwnModel", "--trust-code"),
        ({"auto_map": {"AutoModel": "a/b--own.OwnModel"}}, "code of another repository: a/b", "into the folder"),
    ],
    ids=str,
)
def test_checkpoints_that_are_refused(refused, bert, how, what, fix):
    damage(bert, how)
    found = refused("export", bert, "-t", "cpu", "-o", "new.bundle", "--offline")
    assert what in found[0] and fix in found[1]
    assert not (Path("new.bundle") / MANIFEST).exists()


@pytest.mark.full
@pytest.mark.parametrize("how", ["missing", "extra"])
def test_wrong_weights_are_accepted_by_whoever_says_so(mmedge, bert, how):
    damage(bert, how)
    status, _, said = mmedge("export", bert, "-t", "cpu", "-o", "new.bundle", "--any-weights")
    assert status == 0, said
    assert "--any-weights" in mmedge("inspect", "new.bundle")[1].splitlines()[0], "a bundle says what was accepted for it"
