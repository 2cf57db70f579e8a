"""Folders of optimum's signature and bare files: run by their verbs, equal to the files as they were, and refused where they are not whole."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import pytest
from checkpoints import sources
from checks import distinct, export_folder, graph_drift
from onnx import TensorProto, helper, numpy_helper

from mmedge.build.golden import media
from mmedge.errors import GateFailed, MmedgeError
from mmedge.families.onnx import Config, Options, layout, surgery
from mmedge.families.onnx.export import export
from mmedge.generate.decode import Sampling
from mmedge.recipe import Model, Recipe

SHORT = Sampling(max_tokens=20)


def session(bundle):
    return bundle.session("onnx", target="cpu")


@pytest.mark.full
@pytest.mark.parametrize("make", [sources.make_speech, partial(sources.make_speech, merged=False, external=True)], ids=["merged", "pair, external data"])
def test_whisper(make, tmp_path):
    make(tmp_path / "folder")
    bundle = export_folder(tmp_path / "folder", tmp_path / "bundle", "onnx", "cpu", "intel-cpu")
    model = bundle.manifest.models["onnx"]
    assert list(model.graphs) == ["encoder", "cross", "decoder"] and model.config["start"] == [0, 2, 4, 4]
    decoder = onnx.load(bundle.file(model.graphs["decoder"].file))
    assert not any(node.op_type == "If" for node in decoder.graph.node)
    assert [spec.name for spec in model.graphs["decoder"].inputs][1:] == ["past_key_0", "past_value_0", "cross_key_0", "cross_value_0"]
    assert all(graph_drift(bundle, "onnx", name, backend) <= 1 for name in model.graphs for backend in ("ort", "openvino", "ref"))
    with session(bundle) as ears:
        said = [ears.transcribe(media()[name], sampling=SHORT) for name in ("question", "remark")]
        assert said == [case.expected for case in model.cases] and distinct(said) and all(said)
        twice = ears.transcribe((np.tile(np.sin(np.arange(16_000, dtype=np.float32)), 40), 16_000), sampling=SHORT)
        assert len(twice.split()) >= 1


@pytest.mark.full
def test_a_folder_too_large_for_memory(tmp_path, monkeypatch):
    """Weights stay in their files until they are written into the bundle's one."""
    sources.make_speech(tmp_path / "folder", merged=False, external=True)
    small = export_folder(tmp_path / "folder", tmp_path / "small", "onnx")
    monkeypatch.setattr("mmedge.families.onnx.surgery.is_small", lambda model: False)
    monkeypatch.setattr("mmedge.build.graphs.LARGE_BYTES", 0)
    bundle = export_folder(tmp_path / "folder", tmp_path / "bundle", "onnx")
    model = bundle.manifest.models["onnx"]
    assert all(graph.weights for graph in model.graphs.values()) and not any(graph.weights for graph in small.manifest.models["onnx"].graphs.values())
    with session(bundle) as ears, session(small) as same:
        assert ears.transcribe(media()["question"], sampling=SHORT) == same.transcribe(media()["question"], sampling=SHORT) == model.cases[0].expected


def test_a_language_is_an_option(tmp_path):
    sources.make_speech(tmp_path / "folder")
    exported = export(tmp_path / "folder", Options(language="de"), media())
    assert exported.config.start == (0, 3, 4, 4)
    with pytest.raises(MmedgeError, match="does not know the language 'fr'") as caught:
        export(tmp_path / "folder", Options(language="fr"), media())
    assert "de, en" in caught.value.fix


def test_a_captioner(tmp_path):
    sources.make_captioner(tmp_path / "folder")
    bundle = export_folder(tmp_path / "folder", tmp_path / "bundle", "onnx")
    with session(bundle) as eyes:
        pieces: list[str] = []
        said = [eyes.caption(media()[name], sampling=SHORT, on_text=pieces.append) for name in ("cat", "coffee")]
        assert said == [case.expected for case in bundle.manifest.models["onnx"].cases] and distinct(said)
        assert "".join(pieces).replace(" ", "") == "".join(said).replace(" ", "")


