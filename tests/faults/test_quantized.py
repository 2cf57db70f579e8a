"""Two named faults of quantized graphs: what a maker may hand over, and what somebody puts into a bundle past the gate."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
from evaluate.data_sets import json_lines, png, write
from faults import planting
from onnx import TensorProto, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from quantized_toy import quantized_toy
from tampering import edit, swap

from mmedge.bundle import Bundle
from mmedge.errors import MmedgeError
from mmedge.evaluate.golden import Golden
from mmedge.evaluate.recorded import pack_outputs
from mmedge.optimize import proposals
from mmedge.optimize.made import Made
from mmedge.optimize.rounding import run

pytestmark = pytest.mark.full

TARGET = """schema = "mmedge.target/1"
name = "careless"
summary = ""
backends = ["ort"]
max_opset = 18
max_ir = 10

[precisions]
ort = ["fp32"]

[[quantize.ort]]
method = "static"
"""
ENTRY = ("models", "dual_encoder", "graphs", "image_encoder")


class OneOfNoise(CalibrationDataReader):
    """A single sample that no camera ever gave."""

    def __init__(self, shape):
        self.left = [{"pixel_values": np.random.default_rng(0).normal(0, 0.05, shape).astype(np.float32)}]

    def get_next(self):
        return self.left.pop() if self.left else None


def all_int8(source, out):
    """Everything in 8 bits, one scale for a whole tensor, ranges of one random sample."""
    kinds = {"activation_type": QuantType.QInt8, "weight_type": QuantType.QInt8}
    quantize_static(source, out, OneOfNoise((1, 3, 32, 32)), quant_format=QuantFormat.QDQ, per_channel=False, **kinds)
    return out


def nan_scale(source, out, count=1):
    """The same with a scale that is no number: what is rounded behind it is finite again."""
    model = onnx.load(all_int8(source, out))
    scales = [one for one in model.graph.initializer if one.name.endswith("_scale") and one.data_type == TensorProto.FLOAT]
    for scale in scales[:count]:
        scale.CopyFrom(numpy_helper.from_array(np.full(tuple(scale.dims), np.nan, np.float32), scale.name))
    onnx.save(model, out)
    return out


def nan_scales(source, out):
    """Every one."""
    return nan_scale(source, out, count=None)


class Careless:
    """A maker that hands over one of these for pictures, whatever it is asked to keep."""

    def __init__(self, fault):
        self._fault = fault

    def make(self, graph, feeds, out, options, keep=frozenset()):
        if "image" not in graph.path.name:
            raise MmedgeError("only pictures", "")
        return Made(self._fault(graph.path, out / "careless.onnx"), None, "int8", "static-minmax", (), 9, 0.1)


@pytest.fixture
def pictures(tmp_path):
    for colour in ("red", "green", "blue", "white"):
        write(tmp_path / "pictures" / f"{colour}.png", png(colour, 40))
    rows = [{"file_name": f"{colour}.png", "text": f"a {colour} house"} for colour in ("red", "green", "blue", "white")]
    json_lines(tmp_path / "pictures" / "metadata.jsonl", rows)
    return tmp_path / "pictures"


@pytest.mark.parametrize(("fault", "why"), [(all_int8, "cosine: "), (nan_scale, "cosine: "), (nan_scales, "is not finite on golden data")])
def test_quantize_refuses_what_a_maker_spoilt(damaged, mmedge, pictures, tmp_path, monkeypatch, fault, why):
    bundle = damaged("CLIPModel")
    (tmp_path / "careless.toml").write_text(TARGET)
    assert mmedge("compile", bundle, "-t", tmp_path / "careless.toml")[0] == 0
    monkeypatch.setattr(proposals, "maker", lambda backend, options: Careless(fault))
    status, out, said = mmedge("quantize", bundle, "-t", tmp_path / "careless.toml", "--data", pictures, "--metric", "cosine", "--json")
    assert status == 0, said
    graphs = planting.manifest(bundle)["quantized"]["careless"]["dual_encoder"]["graphs"]
    (refused,) = [one for one in graphs["image_encoder"]["rated"] if one["name"] == "ort static-minmax"]
    assert (refused["passed"], graphs["image_encoder"]["chosen"]) == (False, "ort fp32") and why in refused["note"]
    assert json.loads(out) and "ort static-minmax is rejected" in said and why in said
    assert all(not one["variants"] for one in planting.manifest(bundle)["models"]["dual_encoder"]["graphs"].values())
    assert mmedge("check", bundle, "-t", tmp_path / "careless.toml")[0] == 0


@pytest.mark.parametrize("fault", [all_int8, nan_scale])
@pytest.mark.parametrize("recorded", [False, True], ids=["bare", "with its own outputs"])
def test_check_refuses_what_was_put_in_past_the_gate(damaged, refused, tmp_path, fault, recorded):
    """Even where it gives what it gave when it was made."""
    path = damaged("CLIPModel")
    made = fault(Bundle.open(path).graph("dual_encoder", "image_encoder").path, tmp_path / "made.onnx")
    planting.variant(path, "image_encoder", onnx.load(made), "int8")
    if recorded:
        outputs = run(made, Golden(Bundle.open(path), "dual_encoder").graph("image_encoder")[0], optimise=True)
        with Bundle.writing(path) as bundle:
            entry = bundle.add("dual_encoder", "outputs.npz", pack_outputs(outputs))
        edit(path, (*ENTRY, "variants", 0, "outputs"), entry.model_dump())
    what, _ = refused("check", path, "-t", "cpu", status=3)
    assert "first task gate dual_encoder/image_encoder" in what and "in int8 without a gate on data that it passed" in what


def test_check_refuses_a_nan_scale_in_what_has_passed(toy_bundle, refused):
    """The choice that was judged, and then damaged: its own outputs tell."""
    quantized_toy(toy_bundle, chosen="ort spare")
    graph = ("models", "eyes", "graphs", "image_encoder")
    where = (*graph, "variants", 1, "file")
    variant = planting.manifest(toy_bundle)["models"]["eyes"]["graphs"]["image_encoder"]["variants"][1]["file"]
    model = onnx.load(toy_bundle / variant["path"])
    scale = next(one for one in model.graph.initializer if one.name == "scale")
    scale.CopyFrom(numpy_helper.from_array(np.array(np.nan, np.float32), "scale"))
    swap(toy_bundle, where, model.SerializeToString())
    sha256 = planting.manifest(toy_bundle)["models"]["eyes"]["graphs"]["image_encoder"]["variants"][1]["file"]["sha256"]
    edit(toy_bundle, ("engines", "cpu", "eyes/image_encoder", "made_of"), sha256)
    edit(toy_bundle, ("quantized", "cpu", "eyes", "graphs", "image_encoder", "rated", 1, "made_of"), sha256)
    what, _ = refused("check", toy_bundle, "-t", "cpu", status=3)
    assert "first graph eyes/image_encoder" in what and "int8" in what
