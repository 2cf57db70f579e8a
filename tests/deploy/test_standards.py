"""What a check holds a quantized bundle to: its own outputs and answers where it runs as chosen, and the reference where it runs in fp32."""

from __future__ import annotations

import io

import numpy as np
import pytest
from quantized_toy import CPU, FLAG, KEY, ROLE, manifest_of, masked, quantized_toy
from tampering import edit, swap

from mmedge.bundle import Bundle
from mmedge.deploy.bisect import bisect
from mmedge.deploy.check import check
from mmedge.deploy.inspect import describe, summary
from mmedge.deploy.standards import betrays
from mmedge.errors import GateFailed
from mmedge.evaluate.golden import Golden
from mmedge.evaluate.recorded import outputs_of, pack_outputs, plain
from mmedge.manifest import Placement

VARIANT = ("models", ROLE, "graphs", KEY, "variants", 0)


def quiet(line):
    pass


@pytest.fixture
def quantized(toy_bundle, monkeypatch):
    masked(monkeypatch, FLAG)
    return quantized_toy(toy_bundle)


def gates(path):
    check(path, CPU, quiet)
    return {gate.name: gate for gate in manifest_of(path).gates["check cpu"]}


def failed(path):
    with pytest.raises(GateFailed) as error:
        check(path, CPU, quiet)
    return error.value, {gate.name: gate for gate in manifest_of(path).gates["check cpu"] if not gate.passed}


def test_a_graph_is_held_to_what_it_gave_when_it_was_made(quantized):
    """It is a tenth from fp32, ten times the bound that its own outputs must keep to."""
    found = gates(quantized)
    graph = found["graph eyes/image_encoder"]
    assert graph.passed and graph.value == 0.0 and graph.note.endswith("ort int8, against its own outputs when it was made")
    assert found["verb eyes.embed_image #1"].value == 0.0
    assert found["processor eyes.pixels #0"].bound == 1e-4


def test_another_answer_of_the_graph_fails(quantized):
    outputs = outputs_of(Bundle.open(quantized), manifest_of(quantized).models[ROLE].graphs[KEY].variants[0])
    swap(quantized, (*VARIANT, "outputs"), pack_outputs({name: array * np.float32(1.02) for name, array in outputs.items()}))
    error, found = failed(quantized)
    assert list(found) == ["graph eyes/image_encoder"] and error.status == 3
    made = bisect(quantized, CPU, quiet)
    assert made.drifts and made.first is None
    assert made.note.startswith("no layer of eyes/image_encoder can be named")


def test_another_answer_of_the_verb_fails(quantized):
    with np.load(quantized / manifest_of(quantized).quantized["cpu"][ROLE].golden.path) as stored:
        arrays = {name: array + 0.1 for name, array in stored.items()}
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    swap(quantized, ("quantized", "cpu", ROLE, "golden"), buffer.getvalue())
    assert list(failed(quantized)[1]) == ["verb eyes.embed_image #1"]


def test_a_variant_that_no_gate_has_passed(quantized):
    graphs = manifest_of(quantized).quantized["cpu"][ROLE].model_dump(mode="json")["graphs"]
    graphs[KEY]["rated"][0]["passed"] = False
    edit(quantized, ("quantized", "cpu", ROLE, "graphs"), graphs)
    error, found = failed(quantized)
    assert "task gate eyes/image_encoder" in found and "mmedge quantize" in error.what


def test_a_variant_of_which_nothing_was_kept_is_held_to_fp32(quantized):
    edit(quantized, (*VARIANT, "outputs"), None)
    assert failed(quantized)[1]["graph eyes/image_encoder"].value > 5


def test_a_mixture_of_candidates_is_not_judged_and_that_is_said(quantized, monkeypatch):
    masked(monkeypatch, "avx2")
    with pytest.warns(match="ort spare is taken instead"):
        found = gates(quantized)
    assert found["graph eyes/image_encoder"].passed and found["graph eyes/image_encoder"].value == 0.0
    verb = found["verb eyes.embed_image #1"]
    assert (verb.passed, verb.value) == (True, None)
    assert verb.note == "not judged: image_encoder not as chosen, beside others that are quantized: mmedge quantize judges the whole"
    assert found["processor eyes.pixels #0"].value is not None