def test_a_chat_model(tmp_path):
    sources.make_chat(tmp_path / "folder")
    bundle = export_folder(tmp_path / "folder", tmp_path / "bundle", "onnx")
    model = bundle.manifest.models["onnx"]
    with session(bundle) as mind:
        texts = [media()[name] for name in ("text_3", "text_2")]
        assert [mind.chat(text, sampling=SHORT) for text in texts] == [case.expected for case in model.cases]
        assert mind.chat([{"role": "user", "content": texts[0]}], sampling=SHORT) == model.cases[0].expected
        with pytest.raises(MmedgeError, match="the prompt has"):
            mind.chat("a" * 100)
        with pytest.raises(MmedgeError, match="this chat model cannot transcribe"):
            mind.transcribe(media()["question"])


@pytest.mark.parametrize("apart", [False, True])
def test_an_image_text_model(tmp_path, apart):
    sources.make_dual(tmp_path / "folder", apart=apart)
    bundle = export_folder(tmp_path / "folder", tmp_path / "bundle", "onnx")
    inputs = {name: [spec.name for spec in graph.inputs] for name, graph in bundle.manifest.models["onnx"].graphs.items()}
    assert inputs == {"image_encoder": ["pixel_values"], "text_encoder": ["input_ids", "attention_mask"]}
    with session(bundle) as eyes:
        image, text = eyes.embed_image(media()["cat"]), eyes.embed_text(["a cat", "a cup"])
        assert image.shape == (8,) and text.shape == (2, 8) and np.allclose(np.linalg.norm(text, axis=1), 1)
        assert np.array_equal(eyes.embed_text("a cat"), eyes.embed_text(["a cat"])[0])
        ranked = eyes.classify(media()["cat"], ["a cat", "a cup"])
        scores = np.exp(100 * text @ image)
        assert dict(ranked)["a cat"] == pytest.approx(float(scores[0] / scores.sum()), abs=1e-4)
        with pytest.raises(MmedgeError, match="no labels of its own"):
            eyes.classify(media()["cat"])


@pytest.mark.parametrize(("takes", "item", "other"), [("image", "cat", "coffee"), ("text", "text_1", "text_2"), ("audio", "question", "remark")])
def test_a_classifier(tmp_path, takes, item, other):
    sources.make_classifier(tmp_path / "folder", takes)
    bundle = export_folder(tmp_path / "folder", tmp_path / "bundle", "onnx")
    with session(bundle) as classifier:
        chances = dict(classifier.classify(media()[item]))
        assert set(chances) == {"low", "middle", "high"} and sum(chances.values()) == pytest.approx(1)
        assert chances != dict(classifier.classify(media()[other]))
        with pytest.raises(MmedgeError, match="labels of its own"):
            classifier.classify(media()[item], ["a"])


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
    bundle = export_folder(tmp_path / "folder", tmp_path / "bundle", "onnx")
    with session(bundle) as model, pytest.raises(MmedgeError, match=f"exported without a {lacks}") as caught:
        getattr(model, verb)(media()[item])
    assert "export again" in caught.value.fix


def break_decoder(folder, change):
    path = folder / "decoder_with_past_model.onnx"
    model = onnx.load(path)
    change(model.graph)
    onnx.save(model, path)


def shift_cache(graph):
    """Of the past, all but the first row counts."""
    for node in graph.node:
        if list(node.input) == ["past_key_values.0.decoder.key", "knew"]:
            node.input[0] = "knew"


def drop_sound(graph):
    node = next(node for node in graph.node if node.output[0] == "h3")
    node.op_type, node.input[1] = "Add", "h2"


def permute_positions(graph):
    places = next(one for one in graph.initializer if one.name == "places")
    places.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(places)[::-1].copy(), "places"))


@pytest.mark.parametrize("change", [shift_cache, drop_sound, permute_positions])
def test_a_decoder_that_computes_something_else_is_noticed(tmp_path, change):
    sources.make_speech(tmp_path, merged=False)
    break_decoder(tmp_path, change)
    with pytest.raises(GateFailed, match=r"with a cache differs from decoder_model\.onnx"):
        export(tmp_path, Options(), media())


