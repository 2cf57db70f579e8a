"""Named faults of graphs and files, planted with the right checksums where somebody could make them: no command takes the bundle, and each names what is wrong.

Those of quantized graphs are in test_quantized.py.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from deploy.planted import model as planted_model
from faults import planting
from faults.kinds import HALVES
from onnx import TensorProto, helper, numpy_helper
from tampering import edit, swap

from mmedge.backends import openvino
from mmedge.optimize.proto import tidy

pytestmark = pytest.mark.full

GRAPH = ("models", "eyes", "graphs", "image_encoder")


def path_of(bundle, name):
    return bundle / planting.manifest(bundle)["models"][planting.role_of(bundle)]["graphs"][name]["file"]["path"]


class TestDroppedGraph:
    """One of a model's graphs is not there."""

    def test_its_file(self, clip, refused):
        path_of(clip, "text_encoder").unlink()
        for command in (["inspect", clip], ["check", clip, "-t", "cpu"]):
            what, _ = refused(*command)
            assert "text_encoder" in what and "is missing from the bundle" in what

    def test_its_entry(self, clip, refused):
        graphs = planting.manifest(clip)["models"]["dual_encoder"]["graphs"]
        edit(clip, ("models", "dual_encoder", "graphs"), {name: one for name, one in graphs.items() if name != "text_encoder"})
        for command in (["inspect", clip], ["check", clip, "-t", "cpu"]):
            assert "the model 'dual_encoder' lacks its text_encoder" in refused(*command)[0]

    def test_its_placement(self, clip, refused):
        placed = planting.manifest(clip)["engines"]["cpu"]
        edit(clip, ("engines", "cpu"), {name: one for name, one in placed.items() if "text" not in name})
        what, fix = refused("check", clip, "-t", "cpu")
        assert "dual_encoder/text_encoder" in what and f"mmedge compile {clip}" in fix

    def test_the_variant_that_it_is_placed_as(self, clip, refused):
        edit(clip, ("engines", "cpu", "dual_encoder/text_encoder", "made_of"), "0" * 64)
        assert "dual_encoder/text_encoder is placed as a file that" in refused("check", clip, "-t", "cpu")[0]


def halved(model, kind="bfloat16"):
    """Every product is rounded to 16 bits, as where a runtime computes in them."""
    for node in [node for node in model.graph.node if node.op_type in ("MatMul", "Gemm", "Conv")]:
        result = node.output[0]
        node.output[0] = f"{result} wide"
        model.graph.node.extend(
            [
                helper.make_node("Cast", [f"{result} wide"], [f"{result} half"], to=HALVES[kind]),
                helper.make_node("Cast", [f"{result} half"], [result], to=TensorProto.FLOAT),
            ]
        )
    tidy(model)  # nodes in order
    return model


class TestBf16PassedOffAsF32:
    """A placement says fp32, and 16 bits are computed in."""

    def test_a_variant_in_the_place_of_the_graph(self, clip, fails):
        planting.variant(clip, "image_encoder", halved(planting.load(clip, "image_encoder")), "bf16", placed_as="fp32")
        what = fails(clip)
        assert "dual_encoder/image_encoder" in what and "fp32" in what

    def test_the_graph_itself(self, clip, fails):
        planting.graph(clip, "image_encoder", halved)
        what = fails(clip)
        assert "first graph dual_encoder/image_encoder" in what and "ort fp32" in what

    def test_a_runtime_that_takes_it_upon_itself(self, clip, fails, monkeypatch):
        if "bf16" not in openvino.probe().features:
            pytest.skip("OpenVINO computes in bf16 only where the CPU has instructions for it")
        role = planting.role_of(clip)
        for name, placed in planting.manifest(clip)["engines"]["intel-cpu"].items():
            edit(clip, ("engines", "intel-cpu", name), {**placed, "backend": "openvino", "precision": "fp32", "made_of": None})
        monkeypatch.setitem(openvino.HINTS, "fp32", "bf16")
        assert f"first precision {role}/image_encoder: bf16 (bound fp32)" in fails(clip, "intel-cpu")

    def test_an_option_of_the_target_does_not_do_it(self, clip, mmedge, tmp_path):
        """OpenVINO's own property in a target file does not override what was placed."""
        text = 'schema = "mmedge.target/1"\nname = "sly"\nsummary = ""\nbackends = ["openvino"]\nmax_opset = 18\nmax_ir = 10\n'
        (tmp_path / "sly.toml").write_text(f'{text}[options.openvino]\nINFERENCE_PRECISION_HINT = "bf16"\n')
        assert mmedge("compile", clip, "-t", tmp_path / "sly.toml")[0] == 0
        status, _, said = mmedge("check", clip, "-t", tmp_path / "sly.toml")
        assert status == 0, said


