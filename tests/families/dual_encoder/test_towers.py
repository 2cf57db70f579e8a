from __future__ import annotations

import numpy as np
import pytest
from checks import graph_drift
from PIL import Image

from mmedge.errors import MmedgeError

from .conftest import GOLDEN, LABELS

ATOL = 1e-4
pytestmark = pytest.mark.full


def same(array):
    return array


def permuted(array):
    """Two tokens exchanged; channels, patches, or CLAP's frames (its pictures are larger) in the other order."""
    if array.ndim == 2:
        return np.ascontiguousarray(array[:, [0, 2, 1, *range(3, array.shape[1])]])
    return np.ascontiguousarray(np.flip(array, 2 if array.shape[2] == 201 else 1))


def assert_parity(made, item=same, ids=same):
    """Two items against five texts."""
    wanted = made.theirs(made.items, LABELS)
    feeds = [made.feeds(one) for one in made.items]
    both = {name: np.concatenate([feed[name] for feed in feeds]) for name in feeds[0]}
    main = next(iter(both))
    both[main] = item(both[main])
    tokens = made.session.tokens(LABELS)
    tokens["input_ids"] = ids(tokens["input_ids"])
    (items,) = made.session._item.run(both).values()
    texts = made.session._text.run({name: tokens[name] for name in made.session.config.text_inputs})["text_embedding"]
    np.testing.assert_allclose(items, wanted["items"], atol=ATOL)
    np.testing.assert_allclose(texts, wanted["texts"], atol=ATOL)
    np.testing.assert_allclose(made.session.config.scale * items @ texts.T + made.session.config.bias, wanted["logits"], atol=ATOL * 10)


def test_embeddings_and_logits_are_those_of_transformers(made):
    assert_parity(made)


@pytest.mark.parametrize("mutation", [{"item": np.zeros_like}, {"item": permuted}, {"ids": permuted}], ids=["item zeroed", "item permuted", "text permuted"])
def test_parity_would_notice(made, mutation):
    with pytest.raises(AssertionError):
        assert_parity(made, **mutation)


@pytest.mark.parametrize("backend", ["ort", "openvino", "ref"])
def test_graphs_agree_on_every_backend(made, backend):
    for name in made.bundle.manifest.models["dual_encoder"].graphs:
        assert graph_drift(made.bundle, "dual_encoder", name, backend) <= 1


def test_one_by_one_is_the_same_as_together(made):
    """Unequal batches: one item and one text of another length."""
    wanted = made.theirs(made.items, LABELS)
    embed = made.session.embed_audio if made.hears else made.session.embed_image
    np.testing.assert_allclose(np.stack([embed(item) for item in made.items]), wanted["items"], atol=ATOL)
    np.testing.assert_allclose(np.concatenate([made.session.embed_text(text) for text in LABELS]), wanted["texts"], atol=ATOL)


def test_classify_gives_the_probabilities_of_transformers_forward(made):
    wanted = made.theirs(made.items, LABELS)["logits"]
    for item, row in zip(made.items, wanted):
        likely = 1 / (1 + np.exp(-row)) if made.kind.startswith("siglip") else np.exp(row) / np.exp(row).sum()
        found = made.session.classify(item, LABELS)
        assert [label for label, _ in found] == [LABELS[index] for index in np.argsort(-likely)]
        np.testing.assert_allclose([chance for _, chance in found], np.sort(likely)[::-1], atol=ATOL)
        assert [text for text, _ in made.session.rank(item, LABELS)] == [label for label, _ in found]
    for call in (made.session.classify, made.session.rank):
        for none in ([], "cat"):
            with pytest.raises(MmedgeError, match="there are no"):
                call(made.items[0], none)


def test_five_inputs_give_five_outputs(made):
    rng = np.random.default_rng(0)
    if made.hears:
        items = [made.session.embed_audio((rng.standard_normal(9_000 + 1000 * n).cumsum().astype(np.float32) / 500, 8_000 + 4_000 * n)) for n in range(5)]
    else:
        items = [made.session.embed_image(rng.integers(0, 256, (40, 20 + 10 * n, 3), np.uint8)) for n in range(5)]
    for rows in (made.session.embed_text(LABELS), np.stack(items)):
        distances = np.linalg.norm(rows[:, None] - rows[None], axis=-1)
        assert distances[~np.eye(5, dtype=bool)].min() > 0.005


@pytest.mark.parametrize("made", ["clip", "chinese_clip", "siglip", "siglip2"], indirect=True)
def test_pictures_as_transformers_loads_them(made, tmp_path):
    """Turned by EXIF, grey, and with transparency: through transformers' own loading and processing, to the embedding."""
    turned = Image.open(GOLDEN / "cat.jpg")
    exif = turned.getexif()
    exif[0x0112] = 6
    turned.save(tmp_path / "turned.jpg", exif=exif)
    from transformers.image_utils import load_image

    load_image(str(tmp_path / "turned.jpg")).save(tmp_path / "upright.png")
    turned.convert("L").save(tmp_path / "grey.png")
    for path, plain in (("turned.jpg", "upright.png"), ("grey.png", "grey.png")):
        np.testing.assert_allclose(made.session.embed_image(tmp_path / path), made.theirs([tmp_path / plain], LABELS)["items"][0], atol=ATOL)
    faded = Image.open(GOLDEN / "coffee.jpg")
    faded.putalpha(Image.linear_gradient("L").resize(faded.size))
    np.testing.assert_allclose(made.session.embed_image(faded), _transparent(made, faded), atol=ATOL)


def _transparent(made, picture):
    """transformers lays transparency on white in its processors."""
    import torch
    import transformers

    processor = transformers.AutoImageProcessor.from_pretrained(made.folder)
    with torch.inference_mode():
        features = made.model.get_image_features(**processor(picture, return_tensors="pt", do_convert_rgb=True)).pooler_output.numpy()[0]
    return features / np.linalg.norm(features)


def test_things_are_for_models_that_know_imagenet(made):
    session = made.session
    if made.hears or made.kind == "chinese_clip":
        for call in (lambda: session.look(GOLDEN / "cat.jpg"), lambda: session.things):
            with pytest.raises(MmedgeError, match="does not see" if made.hears else "not asked about ImageNet"):
                call()
        return
    view = session.look(made.items)
    np.testing.assert_allclose(view.probabilities, np.mean([session.look(path).probabilities for path in made.items], 0), atol=1e-6)
    assert abs(float(view.probabilities.sum()) - 1) < 1e-3 and len(session.recognise(view)) == 5
    chance, covered = session.presence(view, "zorgelflump")
    assert 0 <= chance <= 1 and covered


def test_verbs_of_another_sense(made):
    calls = {
        "does not see": [lambda: made.session.embed_image(GOLDEN / "cat.jpg"), lambda: made.session.pixels(GOLDEN / "cat.jpg")],
        "does not hear": [lambda: made.session.embed_audio(GOLDEN / "question.wav")],
    }
    for call in calls["does not see" if made.hears else "does not hear"]:
        with pytest.raises(MmedgeError, match="see"):
            call()
    if not made.hears:
        with pytest.raises(MmedgeError, match=r"takes (patches|whole pictures)"):
            (made.session.pixels if made.kind == "siglip2" else made.session.patches)(GOLDEN / "cat.jpg")
