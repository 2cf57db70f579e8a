"""What an export says, refuses and writes down, whatever the family."""

from __future__ import annotations

import re

import pytest

from mmedge.build.export import export
from mmedge.errors import MmedgeError
from mmedge.family import Allow
from mmedge.recipe import Model, Recipe
from mmedge.target import Target

TOY = Recipe(name="toy", models={"eyes": Model(family="toy")})


@pytest.mark.parametrize("limit", [{"max_opset": 17}, {"max_ir": 9}], ids=["opset", "IR"])
def test_a_target_that_reads_less_than_can_be_written_is_refused_before_anything_is_fetched(tmp_path, limit):
    model = Model(family="chat", folder="nowhere")
    old = Target.load("cpu").model_copy(update={"name": "old", **limit})
    with pytest.raises(MmedgeError) as caught:
        export(Recipe(name="one", models={"role": model}), tmp_path / "bundle", [Target.load("null"), old], report=lambda line: None)
    assert caught.value.what.startswith(f"old takes up to opset {old.max_opset}, IR {old.max_ir}; role is written in opset 18, IR 10")
    assert "leave that target out" in caught.value.fix
    assert not (tmp_path / "bundle").exists()


def test_a_graph_s_difference_is_told_as_a_share_of_its_bound(tmp_path):
    said = []
    bundle = export(TOY, tmp_path / "bundle", [Target.load("cpu")], report=said.append)
    shares = {found[1]: float(found[2]) for line in said if (found := re.fullmatch(r"ok +(graph .*): ([0-9.]+)% of its bound", line))}
    assert shares == {gate.name: round(100 * gate.value, 2) for gate in bundle.manifest.gates["check cpu"] if gate.name.startswith("graph ")} != {}


def test_what_was_accepted_is_written_down(tmp_path, monkeypatch):
    from mmedge.families.toy import export as toy

    assert export(TOY, tmp_path / "plain", [Target.load("null")], report=lambda line: None).manifest.provenance["accepted"] == {}

    def accepting(folder, options, media, allow, real=toy.export):
        allow.accept("Brain", "left out", ["a", "b"])
        return real(folder, options, media, allow)

    monkeypatch.setattr(toy, "export", accepting)
    bundle = export(TOY, tmp_path / "bundle", [Target.load("null")], allow=Allow(weights=True), report=lambda line: None)
    assert bundle.manifest.provenance["allowed"] == ["--any-weights"]
    assert bundle.manifest.provenance["accepted"] == {"Brain": {"left out": {"count": 2, "names": ["a", "b"]}}}
