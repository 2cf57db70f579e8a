"""SmolVLM-256M at its real size, with random weights: exported in a process of its own, whose peak memory is held against its bound.

Pictures are not cut: the same graph thirteen times over for each of them would take minutes, and prove what the small models prove.
"""

import resource
import subprocess
import sys

import pytest
from checkpoints.vlm import make_smolvlm_256m

from mmedge.bundle import Bundle

pytestmark = pytest.mark.slow

TARGET = """schema = "mmedge.target/1"
name = "plain"
summary = "for tests"
backends = ["ort"]
max_opset = 18
max_ir = 10
[precisions]
ort = ["fp32"]
"""
RECIPE = """schema = "mmedge.recipe/1"
name = "smolvlm"
summary = "for tests"
[models.vlm]
family = "vlm"
folder = "{folder}"
[models.vlm.options]
image_splitting = false
"""


def test_smolvlm_256m(tmp_path, record_property):
    folder, target, recipe, out = tmp_path / "checkpoint", tmp_path / "plain.toml", tmp_path / "smolvlm.toml", tmp_path / "smolvlm.bundle"
    folder.mkdir()
    make_smolvlm_256m(folder)
    target.write_text(TARGET)
    recipe.write_text(RECIPE.format(folder=folder))
    # The checkpoint was made in this process: children are counted apart.
    done = subprocess.run([sys.executable, "-m", "mmedge", "export", str(recipe), "--target", str(target), "-o", str(out)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    size = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    record_property("peak_bytes", peak)
    record_property("checkpoint_bytes", size)
    print(f"peak {peak / 1e9:.2f} GB, checkpoint {size / 1e9:.2f} GB")
    gates = Bundle.open(out).manifest.gates["check plain"]
    assert len(gates) == 10 and all(gate.passed for gate in gates), [gate for gate in gates if not gate.passed]
    assert peak <= 2.5 * size + (1 << 30)