def test_in_fp32_the_reference_counts(toy_bundle, monkeypatch):
    masked(monkeypatch, FLAG)
    path = quantized_toy(toy_bundle, second={"passed": False})
    masked(monkeypatch, "avx2")
    with pytest.warns(match="ort fp32 is taken instead"):
        found = gates(path)
    assert found["graph eyes/image_encoder"].note.endswith("ort fp32")
    assert (found["verb eyes.embed_image #1"].bound, found["verb eyes.embed_image #1"].passed) == (1e-4, True)


def test_a_verb_that_was_not_recorded_is_not_judged(quantized):
    edit(quantized, ("quantized", "cpu", ROLE, "cases"), [])
    assert gates(quantized)["verb eyes.embed_image #1"].note == "not judged: it was not recorded when the model was quantized"


def test_another_precision_than_it_was_placed_in_fails_and_is_named(quantized, monkeypatch):
    monkeypatch.setattr("mmedge.backends.ort.OrtRunner.executed", lambda runner: {"precision": "bf16"})
    error, found = failed(quantized)
    gate = found["precision eyes/image_encoder"]
    assert (gate.value, gate.bound) == ("bf16", "int8") and "precision eyes/image_encoder: bf16 (bound int8)" in error.what


def test_a_graph_in_8_bits_that_is_placed_as_fp32(quantized):
    edit(quantized, ("engines", "cpu", "eyes/image_encoder", "precision"), "fp32")
    assert failed(quantized)[1]["precision eyes/image_encoder"].value == "int8"


def test_a_graph_in_fp32_that_is_called_int8(quantized):
    """It answers as it did when it was made, and holds no integers."""
    entry = manifest_of(quantized).models[ROLE].graphs[KEY]
    outputs = Golden(Bundle.open(quantized), ROLE).graph(KEY)[1]
    swap(quantized, (*VARIANT, "file"), (quantized / entry.file.path).read_bytes())
    swap(quantized, (*VARIANT, "outputs"), pack_outputs(outputs))
    edit(quantized, ("engines", "cpu", "eyes/image_encoder", "made_of"), entry.file.sha256)
    rated = manifest_of(quantized).quantized["cpu"][ROLE].model_dump(mode="json")["graphs"]
    rated[KEY]["rated"][0]["made_of"] = entry.file.sha256
    edit(quantized, ("quantized", "cpu", ROLE, "graphs"), rated)
    assert failed(quantized)[1]["precision eyes/image_encoder"].value == "fp32"


@pytest.mark.parametrize(
    ("precision", "executed", "said"),
    [
        ("fp32", {"precision": "bf16"}, "bf16"),
        ("fp32", {"precision": "fp16", "layers": "9 in fp16, 2 in fp32"}, "fp16"),
        ("fp16", {"precision": "fp32", "layers": "9 in fp32, 2 in fp16"}, ""),
        ("fp16", {"precision": "fp32", "layers": "9 in fp32"}, "fp32"),
        ("fp32", {"precision": "as the file declares every tensor"}, ""),
        ("fp32", {}, ""),
    ],
)
def test_what_a_runtime_says_of_itself(precision, executed, said):
    assert betrays(Placement(state="ready", backend="ort", precision=precision, reason=""), executed) == said


def test_a_list_says_what_runs_and_what_it_rests_on(quantized, monkeypatch):
    masked(monkeypatch, "avx2")
    said = describe(manifest_of(quantized)).splitlines()
    assert any(line.startswith("    as ort quick: eyes/quick.") and line.endswith("(int8; differs from fp32 by 9.0%)") for line in said)
    assert "  eyes/image_encoder: ort int8 quick: the fastest that holds" in said
    assert f"    rests on {FLAG}; this CPU lacks {FLAG}: here it runs as the next candidate" in said
    judged = "quantized eyes by classification on pictures: accuracy 0.896, in fp32 0.900: +0.40 points lost (+0.30 to +0.50), 1 allowed: kept"
    assert f"  {judged}" in said
    assert f"  {judged}" in summary(manifest_of(quantized), quantized).splitlines()


def test_answers_become_plain_json():
    assert plain([("a", np.float32(0.5)), {"n": np.int64(3)}]) == [["a", 0.5], {"n": 3}]


def test_outputs_may_have_any_name(quantized):
    content = pack_outputs({"file": np.ones(2, np.float32), "allow_pickle": np.zeros(1, np.int64)})
    swap(quantized, (*VARIANT, "outputs"), content)
    found = outputs_of(Bundle.open(quantized), manifest_of(quantized).models[ROLE].graphs[KEY].variants[0])
    assert found.keys() == {"file", "allow_pickle"} and found["file"].tolist() == [1, 1]
