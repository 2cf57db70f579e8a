"""Every graph that NVIDIA may be given in fp16: within its bound where fp16 is stored, taken by NVIDIA's parser, and computing in fp16 there.

Those of the shipped assistant are held to that in tests/deploy/test_plan_built.py.
"""

from __future__ import annotations

import platform
import shutil
from dataclasses import replace

import pytest
from checkpoints import discovered

from mmedge.backends.tensorrt.build import build, profile_shapes
from mmedge.backends.tensorrt.network import parse, types
from mmedge.bundle import Bundle
from mmedge.errors import MmedgeError
from mmedge.evaluate.golden import Golden
from mmedge.family import load_family
from mmedge.manifest import Variant
from mmedge.optimize.variants import add_variant

if platform.machine() != "x86_64":
    pytest.skip("TensorRT for RTX has wheels for x86-64 only", allow_module_level=True)

pytestmark = pytest.mark.full


@pytest.mark.parametrize("architecture", sorted(discovered(), reverse=True))
def test_every_graph_has_a_form_in_fp16(small_bundle, architecture, tmp_path):
    assert judged(Bundle.open(shutil.copytree(small_bundle(architecture).path, tmp_path / "copy.bundle"))) == []


_built: set[tuple[str, str, tuple[str, ...]]] = set()


def judged(bundle):
    """What is wrong with the fp16 forms of a bundle's graphs. The first of each kind is built too, as in test_nvidia.py."""
    wrong = []
    for role, model in bundle.manifest.models.items():
        prefer = load_family(model.family).PREFER
        golden = Golden(bundle, role)
        for name, entry in model.graphs.items():
            plain = name.removesuffix("-scatternd").removesuffix("-tensorscatter")
            grows = name == plain and f"{plain}-scatternd" in model.graphs  # as caches do on no target of NVIDIA
            if grows or "tensorrt" not in prefer.get(plain, ("tensorrt",)):
                continue
            made = add_variant(bundle, role, name, "fp16", golden)
            if not isinstance(made, Variant):
                wrong.append(f"{role}/{name}: {made.note} ({made.value})")
                continue
            graph = replace(bundle.graph(role, name), path=bundle.file(made.file))
            kind = (model.family, name, made.kept_float)
            layers, said = _parsed(graph) if kind in _built else _made(graph)
            _built.add(kind)
            print(f"{role}/{name}: {made.method}, {made.drift:.3f} of the bound, {layers}, {made.kept_float}")
            if not said and not layers["fp16"]:
                said.append(f"no layer computes in fp16, but {layers}")
            if not made.drift <= 1:
                said.append(f"{made.drift} times the bound")
            before, after = (one.weights or one.file for one in (entry, made))
            if before.size_bytes > 1 << 20 and after.size_bytes > 0.6 * before.size_bytes:
                said.append(f"{after.size_bytes} bytes of {before.size_bytes}")
            wrong += [f"{role}/{name}: {one}" for one in said]
    return wrong


def _parsed(graph):
    found = parse(graph, "rtx")
    return types(found.network), list(map(str, found.refusals))


def _made(graph):
    try:
        return build(graph, "fp16", flavour="rtx", shapes=profile_shapes(graph), capability="8.6").layers, []
    except MmedgeError as error:
        return {}, [error.what]
