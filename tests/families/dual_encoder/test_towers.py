from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from mmedge.bundle import Bundle
from mmedge.errors import MmedgeError
from mmedge.recipe import Model, Recipe
from mmedge.target import Target

GOLDEN = Path(__file__).parents[3] / "mmedge" / "golden"
PICTURES = [GOLDEN / "cat.jpg", GOLDEN / "coffee.jpg"]
LABELS = ["a cat", "a cup of coffee", "a bicycle", "seven dogs", "a blue house"]
ATOL = 1e-4
SMALL = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}


def checkpoint(folder, kind):
    """A tiny model whose weights are wide enough to answer differently to different inputs."""
    import torch
    import transformers

    torch.manual_seed(0)
    words = ["<|startoftext|>", "<|endoftext|>", "</s>", "<unk>", *sorted({word for text in LABELS for word in text.split()}), "photo", "of", "on", "table"]
    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    ends = [(word, index) for index, word in enumerate(words[:3])]
    template = "<|startoftext|> $A <|endoftext|>" if kind == "clip" else "$A </s>"
    tokenizer.post_processor = processors.TemplateProcessing(single=template, special_tokens=ends)
    pad = "<|endoftext|>" if kind == "clip" else "</s>"
    text = {**SMALL, "vocab_size": len(words), "max_position_embeddings": 12, "eos_token_id": 1, "bos_token_id": 0, "pad_token_id": 1}
    vision = {**SMALL, "image_size": 32, "patch_size": 8}
    if kind == "clip":
        config = transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=24)
        model, processor = transformers.CLIPModel(config), transformers.CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    else:
        config = transformers.SiglipConfig(text_config=text, vision_config=vision)
        model, processor = transformers.SiglipModel(config), transformers.SiglipImageProcessorPil(size={"height": 32, "width": 32})
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim > 1:
                weight.normal_(0, 0.5 if "embed" in name else 0.25)
        model.logit_scale.fill_(2.0)
        if kind == "siglip":
            model.logit_bias.fill_(-1.0)
    model.eval().save_pretrained(folder)
    processor.save_pretrained(folder)
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token=pad, model_max_length=12, padding_side="right")
    fast.save_pretrained(folder)
    return model, processor, fast


