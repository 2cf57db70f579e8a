"""Decoders of such folders: one that computes something else is noticed, one traced for one token reads token by token."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from checkpoints import sources
from checks import export_folder
from onnx import helper, numpy_helper

from mmedge.build.golden import media
from mmedge.errors import GateFailed
from mmedge.families.onnx import Options
from mmedge.families.onnx.export import export
from mmedge.generate.decode import Sampling

SHORT = Sampling(max_tokens=20)


def session(bundle):
    return bundle.session("onnx", target="cpu")


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
