"""Every graph that NVIDIA may be given in fp16: within its bound where fp16 is stored, taken by NVIDIA's parser, and computing in fp16 there."""

from __future__ import annotations

import platform
import shutil
from dataclasses import replace

import pytest
from checkpoints import discovered

from mmedge.backends.tensorrt import network
from mmedge.bundle import Bundle
from mmedge.evaluate.golden import Golden
from mmedge.family import load_family
from mmedge.manifest import Variant
from mmedge.optimize.variants import add_variant

if platform.machine() != "x86_64":
    pytest.skip("TensorRT for RTX has wheels for x86-64 only", allow_module_level=True)

import nvidia_parser

pytestmark = pytest.mark.full

REFUSED: dict[str, str] = {}
"""Architecture and graph -> why there is no fp16 form of it."""


@pytest.mark.parametrize("architecture", sorted(discovered(), reverse=True))
def test_every_graph_has_a_form_in_fp16(small_bundle, architecture, tmp_path):
    bundle = Bundle.open(shutil.copytree(small_bundle(architecture).path, tmp_path / "copy.bundle"))
    wrong = judged(bundle)
    assert wrong == [one for one in wrong if any(one.startswith(f"{known}: {why}") for known, why in REFUSED.items())]


def test_the_real_graphs_have_a_form_in_fp16(assistant_bundle, tmp_path):
    assert judged(Bundle.open(shutil.copytree(assistant_bundle, tmp_path / "copy.bundle"))) == []


_built: set[tuple[str, str, tuple[str, ...]]] = set()


def judged(bundle):
    """What is wrong with the fp16 forms of a bundle's graphs. The first of each kind is built too, as in test_nvidia.py."""
    wrong = []
    for role, model in bundle.manifest.models.items():
        prefer = load_family(model.family).PREFER
        golden = Golden(bundle, role)
        for name, entry in model.graphs.items():
            if not nvidia_parser.may_run(prefer, name.removesuffix("-scatternd").removesuffix("-tensorscatter")):
                continue
            made = add_variant(bundle, role, name, "fp16", golden)
            if not isinstance(made, Variant):
                wrong.append(f"{role}/{name}: {made.note} ({made.value})")
                continue
            graph = replace(bundle.graph(role, name), path=bundle.file(made.file))
            parsed = network.parse(graph, "rtx")
            found = network.types(parsed.network)
            said = [str(refusal) for refusal in parsed.refusals]
            kind = (model.family, name, made.kept_float)
            if not said and kind not in _built:
                said = nvidia_parser.build(graph.path, graph.inputs, golden.graph(name)[0])
                _built.add(kind)
            print(f"{role}/{name}: {made.method}, {made.drift:.3f} of the bound, {dict(found)}, {made.kept_float}")
            if found["fp16"] == 0:
                said.append(f"no layer computes in fp16, but {dict(found)}")
            if not made.drift <= 1:
                said.append(f"{made.drift} times the bound")
            before, after = (one.weights or one.file for one in (entry, made))
            if before.size_bytes > 1 << 20 and after.size_bytes > 0.6 * before.size_bytes:
                said.append(f"{after.size_bytes} bytes of {before.size_bytes}")
            wrong += [f"{role}/{name}: {one}" for one in said]
    return wrong
