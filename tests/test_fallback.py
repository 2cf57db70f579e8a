"""A choice on a machine that lacks what it rests on. Features are masked; which candidate runs is seen in what it computes."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest
from quantized_toy import CPU, FLAG, KEY, ROLE, manifest_of, masked, quantized_toy, rated
from tampering import edit

import mmedge as package
from mmedge import fallback
from mmedge.bundle import Bundle
from mmedge.errors import MmedgeError, MmedgeWarning
from mmedge.evaluate.golden import Golden
from mmedge.runner import Facts

MEAN = {"ort quick": 0.9, "ort spare": 0.8, "fp32": 1.0}
"""What each candidate makes of a picture's mean, of what it should."""


@pytest.fixture
def quantized(toy_bundle):
    return quantized_toy(toy_bundle)


def ran(path, target=CPU):
    """The candidate that really ran."""
    bundle = Bundle.open(path)
    feeds = Golden(bundle, ROLE).graph(KEY)[0]
    with bundle.runner(ROLE, KEY, target) as runner:
        found = runner.run(feeds)["image_embedding"]
    factor = (found + 1) / (feeds["pixel_values"].mean((2, 3)) * 2)
    return next(name for name, expected in MEAN.items() if np.allclose(factor, expected, atol=0.03))


def test_a_choice_that_holds_is_opened_without_a_word(quantized, monkeypatch):
    masked(monkeypatch, "avx2", FLAG)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert ran(quantized) == "ort quick"


@pytest.mark.parametrize("flags", [("avx2",), ()], ids=["another CPU", "a system that does not tell"])
def test_elsewhere_the_next_that_holds_is_taken_and_said(quantized, monkeypatch, flags):
    masked(monkeypatch, *flags)
    with pytest.warns(MmedgeWarning) as said:
        assert ran(quantized) == "ort spare"
    (line,) = {str(one.message) for one in said}
    assert line.startswith(f"eyes/image_encoder: ort quick rests on {FLAG}, which this CPU lacks; ort spare is taken instead")
    assert line.endswith(f"mmedge compile {quantized} --target cpu --rechoose") and "\n" not in line
    with pytest.warns(MmedgeWarning):
        placed = Bundle.open(quantized).placement(ROLE, KEY, CPU)
    assert (placed.precision, placed.made_of) == ("int8", manifest_of(quantized).models[ROLE].graphs[KEY].variants[1].file.sha256)
    assert placed.reason.startswith("instead of ort quick")


BOTH = CPU.model_copy(update={"backends": ("ort", "openvino")})


@pytest.mark.parametrize(
    "second",
    [
        {"features": ("amx_int8",)},
        {"passed": False},
        {"left_out": True},
        {"demoted": True},
        {"backend": "openvino"},
        {"backend": "openvino", "precision": "bf16"},
        {"backend": "ref"},
    ],
    ids=[
        "rests on what is missing too",
        "did not pass",
        "is not in the bundle",
        "does not hold with the others",
        "its runtime is not here",
        "the CPU cannot",
        "not the target's any more",
    ],
)
def test_what_does_not_hold_either_is_passed_over(toy_bundle, monkeypatch, second):
    path = quantized_toy(toy_bundle, second=second)
    masked(monkeypatch, "avx2")
    bf16 = second.get("precision") == "bf16"
    monkeypatch.setattr("mmedge.backends.openvino.probe", lambda target=None: Facts(bf16, reason="not installed", features=("fp32",)))
    with pytest.warns(MmedgeWarning, match="ort fp32 is taken instead"):
        assert ran(path, BOTH) == "fp32"


def test_where_nothing_else_can_be_opened_that_is_an_error(toy_bundle, monkeypatch):
    masked(monkeypatch, FLAG)
    path = quantized_toy(toy_bundle)
    masked(monkeypatch, "avx2")
    monkeypatch.setattr("mmedge.backends.ort.probe", lambda target=None: Facts(False, reason="not installed", fix="pip install onnxruntime"))
    with pytest.raises(MmedgeError, match="ort quick rests on avx512_vnni, which this CPU lacks, and the runtime of no other candidate is here") as error:
        Bundle.open(path).engine(ROLE, KEY, CPU)
    assert error.value.fix == "pip install onnxruntime"


