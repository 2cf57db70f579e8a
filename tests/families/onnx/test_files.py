"""Bare ONNX files, with a few lines of recipe or without, and folders of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from checkpoints import sources
from checks import graph_drift
from onnx import TensorProto, helper, numpy_helper

from mmedge.build.export import export as build
from mmedge.build.golden import media
from mmedge.errors import MmedgeError
from mmedge.families.onnx import Config, Options, surgery
from mmedge.families.onnx.export import export
from mmedge.recipe import Model, Recipe
from mmedge.target import Target


def session(bundle):
    return bundle.session("onnx", target="cpu")


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


def test_old_files_list_their_weights_as_inputs(tmp_path):
    path = write(tmp_path / "m.onnx", shape=(1, 3, 4, 4))
    model = onnx.load(path)
    model.graph.node[0].output[0] = "z"
    model.graph.node.append(helper.make_node("Add", ["z", "w"], ["y"]))
    model.graph.initializer.append(numpy_helper.from_array(np.ones((1, 3, 1, 1), np.float32), "w"))
    model.graph.input.append(sources.value("w", 1, 3, 1, 1))
    onnx.save(model, path)
    assert list(export(path, Options(), media()).graphs["m"].feeds) == ["x"] and surgery.input_names(surgery.read(path)) == ["x"]
