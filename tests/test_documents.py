from __future__ import annotations

import errno
import json
import os

import pytest

from mmedge.documents import dump_json, read_json, read_plain, read_toml, replace_file
from mmedge.errors import MmedgeError, first_line
from mmedge.manifest import Manifest
from mmedge.recipe import Recipe
from mmedge.target import Target

FILE = {"path": "a", "sha256": "0" * 64, "size_bytes": 1}
GRAPH = {"file": FILE, "inputs": [], "outputs": [], "opset": 18, "ir": 10, "reference": ""}
MANIFEST = {
    "schema": "mmedge.bundle/1",
    "name": "x",
    "created": "",
    "models": {"eyes": {"family": "toy", "config": {}, "graphs": {"g": GRAPH}, "assets": {}, "golden": FILE, "cases": []}},
    "media": {"text": "a cat"},
}
RECIPE = 'schema = "mmedge.recipe/1"\nname = "x"\n[models.eyes]\nfamily = "toy"\n'


def _error(path, model, text):
    path.write_text(text)
    with pytest.raises(MmedgeError) as caught:
        read_json(path, model, fix="make it again") if path.suffix == ".json" else read_toml(path, model)
    assert "\n" not in caught.value.what + caught.value.fix
    return caught.value


@pytest.mark.parametrize(
    ("text", "what", "fix"),
    [
        (RECIPE + "famly = 1\n", "unknown key models.eyes.famly", "did you mean family?"),
        (RECIPE.replace("name", "nmae"), "unknown key nmae", "did you mean name?"),
        (RECIPE.replace("family", "familly"), "unknown key models.eyes.familly", "did you mean family?"),
        (RECIPE + "zzzzzzzzzz = 1\n", "unknown key models.eyes.zzzzzzzzzz", "known keys: "),
        (RECIPE.replace('"x"', "3"), "name: Input should be a valid string", "correct that value"),
        (RECIPE.replace("recipe/1", "recipe/2"), "has schema mmedge.recipe/2, this mmedge reads up to mmedge.recipe/1", "update mmedge"),
        (RECIPE.replace("mmedge.recipe", "mmedge.target"), "is not a mmedge.recipe document", "should begin"),
        ("schema = ", "cannot be read as TOML", "correct the file"),
        ("schema = \udcff", "cannot be read as TOML", "correct the file"),
        ("a = " + "[" * 5000, "cannot be read as TOML", "correct the file"),
        ("a = " + "1" * 5000, "cannot be read as TOML", "correct the file"),
        (RECIPE.replace("models.eyes", 'models."../eyes"'), "the role '../eyes' is no name", "correct that value"),
    ],
)
def test_a_wrong_recipe_is_answered_with_what_is_wrong(tmp_path, text, what, fix):
    path = tmp_path / "r.toml"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(MmedgeError) as caught:
        read_toml(path, Recipe)
    assert what in caught.value.what
    assert fix in caught.value.fix


def test_a_wrong_key_in_a_target_is_answered_with_the_nearest(tmp_path):
    text = 'schema = "mmedge.target/1"\nname = "t"\nsummary = ""\nbackends = ["ort"]\nmax_opset = 18\nmax_ir = 10\n'
    assert _error(tmp_path / "t.toml", Target, text + "max_opsets = 3\n").fix == "did you mean max_opset?"
    assert _error(tmp_path / "t.toml", Target, text + "[detect]\nrnak = 3\n").fix == "did you mean rank?"


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "a/../../x", "C:/x", "a\\b", ""])
def test_a_name_that_leads_outside_the_bundle_is_refused(tmp_path, path):
    manifest = json.dumps({**MANIFEST, "media": {"cat": {**FILE, "path": path}}})
    error = _error(tmp_path / "manifest.json", Manifest, manifest)
    assert error.what.endswith(f"media.cat.File.path: {path!r} would lie outside the bundle") and error.fix == "make it again"


@pytest.mark.parametrize(
    ("content", "kind", "said"),
    [
        (None, dict, "cannot be read as JSON: No such file or directory"),
        (b'{"a": "\xff"}', dict, "cannot be read as JSON: 'utf-8' codec"),
        (b"{", dict, "cannot be read as JSON: Expecting property name"),
        (b"[" * 100_000, dict, "cannot be read as JSON: maximum recursion depth"),
        (b'{"a": ' + b"1" * 5000 + b"}", dict, "cannot be read as JSON: Exceeds the limit"),
        (b"[1]", dict, "holds no JSON object"),
        (b"null", dict, "holds no JSON object"),
        (b"{}", list, "holds no JSON list"),
    ],
)
def test_damaged_json_of_others_is_refused_by_name(tmp_path, content, kind, said):
    path = tmp_path / "config.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(MmedgeError) as caught:
        read_plain(path, kind)
    assert caught.value.what.startswith(f"{path} {said}")
    assert caught.value.fix == "get an undamaged checkpoint"


def test_json_of_others_comes_as_it_is(tmp_path):
    (tmp_path / "config.json").write_text('{"a": "å", "b": [1.5, null]}', encoding="utf-8")
    (tmp_path / "labels.json").write_text("[1]")
    assert read_plain(tmp_path / "config.json") == {"a": "å", "b": [1.5, None]}
    assert read_plain(tmp_path / "labels.json", list) == [1]
    assert read_plain(tmp_path / "none.json", required=False) == {}
    with pytest.raises(MmedgeError):
        read_plain(tmp_path / "labels.json", required=False)


def test_an_error_of_others_is_told_by_its_first_line():
    assert first_line(ValueError("\n  it broke \nat line 3")) == "it broke"
    assert first_line(KeyError()) == "KeyError"


def test_what_is_written_reads_back(tmp_path):
    manifest = Manifest.model_validate(MANIFEST)
    replace_file(tmp_path / "manifest.json", dump_json(manifest).encode())
    assert read_json(tmp_path / "manifest.json", Manifest, fix="") == manifest
    assert os.listdir(tmp_path) == ["manifest.json"]


def test_no_space_keeps_the_old_file_and_leaves_nothing(tmp_path, monkeypatch):
    path = tmp_path / "manifest.json"
    path.write_text("old")

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(MmedgeError) as caught:
        replace_file(path, b"new")
    assert "no space left" in caught.value.what
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["manifest.json"]