def test_a_placement_whose_choice_is_gone(quantized, monkeypatch):
    edit(quantized, ("quantized",), {})
    masked(monkeypatch, "avx2")
    with pytest.raises(MmedgeError, match="eyes/image_encoder: ort int8 rests on avx512_vnni") as error:
        ran(quantized)
    assert error.value.fix == f"mmedge compile {quantized} --target cpu"


def test_a_command_says_it_once_on_stderr_and_stdout_is_one_document(quantized, mmedge, monkeypatch):
    masked(monkeypatch, "avx2")
    status, out, said = mmedge("check", quantized, "--target", "cpu", "--json")
    assert status == 0 and json.loads(out)["schema"] == "mmedge.bundle/1"
    (line,) = [line for line in said.splitlines() if line.startswith("warning: ")]
    assert "ort spare is taken instead" in line


def test_python_warns_as_python_does(quantized, monkeypatch):
    masked(monkeypatch, "avx2")
    with pytest.warns(package.MmedgeWarning), Bundle.open(quantized).session(ROLE, target="cpu") as eyes:
        assert eyes.classify(np.full((20, 30, 3), 250, np.uint8), ["red", "blue"])


def test_other_warnings_stay_as_they_are(mmedge, monkeypatch):
    def warned(*given):
        warnings.warn("of somebody else's", FutureWarning, stacklevel=1)
        warnings.warn("ours", MmedgeWarning, stacklevel=1)
        raise MmedgeError("what", "fix")

    monkeypatch.setattr("mmedge.target.targets", warned)
    with pytest.warns(FutureWarning, match="of somebody else's"):
        assert mmedge("targets")[2].splitlines() == ["warning: ours", "error: what", "fix: fix"]


def test_only_the_file_that_is_opened_is_read(quantized, monkeypatch):
    masked(monkeypatch, FLAG)
    entry = manifest_of(quantized).models[ROLE].graphs[KEY]
    for file in (entry.file, entry.variants[1].file):
        (quantized / file.path).unlink()
    assert ran(quantized) == "ort quick"


def test_a_file_that_the_bundle_does_not_hold_is_not_taken_for_another(quantized):
    edit(quantized, ("engines", "cpu", "eyes/image_encoder", "made_of"), "f" * 64)
    edit(quantized, ("engines", "cpu", "eyes/image_encoder", "key"), {})
    with pytest.raises(MmedgeError, match=r"eyes/image_encoder is placed as a file that .* does not hold"):
        Bundle.open(quantized).engine(ROLE, KEY, CPU)


def test_variants_of_one_name_are_both_there(quantized):
    first, second = manifest_of(quantized).models[ROLE].graphs[KEY].variants
    edit(quantized, ("models", ROLE, "graphs", KEY, "variants"), [first.model_dump(mode="json"), {**second.model_dump(mode="json"), "method": "quick"}])
    assert list(Bundle.open(quantized).graph(ROLE, KEY).variants) == ["ort quick", f"ort quick {second.file.sha256[:8]}"]


def test_a_graph_without_a_placement_is_named(quantized):
    edit(quantized, ("engines", "cpu"), {"eyes/other": manifest_of(quantized).engines["cpu"]["eyes/image_encoder"].model_dump(mode="json")})
    with pytest.raises(MmedgeError, match="eyes/image_encoder is not placed on cpu"):
        Bundle.open(quantized).placement(ROLE, KEY, CPU)


def test_a_placement_names_what_it_rests_on():
    placed = fallback.placement(rated("ort a", precision="int8", features=("avx_vnni", "avx512_vnni"), made_of="0" * 64), "why", CPU)
    assert (placed.state, placed.key["features"], placed.made_of, placed.reason) == ("ready", "avx_vnni avx512_vnni", "0" * 64, "why")
