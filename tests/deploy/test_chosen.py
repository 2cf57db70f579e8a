"""Compiling what was quantized: a choice is kept where it holds, and measured anew on demand. Times are given, but for one test of the real thing."""

from __future__ import annotations

import sys

import pytest
from deploy.rechoosing import GRAPH, VARIANTS, given, placed, quantized_of, quiet
from quantized_toy import CPU, FLAG, KEY, ROLE, manifest_of, masked, quantized_toy
from tampering import edit, swap

from mmedge.bundle import Bundle
from mmedge.deploy import chosen as under_test
from mmedge.deploy.check import check
from mmedge.deploy.compile import compile
from mmedge.deploy.inspect import summary
from mmedge.errors import MmedgeError
from mmedge.evaluate.recorded import pack_outputs
from mmedge.optimize.rounding import run
from mmedge.rated import Budget
from mmedge.runner import Facts
from mmedge.target import Target

__all__ = ["given"]


@pytest.fixture
def never_timed(monkeypatch):
    def race(*given, **named):
        raise AssertionError("it was raced")

    monkeypatch.setattr("mmedge.deploy.compile.choose", race)
    monkeypatch.setattr(under_test, "measured", race)


def test_a_choice_that_holds_is_kept_without_a_race(toy_bundle, monkeypatch, never_timed):
    masked(monkeypatch, FLAG)
    before = placed(quantized_toy(toy_bundle))
    said = []
    compile(toy_bundle, CPU, said.append)
    assert placed(toy_bundle) == before
    assert said == ["eyes/image_encoder: ort int8 (the fastest that holds)"]


def test_without_its_features_the_next_is_placed_and_that_is_said(toy_bundle, monkeypatch, never_timed):
    masked(monkeypatch, "avx2")
    quantized_toy(toy_bundle)
    said = []
    compile(toy_bundle, CPU, said.append)
    assert placed(toy_bundle).made_of == quantized_of(toy_bundle).graphs[KEY].of("ort spare").made_of
    assert said == [f"{GRAPH}: ort int8 (ort quick rests on {FLAG}, which this CPU lacks; to choose anew here: --rechoose)"]
    check(toy_bundle, CPU, quiet)  # without a warning: it is placed so now
    assert summary(manifest_of(toy_bundle), toy_bundle).endswith("kept; not as it runs now: image_encoder is placed otherwise")


def test_a_choice_that_computes_something_else_here_is_passed_over(toy_bundle, monkeypatch, never_timed):
    masked(monkeypatch, FLAG)
    quantized_toy(toy_bundle)
    other = {
        "image_embedding": run(toy_bundle / manifest_of(toy_bundle).models[ROLE].graphs[KEY].variants[1].file.path, feeds_of(toy_bundle))["image_embedding"]
    }
    swap(toy_bundle, (*VARIANTS, 0, "outputs"), pack_outputs(other))
    said = []
    compile(toy_bundle, CPU, said.append)
    assert "ort quick: " in said[0] and "times its bound, against its own outputs when it was made" in said[0]
    assert placed(toy_bundle).made_of == quantized_of(toy_bundle).graphs[KEY].of("ort spare").made_of


def feeds_of(path):
    from mmedge.evaluate.golden import Golden

    return Golden(Bundle.open(path), ROLE).graph(KEY)[0]


def test_what_was_never_measured_is_placed_as_if_it_were_not_quantized(toy_bundle, monkeypatch):
    masked(monkeypatch, FLAG)
    quantized_toy(toy_bundle, first={"ratio": None})
    said = []
    compile(toy_bundle, CPU, said.append)
    assert said[0].endswith(f"nothing of what was quantized is chosen on this machine; to measure it here: mmedge compile {toy_bundle} --target cpu --rechoose")
    assert (placed(toy_bundle).precision, placed(toy_bundle).made_of, len(placed(toy_bundle).trials)) == ("fp32", None, 1)


def test_another_target_stays_as_it_is(toy_bundle, monkeypatch):
    masked(monkeypatch, FLAG)
    quantized_toy(toy_bundle)
    compile(toy_bundle, Target.load("null"), quiet)
    assert placed(toy_bundle, "null").backend == "null" and placed(toy_bundle).precision == "int8"


