"""A profile of a quantized bundle says what really ran."""

from __future__ import annotations

import pytest
from quantized_toy import CPU, FLAG, KEY, ROLE, manifest_of, masked, quantized_toy

from mmedge.bundle import Bundle
from mmedge.evaluate.golden import Golden
from mmedge.profile import measure
from mmedge.profile.fresh import start
from mmedge.profile.operators import operators
from mmedge.profile.report import Rules


@pytest.fixture
def quantized(toy_bundle, monkeypatch):
    masked(monkeypatch, FLAG)
    monkeypatch.setattr(measure, "roof", lambda graph, *given: None)
    return quantized_toy(toy_bundle)


def test_the_file_that_ran_is_named(quantized, monkeypatch):
    masked(monkeypatch, "avx2")
    with pytest.warns(match="ort spare is taken instead"):
        rows, _ = measure.levels(Bundle.open(quantized), CPU, Rules(seconds=0.01, samples=3), lambda line: None)
    graph = next(row for row in rows if row.level == "graph")
    entry = manifest_of(quantized).models[ROLE].graphs[KEY]
    assert graph.identity.graph == entry.variants[1].file.sha256
    assert (graph.where, graph.identity.precision, graph.identity.executed["precision"]) == ("ort int8", "int8", "int8")


def test_operators_are_those_of_the_variant(quantized):
    bundle = Bundle.open(quantized)
    found = operators(bundle, ROLE, KEY, CPU, Golden(bundle, ROLE).graph(KEY)[0])
    assert any("MatMul" in kind.kind for kind in found.kinds)  # the toy in fp32 has none


def test_a_start_reads_only_what_it_opens(quantized):
    entry = manifest_of(quantized).models[ROLE].graphs[KEY]
    for file in (entry.file, entry.variants[1].file):
        (quantized / file.path).unlink()
    assert start(quantized, CPU, "", 0.0)["answer"] == "eyes.embed_image"