@pytest.fixture(scope="module", params=["clip", "siglip"])
def made(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    reference = checkpoint(folder, request.param)
    out = tmp_path_factory.mktemp("bundles") / "towers.bundle"
    from mmedge.build.export import export

    export(Recipe(name="towers", models={"eyes": Model(family="dual_encoder", folder=str(folder))}), out, [Target.load("cpu")], report=lambda line: None)
    with Bundle.open(out).session("eyes", "cpu") as session:
        yield request.param, session, reference


def theirs(kind, reference, pictures, texts):
    """(image features, text features, logits per image) by transformers' own forward."""
    import torch
    from PIL import Image

    model, processor, tokenizer = reference
    tokens = tokenizer(texts, padding="max_length" if kind == "siglip" else True, truncation=True, return_tensors="pt", return_token_type_ids=False)
    if kind == "siglip":
        tokens = {"input_ids": tokens["input_ids"]}
    with torch.inference_mode():
        output = model(pixel_values=processor([Image.open(path) for path in pictures], return_tensors="pt")["pixel_values"], **tokens)
    return output.image_embeds.numpy(), output.text_embeds.numpy(), output.logits_per_image.numpy()


def assert_parity(kind, session, reference, pixels=lambda x: x, ids=lambda x: x):
    image, text, logits = theirs(kind, reference, PICTURES, LABELS)
    tokens = session.tokens(LABELS)
    tokens["input_ids"] = ids(tokens["input_ids"])
    ours_image = np.concatenate([session._image.run({"pixel_values": pixels(session.pixels(path))})["image_embedding"] for path in PICTURES])
    ours_text = session._text.run({name: tokens[name] for name in session.config.text_inputs})["text_embedding"]
    np.testing.assert_allclose(ours_image, image, atol=ATOL)
    np.testing.assert_allclose(ours_text, text, atol=ATOL)
    np.testing.assert_allclose(session.config.scale * ours_image @ ours_text.T + session.config.bias, logits, atol=ATOL * 10)


@pytest.mark.full
def test_embeddings_and_logits_are_those_of_transformers(made):
    assert_parity(*made)


@pytest.mark.full
@pytest.mark.parametrize(
    "mutation",
    [
        {"pixels": np.zeros_like},
        {"pixels": lambda x: np.ascontiguousarray(x[:, ::-1])},
        {"ids": lambda x: np.ascontiguousarray(x[:, [0, 2, 1, *range(3, x.shape[1])]])},
    ],
    ids=["image zeroed", "channels permuted", "positions permuted"],
)
def test_parity_would_notice(made, mutation):
    with pytest.raises(AssertionError):
        assert_parity(*made, **mutation)


@pytest.mark.full
def test_features_are_those_of_get_features_made_one_long(made):
    import torch
    from PIL import Image

    _, session, (model, processor, _) = made
    with torch.inference_mode():
        features = model.get_image_features(pixel_values=processor([Image.open(PICTURES[0])], return_tensors="pt")["pixel_values"])
    features = getattr(features, "pooler_output", features).numpy()[0]
    np.testing.assert_allclose(session.embed_image(PICTURES[0]), features / np.linalg.norm(features), atol=ATOL)


@pytest.mark.full
def test_five_inputs_give_five_outputs(made):
    _, session, _ = made
    rng = np.random.default_rng(0)
    for rows in (session.embed_text(LABELS), np.stack([session.embed_image(rng.integers(0, 256, (40, 30, 3), np.uint8)) for _ in range(5)])):
        distances = np.linalg.norm(rows[:, None] - rows[None], axis=-1)
        assert distances[~np.eye(5, dtype=bool)].min() > 0.01


@pytest.mark.full
def test_verbs(made):
    kind, session, reference = made
    logits = theirs(kind, reference, PICTURES, LABELS)[2]
    for path, row in zip(PICTURES, logits):
        wanted = 1 / (1 + np.exp(-row)) if kind == "siglip" else np.exp(row) / np.exp(row).sum()
        found = session.classify(path, LABELS)
        assert [label for label, _ in found] == [LABELS[index] for index in np.argsort(-wanted)]
        np.testing.assert_allclose([chance for _, chance in found], np.sort(wanted)[::-1], atol=1e-3)
        assert [text for text, _ in session.rank(path, LABELS)] == [label for label, _ in found]
    view = session.look(PICTURES)
    np.testing.assert_allclose(view.probabilities, np.mean([session.look(path).probabilities for path in PICTURES], 0), atol=1e-6)
    assert abs(float(view.probabilities.sum()) - 1) < 1e-3
    chance, covered = session.presence(view, "zorgelflump")
    assert 0 <= chance <= 1 and covered
    for call in (session.classify, session.rank):
        with pytest.raises(MmedgeError, match="no"):
            call(PICTURES[0], [])


@pytest.mark.full
def test_damaged_checkpoints(tmp_path):
    from mmedge.build.golden import media
    from mmedge.families.dual_encoder import Options
    from mmedge.families.dual_encoder.export import export

    good = tmp_path / "good"
    checkpoint(good, "clip")

    def refused(what, change):
        folder = tmp_path / what.replace(" ", "-").replace("'", "")
        shutil.copytree(good, folder)
        change(folder)
        with pytest.raises(MmedgeError) as caught:
            export(folder, Options(), media())
        assert what in caught.value.what

    refused("no weights in safetensors", lambda folder: (folder / "model.safetensors").unlink())
    refused("cannot be loaded", lambda folder: (folder / "model.safetensors").write_bytes((good / "model.safetensors").read_bytes()[:1000]))
    refused("is no tokenizer", lambda folder: (folder / "tokenizer.json").write_text("{}"))
    refused("cannot be read as JSON", lambda folder: (folder / "preprocessor_config.json").write_text("{"))
    refused("is a bert model", lambda folder: (folder / "config.json").write_text(json.dumps({"model_type": "bert"})))
    refused("holds neither", lambda folder: (folder / "config.json").unlink())

    def drop_a_weight(folder):
        from safetensors.torch import load_file, save_file

        weights = load_file(folder / "model.safetensors")
        weights.pop("visual_projection.weight")
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})

    refused("lacks weights, first visual_projection.weight", drop_a_weight)
