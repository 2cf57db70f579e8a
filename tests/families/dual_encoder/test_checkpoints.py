"""Checkpoints that lack something, do not fit together, or are damaged."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from checkpoints import dual_encoder
from checks import export_folder, on_one_thread

from mmedge.build.golden import media
from mmedge.build.trace import trace
from mmedge.errors import MmedgeError
from mmedge.families.dual_encoder import Config, Options, assets, graphs
from mmedge.families.dual_encoder import lacks as missing
from mmedge.families.dual_encoder.export import export
from mmedge.families.dual_encoder.session import Session
from mmedge.family import Allow

from .conftest import GOLDEN, KINDS

pytestmark = pytest.mark.full


@pytest.fixture(scope="module", params=KINDS)
def bare(request, tmp_path_factory):
    """(kind, model, what export makes of a folder with nothing but config and weights)."""
    on_one_thread()
    folder = tmp_path_factory.mktemp("bare")
    return request.param, KINDS[request.param](folder, complete=False), export(folder, Options(), media())


def test_graphs_come_out_of_weights_alone(bare, tmp_path):
    kind, _, exported = bare
    assert set(exported.graphs) == set(graphs(exported.config)) and not exported.assets and assets(exported.config) == ()
    if kind == "clip":  # the others differ in their examples alone from those that are traced elsewhere
        assert trace("text_encoder", exported.graphs["text_encoder"], tmp_path / "text_encoder.onnx")[2] <= 1


def test_made_up_tokens_tell_texts_apart(bare):
    import torch

    _, model, exported = bare
    graph = exported.graphs["text_encoder"]
    with torch.no_grad():
        rows = graph.module(**graph.inputs)
    assert len({tuple(row) for row in graph.inputs["input_ids"].tolist()}) == len(rows)
    assert torch.cdist(rows, rows).fill_diagonal_(9).min() > 0.005
    assert int(graph.inputs["input_ids"].max()) < model.config.text_config.vocab_size


def test_verbs_say_what_is_missing(bare):
    kind, _, exported = bare
    config = Config(**exported.config.model_dump())
    session = Session(dict.fromkeys(graphs(config)), {}, config)
    hears = kind.startswith("clap")
    item, embed = (GOLDEN / "question.wav", session.embed_audio) if hears else (GOLDEN / "cat.jpg", session.embed_image)
    with pytest.raises(MmedgeError, match="had no feature extractor" if hears else "had no image processor") as caught:
        embed(item)
    assert "preprocessor_config.json" in caught.value.fix and "export again" in caught.value.fix
    for call in (
        lambda: session.embed_text("a cat"),
        lambda: session.tokens("a cat"),
        lambda: session.classify(item, ["a"]),
        lambda: session.rank(item, ["a"]),
    ):
        with pytest.raises(MmedgeError, match="had no tokenizer") as caught:
            call()
        assert "tokenizer.json" in caught.value.fix
    if not hears:
        with pytest.raises(MmedgeError, match="had no tokenizer"):
            session.recognise(item)


class Untraced:
    """The torch module of a graph in a runner's place."""

    def __init__(self, graph):
        self._graph = graph

    def run(self, feeds):
        import torch

        with torch.no_grad():
            output = self._graph.module(**{name: torch.from_numpy(array) for name, array in feeds.items()})
        return {self._graph.outputs[0]: output.numpy()}


@pytest.mark.parametrize(("lacks", "verb"), [("tokenizer", "embed_image"), ("preprocessor", "embed_text")])
def test_half_of_the_verbs_with_half_of_the_files(tmp_path, lacks, verb):
    """A picture of another size than the usual 224, too."""
    folder = tmp_path / "clip"
    dual_encoder.make_clip(folder, side=48)
    for path in folder.glob(f"{lacks}*"):
        path.unlink()
    exported = export(folder, Options(), media())
    for name, content in exported.assets.items():
        (tmp_path / name).write_bytes(content)
    session = Session({name: Untraced(graph) for name, graph in exported.graphs.items()}, {name: tmp_path / name for name in exported.assets}, exported.config)
    if verb == "embed_image":
        assert session.pixels(GOLDEN / "cat.jpg").shape == (1, 3, 48, 48) and abs(np.linalg.norm(session.embed_image(GOLDEN / "cat.jpg")) - 1) < 1e-5
    else:
        assert session.embed_text(["a cat", "a dog"]).shape == (2, 24) and session.things.find("cats") == "cat"
    part, gone = ("tokenizer", "embed_text") if lacks == "tokenizer" else ("image processor", "embed_image")
    assert missing(exported.config) == {part: (gone, "classify", "rank", "recognise")}
    with pytest.raises(MmedgeError, match=f"had no {part}"):
        session.classify(GOLDEN / "cat.jpg", ["a cat"])