@pytest.mark.full
def test_a_decoder_traced_for_one_token_reads_its_prompt_token_by_token(tmp_path):
    def for_one(graph):
        graph.initializer.append(numpy_helper.from_array(np.array(1, np.int64), "fixed"))
        next(node for node in graph.node if node.output[0] == "count").CopyFrom(helper.make_node("Identity", ["fixed"], ["count"]))

    sources.make_speech(tmp_path / "folder", merged=False)
    break_decoder(tmp_path / "folder", for_one)
    bundle = export_folder(tmp_path / "folder", tmp_path / "bundle", "onnx")
    assert bundle.manifest.models["onnx"].config["at_once"] is False


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


def write(path: Path, shape=("batch", 3, "height", "width"), dtype=TensorProto.FLOAT, domain: str = "") -> Path:
    graph = helper.make_graph(
        [helper.make_node("GlobalAveragePool", ["x"], ["y"], domain=domain)],
        "g",
        [helper.make_tensor_value_info("x", dtype, shape)],
        [helper.make_tensor_value_info("y", dtype, [shape[0], 3, 1, 1])],
    )
    imports = [helper.make_opsetid("", 18), *([helper.make_opsetid(domain, 1)] if domain else [])]
    onnx.save(helper.make_model(graph, opset_imports=imports, ir_version=10), path)
    return path


def file_recipe(path: Path, **options):
    return Recipe(name="one", models={"onnx": Model(family="onnx", file=str(path), options=options)})


def exported(path: Path, tmp_path: Path, **options):
    from mmedge.build.export import export as build
    from mmedge.target import Target

    return build(file_recipe(path, **options), tmp_path / "bundle", [Target.load("cpu")], report=lambda line: None)


def test_a_bare_file(tmp_path):
    bundle = exported(write(tmp_path / "Mean-Colour.onnx"), tmp_path)
    graph = bundle.manifest.models["onnx"].graphs["mean_colour"]
    assert [spec.shape for spec in graph.inputs] == [("batch", 3, "height", "width")]
    x = np.random.default_rng(0).standard_normal((2, 3, 5, 7)).astype(np.float32)
    with session(bundle) as model:
        assert np.allclose(model.run("mean_colour", x=x)["y"][..., 0, 0], x.mean((2, 3)), atol=1e-6)
        with pytest.raises(MmedgeError, match="there is no graph 'other'"):
            model.run("other", x=x)
        with pytest.raises(MmedgeError, match="the graph has no input z"):
            model.run("mean_colour", x=x, z=x)
        with pytest.raises(MmedgeError, match="this plain model cannot caption"):
            model.caption(media()["cat"])


def test_a_bare_file_with_other_names_and_sizes(tmp_path):
    bundle = exported(write(tmp_path / "m.onnx"), tmp_path, graph="mean", inputs={"x": "pixels"}, outputs={"y": "colour"}, sizes={"height": 6, "width": 9})
    from mmedge.evaluate.golden import Golden

    feeds, reference = Golden(bundle, "onnx").graph("mean")
    assert feeds["pixels"].shape == (1, 3, 6, 9) and reference["colour"].shape == (1, 3, 1, 1)
    assert graph_drift(bundle, "onnx", "mean", "openvino") <= 1
    with pytest.raises(MmedgeError, match="has no input z") as caught:
        exported(tmp_path / "m.onnx", tmp_path, inputs={"z": "pixels"})
    assert caught.value.fix == "it has: x"