def test_all_that_passed_is_measured_here_and_the_best_is_taken(toy_bundle, monkeypatch, given):
    masked(monkeypatch, FLAG)
    quantized_toy(toy_bundle)
    before = quantized_of(toy_bundle)
    asked = given(quick=0.7, spare=0.4)
    said = []
    compile(toy_bundle, CPU, said.append, anew=True)
    assert sorted(asked) == ["ort fp32", "ort quick", "ort spare"]
    found = quantized_of(toy_bundle)
    assert (found.graphs[KEY].chosen, found.graphs[KEY].of("ort spare").latency_ms) == ("ort spare", 0.8)
    assert found.graphs[KEY].of("ort spare").features == (FLAG,)  # its time is this CPU's
    assert (placed(toy_bundle).made_of, placed(toy_bundle).key["features"]) == (found.graphs[KEY].of("ort spare").made_of, FLAG)
    assert found.machine != before.machine
    assert (found.golden, found.cases) == (None, ()) and found.warnings[0].startswith("chosen-anew: ")
    assert any("no data has judged these candidates together" in line for line in said)
    assert summary(manifest_of(toy_bundle), toy_bundle).endswith("kept; judged before candidates were chosen anew")
    check(toy_bundle, CPU, quiet)
    gates = {gate.name: gate for gate in manifest_of(toy_bundle).gates["check cpu"]}
    assert gates["verb eyes.embed_image #1"].note.startswith("not judged: chosen anew on this machine")


def test_the_same_choice_keeps_what_was_judged(toy_bundle, monkeypatch, given):
    masked(monkeypatch, FLAG)
    quantized_toy(toy_bundle)
    before = quantized_of(toy_bundle)
    given(quick=0.3, spare=0.4)
    compile(toy_bundle, CPU, quiet, anew=True)
    found = quantized_of(toy_bundle)
    assert (found.graphs[KEY].chosen, found.golden, found.warnings) == ("ort quick", before.golden, ())


def test_goal_and_budget_of_the_quantizing_count(toy_bundle, monkeypatch, given):
    masked(monkeypatch, FLAG)
    quantized_toy(toy_bundle, budget=Budget(max_latency_ms=1.5))
    given(quick=0.9, spare=0.95)
    with pytest.raises(MmedgeError, match="no candidate keeps the budget"):
        compile(toy_bundle, CPU, quiet, anew=True)
    assert quantized_of(toy_bundle).graphs[KEY].chosen == "ort quick"  # nothing was changed


def test_megabytes_are_the_models_here_too(toy_bundle, monkeypatch, given):
    masked(monkeypatch, FLAG)
    quantized_toy(toy_bundle, second={"size_mb": 0.4}, budget=Budget(max_mb=0.5))
    given(quick=0.3, spare=0.4)
    compile(toy_bundle, CPU, quiet, anew=True)
    assert quantized_of(toy_bundle).graphs[KEY].chosen == "ort spare"
    edit(toy_bundle, ("quantized", "cpu", ROLE, "budget", "max_mb"), 0.3)
    with pytest.raises(MmedgeError, match=r"of eyes take at most 0\.3 MB together: the smallest take 0\.4 MB"):
        compile(toy_bundle, CPU, quiet, anew=True)


def test_what_would_overflow_here_is_not_measured(toy_bundle, monkeypatch, given):
    masked(monkeypatch, "avx2")
    quantized_toy(toy_bundle)
    asked, said = given(spare=0.4), []
    compile(toy_bundle, CPU, said.append, anew=True)
    assert sorted(asked) == ["ort fp32", "ort spare"]
    assert any("ort quick is not measured: it was made for a CPU that adds up products of 8 bits in 32" in line for line in said)
    quick = quantized_of(toy_bundle).graphs[KEY].of("ort quick")
    assert (quick.passed, quick.latency_ms, quick.features) == (True, None, (FLAG,))  # elsewhere it still holds


@pytest.mark.parametrize(("quick", "chosen"), [(0.008, "ort quick"), (0.012, "ort spare")])
def test_losses_that_add_up_to_more_than_is_allowed_are_not_taken_together(toy_bundle, monkeypatch, given, quick, chosen):
    """No data is at hand to judge the model as a whole."""
    masked(monkeypatch, FLAG)
    quantized_toy(toy_bundle, first={"lost": quick})
    edit(toy_bundle, ("quantized", "cpu", ROLE, "graphs", KEY, "chosen"), "ort spare")
    given(quick=0.3, spare=0.4)
    compile(toy_bundle, CPU, quiet, anew=True)
    assert quantized_of(toy_bundle).graphs[KEY].chosen == chosen


