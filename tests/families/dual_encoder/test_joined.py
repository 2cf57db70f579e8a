from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from mmedge import hub
from mmedge.bundle import Bundle
from mmedge.errors import MmedgeError
from mmedge.recipe import Recipe

GOLDEN = Path(__file__).parents[3] / "mmedge" / "golden"
TEXTS = ["A cat sleeps on the sofa.", "a cup of coffee on a table", "Is there a bicycle in front of the house?", "cat", "coffee"]
pytestmark = pytest.mark.full


@pytest.fixture(scope="module")
def folder():
    return hub.gather({name: (file.sources, file.sha256) for name, file in Recipe.load("assistant-mini").models["eyes"].files.items()})


@pytest.fixture(scope="module", params=["cpu", "intel-cpu"])
def eyes(request, assistant_bundle):
    with Bundle.open(assistant_bundle).session("eyes", request.param) as session:
        yield session


def assert_sentences(folder, embed):
    """Hold ``embed`` against BERT of transformers, each text alone, with the pooling that the model's card describes."""
    import torch
    from safetensors.torch import load_file
    from transformers import BertConfig, BertModel, BertTokenizerFast

    model = BertModel(BertConfig(**json.loads((folder / "sentence_encoder.json").read_text())))
    model.load_state_dict({key: value for key, value in load_file(folder / "sentence_encoder.safetensors").items() if "position_ids" not in key})
    tokenizer = BertTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"))
    rows = []
    for text in TEXTS:
        with torch.inference_mode():
            ids = tokenizer(text, return_tensors="pt", padding=False)
            row = model.eval()(ids["input_ids"]).last_hidden_state[0].mean(0)
        rows.append((row / row.norm()).numpy())
    np.testing.assert_allclose(embed(TEXTS), np.stack(rows), atol=1e-4)


def test_sentences_are_those_of_transformers(eyes, folder):
    placed = eyes._text
    assert_sentences(folder, eyes.embed_text)
    assert np.allclose(np.linalg.norm(eyes.embed_text(TEXTS), axis=1), 1, atol=1e-5) and placed is eyes._text


def test_sentence_parity_would_notice_permuted_positions(eyes, folder):
    def permuted(texts):
        tokens = eyes.tokens(texts)
        tokens["input_ids"] = np.ascontiguousarray(tokens["input_ids"][:, [0, 2, 1, *range(3, tokens["input_ids"].shape[1])]])
        return eyes._text.run(tokens)["text_embedding"]

    with pytest.raises(AssertionError):
        assert_sentences(folder, permuted)


def assert_logits(folder, eyes, change=lambda x: x):
    import torch

    from mmedge.nets.efficientnet_lite import load_efficientnet_lite0

    model = load_efficientnet_lite0(folder / "efficientnet_lite0.pth")
    for name in ("cat", "coffee"):
        pixels = eyes.pixels(GOLDEN / f"{name}.jpg")
        with torch.inference_mode():
            expected = model(torch.from_numpy(pixels)).numpy()
        found = eyes._item.run({"pixel_values": change(pixels)})["logits"]
        np.testing.assert_allclose(found, expected, atol=1e-3)


def test_logits_are_those_of_torch(eyes, folder):
    assert_logits(folder, eyes)


@pytest.mark.parametrize("change", [np.zeros_like, lambda x: np.ascontiguousarray(x[:, ::-1])], ids=["image zeroed", "channels permuted"])
def test_logit_parity_would_notice(eyes, folder, change):
    with pytest.raises(AssertionError):
        assert_logits(folder, eyes, change)


def test_pictures_and_sentences_meet(eyes):
    cat, coffee = (GOLDEN / f"{name}.jpg" for name in ("cat", "coffee"))
    assert eyes.rank(cat, TEXTS)[0][0] == "cat" and eyes.rank(cat, TEXTS[:3])[0][0] == "A cat sleeps on the sofa."
    assert "coffee" in eyes.rank(coffee, TEXTS)[0][0]
    assert eyes.classify(cat, ["a cat", "a coffee cup"])[0][0] == "a cat"
    assert sum(chance for _, chance in eyes.classify(coffee, ["a cat", "a coffee cup"])) == pytest.approx(1)
    assert eyes.recognise(coffee, 1)[0][0] == "espresso"
    assert len(eyes.recognise(coffee)) == 5
    assert abs(np.linalg.norm(eyes.embed_image(cat)) - 1) < 1e-5


def test_words_that_wordnet_lacks_go_through_the_sentence_encoder(eyes):
    view = eyes.look(GOLDEN / "cat.jpg")
    assert eyes.things.find("pet cat") is None
    chance, covered = eyes.presence(view, "pet cat")
    assert covered and 0.5 < chance < eyes.presence(view, "cat")[0]
    assert eyes.presence(view, "zorgelflump wobble") == (0.0, False)
    with pytest.raises(MmedgeError, match="no picture"):
        eyes.look([])


def test_damaged_checkpoints(folder, tmp_path):
    from mmedge.build.golden import media
    from mmedge.families.dual_encoder import Options
    from mmedge.families.dual_encoder.export import export

    def refused(name, content, what):
        shutil.rmtree(tmp_path / "eyes", ignore_errors=True)
        (tmp_path / "eyes").mkdir()
        for path in folder.iterdir():
            if path.name != name:
                (tmp_path / "eyes" / path.name).symlink_to(path)
        (tmp_path / "eyes" / name).write_bytes(content)
        with pytest.raises(MmedgeError, match=what):
            export(tmp_path / "eyes", Options(), media())

    refused("labels.json", b'["cat"]', "holds 1 names instead of 1000")
    refused("labels.json", b"[", "cannot be read as JSON")
    refused("efficientnet_lite0.pth", b"no", "no EfficientNet-Lite0 checkpoint")
    refused("sentence_encoder.safetensors", b"no", "does not hold the weights of that BERT")
    refused("tokenizer.json", b"{}", "is no tokenizer")