def test_golden_feeds_follow_names_and_types(tmp_path):
    specs = {
        "ids": (TensorProto.INT64, ["batch", "n"]),
        "mask": (TensorProto.INT64, ["batch", "n + past"]),
        "on": (TensorProto.BOOL, [1]),
        "half": (TensorProto.FLOAT16, [2, "n"]),
    }
    inputs = [helper.make_tensor_value_info(name, *spec) for name, spec in specs.items()]
    outputs = [helper.make_tensor_value_info(f"{name}_out", *spec) for name, spec in specs.items()]
    graph = helper.make_graph([helper.make_node("Identity", [name], [f"{name}_out"]) for name in specs], "g", inputs, outputs)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), tmp_path / "m.onnx")
    feeds = export(tmp_path / "m.onnx", Options(sizes={"n": 4}), media()).graphs["m"].feeds
    assert {name: (array.dtype.name, array.shape) for name, array in feeds.items()} == {
        "ids": ("int64", (1, 4)), "mask": ("int64", (1, 12)), "on": ("bool", (1,)), "half": ("float16", (2, 4)),
    }  # fmt: skip
    assert feeds["mask"].min() == 1 and set(feeds["ids"].ravel()) == {0, 1} and feeds["half"].std() > 0


def broken(path: Path, what: str) -> Path:
    write(path)
    content = path.read_bytes()
    if what == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif what == "text":
        path.write_text("hello")
    elif what == "operator":
        write(path, domain="com.example")
    elif what == "nan":
        graph = helper.make_graph([helper.make_node("Log", ["x"], ["y"])], "g", [sources.value("x", 4)], [sources.value("y", 4)])
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    elif what == "sequence":
        graph = helper.make_graph(
            [helper.make_node("SequenceConstruct", ["x"], ["y"])],
            "g",
            [sources.value("x", 4)],
            [helper.make_tensor_sequence_value_info("y", TensorProto.FLOAT, [4])],
        )
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    return path


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("cut", "is not a valid ONNX file"),
        ("text", "is not a valid ONNX file"),
        ("operator", "cannot be opened by ONNX Runtime"),
        ("nan", "gives NaN or infinity in y"),
        ("sequence", "y is no tensor with a shape"),
    ],
)
def test_files_that_are_none(tmp_path, what, said):
    with pytest.raises(MmedgeError, match=said):
        export(broken(tmp_path / "m.onnx", what), Options(), media())


def test_a_file_that_needs_sizes_says_how_to_name_them(tmp_path):
    graph = helper.make_graph(
        [helper.make_node("Reshape", ["x", "shape"], ["y"])],
        "g",
        [sources.value("x", "n")],
        [sources.value("y", 3, "m")],
        [numpy_helper.from_array(np.array([3, -1]), "shape")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), tmp_path / "m.onnx")
    with pytest.raises(MmedgeError, match=r"m on x \[8\]: it does not run") as caught:
        export(tmp_path / "m.onnx", Options(), media())
    assert "sizes" in caught.value.fix
    export(tmp_path / "m.onnx", Options(sizes={"n": 6}), media())


def test_other_folders_are_taken_graph_by_graph(tmp_path):
    (tmp_path / "onnx").mkdir()
    write(tmp_path / "onnx" / "unet.onnx")
    write(tmp_path / "onnx" / "vae decoder.onnx")
    (tmp_path / "onnx" / "unet_quantized.onnx").write_text("never read")
    exported = export(tmp_path, Options(), media())
    assert isinstance(exported.config, Config) and exported.config.graphs == ("unet", "vae_decoder")


def test_a_damaged_config(tmp_path):
    sources.make_chat(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(MmedgeError, match="cannot be read as JSON"):
        export(tmp_path, Options(), media())
    (tmp_path / "config.json").write_text(json.dumps({}))
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(MmedgeError, match="is no tokenizer"):
        export(tmp_path, Options(), media())


def test_old_files_list_their_weights_as_inputs(tmp_path):
    path = write(tmp_path / "m.onnx", shape=(1, 3, 4, 4))
    model = onnx.load(path)
    model.graph.node[0].output[0] = "z"
    model.graph.node.append(helper.make_node("Add", ["z", "w"], ["y"]))
    model.graph.initializer.append(numpy_helper.from_array(np.ones((1, 3, 1, 1), np.float32), "w"))
    model.graph.input.append(sources.value("w", 1, 3, 1, 1))
    onnx.save(model, path)
    assert list(export(path, Options(), media()).graphs["m"].feeds) == ["x"] and surgery.input_names(surgery.read(path)) == ["x"]