def test_what_data_have_judged_together_is_not_taken_apart(toy_bundle, monkeypatch, given):
    masked(monkeypatch, FLAG)
    quantized_toy(toy_bundle, first={"lost": 0.012})
    given(quick=0.3, spare=0.4)
    compile(toy_bundle, CPU, quiet, anew=True)
    assert quantized_of(toy_bundle).graphs[KEY].chosen == "ort quick"


@pytest.mark.parametrize("why", ["left_out", "demoted"])
def test_what_is_not_to_be_had_is_not_chosen_by_its_old_times(toy_bundle, monkeypatch, given, why):
    masked(monkeypatch, FLAG)
    quantized_toy(toy_bundle, second={why: True})
    asked = given(quick=0.7)  # before, the spare one took less than that
    compile(toy_bundle, CPU, quiet, anew=True)
    found = quantized_of(toy_bundle).graphs[KEY]
    assert (found.chosen, found.of("ort spare").latency_ms, "ort spare" in asked) == ("ort quick", None, False)
    assert placed(toy_bundle).made_of == found.of("ort quick").made_of


def test_it_needs_no_package_onnx(toy_bundle, monkeypatch, given):
    """As on a device."""
    masked(monkeypatch, FLAG)
    quantized_toy(toy_bundle)
    given(quick=0.3, spare=0.4)
    for name in [name for name in sys.modules if name.partition(".")[0] in ("onnx", "onnx_ir", "onnxscript")]:
        monkeypatch.setitem(sys.modules, name, None)
    compile(toy_bundle, CPU, quiet, anew=True)
    check(toy_bundle, CPU, quiet)
    assert quantized_of(toy_bundle).graphs[KEY].chosen == "ort quick"


def test_without_fp32_there_is_nothing_to_compare_with(toy_bundle, monkeypatch, given):
    masked(monkeypatch, FLAG)
    quantized_toy(toy_bundle)
    monkeypatch.setattr(under_test, "measured", lambda survivors, bench: [one.rated for one in survivors])
    with pytest.raises(MmedgeError, match="eyes/image_encoder runs in fp32 on no backend of cpu here"):
        compile(toy_bundle, CPU, quiet, anew=True)


@pytest.mark.parametrize("target", ["cpu", "null"])
def test_a_bundle_that_was_never_quantized(toy_bundle, refused, target):
    what, fix = refused("compile", toy_bundle, "--target", target, "--rechoose")
    assert what == f"{toy_bundle} was never quantized for {target}: there is nothing to choose from"
    assert fix == f"mmedge quantize {toy_bundle} --target {target} --data DATA"


def test_a_runtime_that_is_not_here_leaves_its_candidates_out(toy_bundle, monkeypatch, given):
    masked(monkeypatch, FLAG)
    quantized_toy(toy_bundle, second={"backend": "openvino"})
    monkeypatch.setattr("mmedge.backends.openvino.probe", lambda target=None: Facts(False, reason="openvino is not installed"))
    asked, said = given(quick=0.5), []
    compile(toy_bundle, CPU.model_copy(update={"backends": ("openvino", "ort")}), said.append, anew=True)
    assert sorted(asked) == ["ort fp32", "ort quick"]
    assert "eyes/image_encoder: ort spare is not measured: openvino is not installed" in said


@pytest.mark.full
def test_for_real(toy_bundle, mmedge, monkeypatch):
    """Whatever the times are, the answer is one of the candidates, and the bundle holds it."""
    masked(monkeypatch, FLAG)
    quantized_toy(toy_bundle)
    status, _, said = mmedge("compile", toy_bundle, "--target", "cpu", "--rechoose")
    assert status == 0, said
    assert "eyes/image_encoder: ort quick: " in said
    found = quantized_of(toy_bundle).graphs[KEY]
    assert all(one.ratio is not None and one.memory_mb is not None for one in found.rated)
    assert placed(toy_bundle).made_of == found.of(found.chosen).made_of
    assert mmedge("check", toy_bundle, "--target", "cpu")[0] == 0
