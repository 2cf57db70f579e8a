"""NVIDIA's own builder takes the shapes of a plan: TensorRT for RTX does so without a GPU or a driver. Nothing of it runs."""

from __future__ import annotations

import platform
from dataclasses import replace

import pytest
from checks import compiled

from mmedge.backends.tensorrt.build import build
from mmedge.bundle import Bundle
from mmedge.deploy.plan import Plan
from mmedge.documents import read_json
from mmedge.errors import MmedgeError

if platform.machine() != "x86_64":
    pytest.skip("TensorRT for RTX has wheels for x86-64 only", allow_module_level=True)

pytestmark = pytest.mark.full


def wrong(bundle):
    """What NVIDIA's builder has against the files of a plan, in fp16, at the shapes that it names."""
    plan = read_json(bundle.path / bundle.manifest.plans["jetson"][0].path, Plan, fix="")
    built = {one.name: {shapes.input: (shapes.min, shapes.opt, shapes.max) for shapes in one.shapes if shapes.dynamic} for one in plan.graphs}
    found = {one.name: not_built(bundle, one, built[one.name]) for one in plan.graphs}
    return list(built), {name: said for name, said in found.items() if said}


def not_built(bundle, planned, shapes):
    role, _, key = planned.name.partition("/")
    try:
        build(replace(bundle.graph(role, key), path=bundle.path / planned.file.path), planned.precision, flavour="rtx", shapes=shapes, capability="8.6")
    except MmedgeError as error:
        return error.what
    return ""


@pytest.mark.parametrize("architecture", ["WhisperForConditionalGeneration", "CLIPModel"])
def test_small_models(small_bundle, tmp_path, architecture):
    names, refused = wrong(compiled(small_bundle(architecture), tmp_path / "bundle", "jetson"))
    assert len(names) == 2
    assert refused == {}


def test_the_assistant(assistant_bundle, tmp_path):
    """And all of it in fp16, within the bound of that, at half the size."""
    bundle = compiled(Bundle.open(assistant_bundle), tmp_path / "bundle", "jetson")
    names, refused = wrong(bundle)
    assert names == ["ears/encoder", "ears/decoder", "eyes/image_encoder", "eyes/text_encoder"]
    assert refused == {}
    for name in names:
        role, _, key = name.partition("/")
        graph = bundle.manifest.models[role].graphs[key]
        (half,) = (one for one in graph.variants if one.precision == "fp16")
        assert bundle.manifest.engines["jetson"][name].precision == "fp16"
        assert half.drift <= 1
        assert half.file.size_bytes < 0.6 * graph.file.size_bytes


def test_a_shape_that_is_none_is_refused(small_bundle, tmp_path):
    bundle = compiled(small_bundle("CLIPModel"), tmp_path / "bundle", "jetson")
    plan = read_json(bundle.path / bundle.manifest.plans["jetson"][0].path, Plan, fix="")
    graph = next(one for one in plan.graphs if any(shapes.dynamic for shapes in one.shapes))
    reversed_ = {shapes.input: (shapes.max, shapes.opt, tuple(size - 1 for size in shapes.max)) for shapes in graph.shapes if shapes.dynamic}
    assert "takes no profile" in not_built(bundle, graph, reversed_)