def test_processors_may_lie_in_processor_config(tmp_path):
    """As transformers 5 writes them."""
    import transformers

    dual_encoder.make_siglip2(tmp_path)
    dual_encoder.make_clap(tmp_path / "clap")
    expected = export(tmp_path, Options(), media()).config, export(tmp_path / "clap", Options(), media()).config
    for folder, kind, part in ((tmp_path, "AutoImageProcessor", "image_processor"), (tmp_path / "clap", "AutoFeatureExtractor", "feature_extractor")):
        settings = getattr(transformers, kind).from_pretrained(folder).to_dict()
        (folder / "processor_config.json").write_text(json.dumps({part: settings}))
        (folder / "preprocessor_config.json").unlink()
    assert (export(tmp_path, Options(), media()).config, export(tmp_path / "clap", Options(), media()).config) == expected
    assert expected[0].image is not None and expected[1].sound is not None


@pytest.mark.parametrize(
    ("kind", "file", "change", "what"),
    [
        ("clip", "preprocessor_config.json", {"crop_size": {"height": 40, "width": 40}}, "makes 40 x 40 pixels, the model takes 32 x 32"),
        ("siglip2", "preprocessor_config.json", {"patch_size": 16}, "makes 16 x 16 pixels, the model takes 8 x 8"),
        ("siglip2", "preprocessor_config.json", {"do_resize": False}, "not resized"),
        ("clap", "preprocessor_config.json", {"truncation": "fusion"}, "truncation fusion; the model takes 64, rand_trunc"),
        ("clap", "preprocessor_config.json", {"truncation": "middle"}, "of a kind mmedge does not know"),
        ("clap", "preprocessor_config.json", {"max_length_s": 9}, "gives 901 frames, the model takes 256"),
        ("clip", "preprocessor_config.json", None, "cannot be read as JSON"),
        ("clip", "tokenizer.json", None, "is no tokenizer"),
        ("clip", "config.json", {"model_type": "bert"}, "is a bert model"),
    ],
)
def test_what_does_not_fit_together(tmp_path, kind, file, change, what):
    KINDS[kind](tmp_path)
    path = tmp_path / file
    path.write_text("{" if change is None else json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(MmedgeError) as caught:
        export(tmp_path, Options(), media())
    assert what in caught.value.what


def test_weights_must_be_all_there_and_no_more(tmp_path):
    from safetensors.torch import load_file, save_file

    good = tmp_path / "good"
    dual_encoder.make_clip(good)

    def refused(what, change, allow=None):
        folder = tmp_path / "bad"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(good, folder)
        weights = load_file(folder / "model.safetensors")
        change(folder, weights)
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        if allow:
            assert export(folder, Options(), media(), allow).graphs
        with pytest.raises(MmedgeError) as caught:
            export(folder, Options(), media())
        assert what in caught.value.what

    refused("visual_projection.weight", lambda folder, weights: weights.pop("visual_projection.weight"))
    refused(
        "audio_projection.weight",
        lambda folder, weights: weights.update({"audio_projection.weight": weights["visual_projection.weight"] + 1}),
        Allow(weights=True),
    )
    (good / "config.json").unlink()
    with pytest.raises(MmedgeError, match="holds neither"):
        export(good, Options(), media())


@pytest.mark.slow
def test_clip_vit_b_32_at_its_real_size(tmp_path):
    """Random weights at the sizes of openai/clip-vit-base-patch32: embeddings and probabilities as transformers' own forward."""
    import torch
    import transformers
    from checkpoints import spread
    from PIL import Image

    folder = tmp_path / "clip"
    dual_encoder.make_clip(folder)
    text = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}
    model = spread(transformers.CLIPModel(transformers.CLIPConfig(text_config=text)), scale=0.4)
    with torch.no_grad():
        model.logit_scale.fill_(4.6052)
    model.save_pretrained(folder)
    processor = transformers.CLIPImageProcessorPil()
    processor.save_pretrained(folder)
    bundle = export_folder(folder, tmp_path / "clip.bundle", "dual_encoder", "cpu", "intel-cpu")
    pictures, labels = [GOLDEN / "cat.jpg", GOLDEN / "coffee.jpg"], [*dual_encoder.CAPTIONS]
    tokens = transformers.AutoTokenizer.from_pretrained(folder)(labels, padding=True, return_tensors="pt")
    with torch.inference_mode():
        pixels = processor([Image.open(path) for path in pictures], return_tensors="pt")
        output = model(**pixels, input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"])
    likely = output.logits_per_image.softmax(-1).numpy()
    assert np.abs(likely[0] - likely[1]).max() > 1e-3
    with bundle.session("dual_encoder", "cpu") as session:
        np.testing.assert_allclose(np.stack([session.embed_image(path) for path in pictures]), output.image_embeds.numpy(), atol=1e-4)
        np.testing.assert_allclose(session.embed_text(labels), output.text_embeds.numpy(), atol=1e-4)
        for path, row in zip(pictures, likely):
            found = dict(session.classify(path, labels))
            np.testing.assert_allclose([found[label] for label in labels], row, atol=2e-3)
