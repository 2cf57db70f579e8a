"""Real sizes with random weights, exported for a Jetson and for TensorRT-RTX: every graph an engine that NVIDIA's builder made, without a GPU."""

from __future__ import annotations

import platform
import re
import sys
from pathlib import Path

import pytest

if platform.machine() != "x86_64":
    pytest.skip("TensorRT for RTX has wheels for x86-64 only", allow_module_level=True)

from checkpoints.vlm import make_smolvlm_256m

from mmedge.build.export import export
from mmedge.build.load import recipe_for
from mmedge.deploy.compile import compile
from mmedge.deploy.inspect import summary
from mmedge.target import Target

pytestmark = pytest.mark.slow

sys.path.append(str(Path(__file__).parents[2] / "bench"))
MOST_TIMES = 1.3
"""An engine may be so many times as large as its weights in fp16."""
SMALL_MB = 1.0
"""Below it, what every engine holds besides its weights counts."""


def _made(name, folder):
    from export_cost import make_clip, make_whisper

    {"CLIP ViT-B/32": make_clip, "Whisper base": make_whisper, "SmolVLM-256M": make_smolvlm_256m}[name](folder)


@pytest.mark.parametrize(
    ("name", "graphs"),
    [
        ("CLIP ViT-B/32", ["image_encoder", "text_encoder"]),
        ("Whisper base", ["encoder", "decoder-scatternd"]),
        ("SmolVLM-256M", ["image_encoder", "connector", "token_embedding", "language-scatternd"]),
    ],
)
def test_every_graph_becomes_an_engine_in_fp16(tmp_path, name, graphs):
    _made(name, tmp_path / "checkpoint")
    recipe = recipe_for(str(tmp_path / "checkpoint"), offline=True, trace=print)
    (role,) = recipe.models
    export(recipe, tmp_path / "bundle", [Target.load("jetson")], report=print)
    made = compile(tmp_path / "bundle", Target.load("rtx"), print)
    print(summary(made.manifest, made.path))
    for target, state in (("jetson", "on-device"), ("rtx", "built")):
        placements = made.manifest.engines[target]
        assert list(placements) == [f"{role}/{graph}" for graph in graphs]
        for graph, placed in placements.items():
            (evidence,) = placed.evidence
            print(target, graph, evidence.on, evidence.note)
            assert (placed.backend, placed.precision, placed.state, evidence.kind) == ("tensorrt", "fp16", state, "built")
            size_mb, times = map(float, re.search(r"([\d.]+) MB in .* s, ([\d.]+) times its weights", evidence.note).groups())
            assert times <= MOST_TIMES or size_mb < SMALL_MB
