"""SmolVLM-256M at its real size, with random weights: exported in a process of its own, whose peak memory is held against its bound.

Pictures are not cut: the same graph thirteen times over for each of them would take minutes, and prove what the small models prove.
"""

import pytest
from checkpoints.vlm import make_smolvlm_256m
from real_size import exported

pytestmark = pytest.mark.slow

RECIPE = """schema = "mmedge.recipe/1"
name = "smolvlm"
summary = "for tests"
[models.vlm]
family = "vlm"
folder = "{folder}"
[models.vlm.options]
image_splitting = false
"""


def test_smolvlm_256m(tmp_path):
    folder, recipe = tmp_path / "checkpoint", tmp_path / "smolvlm.toml"
    folder.mkdir()
    make_smolvlm_256m(folder)
    recipe.write_text(RECIPE.format(folder=folder))
    gates = exported(recipe, folder, tmp_path / "smolvlm.bundle").manifest.gates["check plain"]
    assert len(gates) == 10 and all(gate.passed for gate in gates), [gate for gate in gates if not gate.passed]