class TestTruncatedWeights:
    """A file ends too early."""

    @pytest.mark.parametrize("kind", ["file", "weights"])
    def test_as_it_happens(self, damaged, refused, kind):
        bundle = damaged("WhisperForConditionalGeneration")
        path = bundle / planting.manifest(bundle)["models"]["speech"]["graphs"]["encoder"][kind]["path"]
        with path.open("rb+") as file:
            file.truncate(path.stat().st_size - 100)
        for command in (["inspect", bundle], ["check", bundle, "-t", "cpu"]):
            what, _ = refused(*command)
            assert path.name in what and "is damaged" in what

    @pytest.mark.parametrize("kind", ["file", "weights"])
    @pytest.mark.parametrize("target", ["cpu", "intel-cpu"])
    def test_with_the_right_checksum(self, damaged, refused, kind, target):
        bundle = damaged("WhisperForConditionalGeneration")
        where = ("models", "speech", "graphs", "encoder", kind)
        path = bundle / planting.manifest(bundle)["models"]["speech"]["graphs"]["encoder"][kind]["path"]
        swap(bundle, where, path.read_bytes()[: path.stat().st_size // 2])
        for name, graph in planting.manifest(bundle)["models"]["speech"]["graphs"].items():
            if kind == "weights":
                edit(
                    bundle,
                    ("models", "speech", "graphs", name, "weights"),
                    {**graph["weights"], **planting.manifest(bundle)["models"]["speech"]["graphs"]["encoder"]["weights"]},
                )
        what, _ = refused("check", bundle, "-t", target)
        assert "encoder" in what

    def test_filled_up_with_zeros(self, damaged, fails):
        bundle = damaged("WhisperForConditionalGeneration")
        weights = planting.manifest(bundle)["models"]["speech"]["graphs"]["encoder"]["weights"]["path"]
        content = (bundle / weights).read_bytes()
        content = content[: len(content) // 2].ljust(len(content), b"\0")
        for name in planting.manifest(bundle)["models"]["speech"]["graphs"]:
            swap(bundle, ("models", "speech", "graphs", name, "weights"), content)
        assert "graph speech/" in fails(bundle)


def opset(model, version):
    model.opset_import[0].version = version
    return model


class TestMislabelledOpset:
    """A graph says that it is of another version of ONNX than its nodes are."""

    def test_the_file_and_its_manifest_differ(self, clip, refused):
        """A target would take what it cannot read."""
        planting.graph(clip, "image_encoder", partial(opset, version=21))
        for command in (["inspect", clip], ["check", clip, "-t", "cpu"], ["compile", clip, "-t", "jetson"]):
            what, _ = refused(*command)
            assert "image_encoder" in what and "opset 21" in what and "opset 18" in what

    def test_an_older_one_that_lacks_its_operators(self, clip, refused):
        planting.graph(clip, "image_encoder", partial(opset, version=16))
        edit(clip, (*planting.entry(clip, "image_encoder"), "opset"), 16)
        what, _ = refused("check", clip, "-t", "cpu")
        assert "image_encoder" in what and "onnxruntime" in what and "schema" in what

    def test_one_in_which_an_operator_means_something_else(self, toy_bundle, mmedge, fails):
        """Before opset 13, Softmax took all axes from its own on for one."""
        nodes = [
            helper.make_node("GlobalAveragePool", ["pixel_values"], ["mean"]),
            helper.make_node("Flatten", ["mean"], ["flat"]),
            helper.make_node("Mul", ["mean", "zero"], ["zeros"]),
            helper.make_node("Concat", ["zeros"] * 4, ["wide"], axis=3),
            helper.make_node("Softmax", ["wide"], ["shares"], axis=1),
            helper.make_node("GlobalAveragePool", ["shares"], ["share"]),
            helper.make_node("Flatten", ["share"], ["twelfth"]),
            helper.make_node("Mul", ["twelfth", "24"], ["two"]),
            helper.make_node("Mul", ["flat", "two"], ["doubled"]),
            helper.make_node("Sub", ["doubled", "1"], ["image_embedding"]),
        ]
        weights = [numpy_helper.from_array(np.array(value, np.float32), name) for name, value in (("zero", 0), ("24", 24), ("1", 1))]
        for label in (11, 18):
            swap(toy_bundle, (*GRAPH, "file"), opset(planted_model(nodes, weights), label).SerializeToString())
            edit(toy_bundle, (*GRAPH, "opset"), label)
            if label == 11:
                status, _, said = mmedge("check", toy_bundle, "-t", "cpu")
                assert status == 0, said
        assert "first graph eyes/image_encoder" in fails(toy_bundle)

    def test_the_numbers_of_the_manifest_alone(self, clip, refused):
        edit(clip, (*planting.entry(clip, "image_encoder"), "opset"), 17)
        assert "opset 18" in refused("inspect", clip)[0]
        edit(clip, (*planting.entry(clip, "image_encoder"), "opset"), 18)
        edit(clip, (*planting.entry(clip, "image_encoder"), "ir"), 8)
        assert "IR 10" in refused("inspect", clip)[0]
