"""What a bad disk and a hostile bundle do to the commands: two lines, status 2, and everything that was there stays as it was."""

from __future__ import annotations

import errno
import io
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
from tampering import edit, state, swap

from mmedge.bundle import MANIFEST, Bundle

GRAPH = ("models", "eyes", "graphs", "image_encoder")
CASES = ("models", "eyes", "cases")
PLACED = ("engines", "cpu", "eyes/image_encoder")


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("[" * 100_000, "cannot be read as JSON"),
        ('{"name": ' + "1" * 5000 + "}", "cannot be read as JSON"),
        ("null", "Input should be a valid dictionary"),
        ('{"schema": "mmedge.bundle/²"}', "is not a mmedge.bundle document"),
        ('{"schema": "mmedge.bundle/' + "9" * 5000 + '"}', "is not a mmedge.bundle document"),
    ],
)
def test_a_manifest_that_is_none(refused, toy_bundle, text, what):
    (toy_bundle / MANIFEST).write_text(text)
    found, fix = refused("inspect", toy_bundle)
    assert what in found and (fix.startswith(("export the bundle again", "it should begin")))


@pytest.mark.parametrize(
    ("where", "value", "what"),
    [
        ((*GRAPH, "file", "path"), "a\0b", "would lie outside the bundle"),
        ((*GRAPH, "file", "path"), "x" * 5000, "File name too long"),
        ((*GRAPH, "file", "size_bytes"), "many", "valid integer"),
        ((*GRAPH, "file", "size_bytes"), 10**30, "is damaged"),
        ((*GRAPH, "file", "sha256"), "0" * 63, "should match pattern"),
        (("models",), {}, "models: Dictionary should have at least 1 item"),
        (("models", "eyes", "graphs"), {}, "graphs: Dictionary should have at least 1 item"),
        (("models", "eyes", "assets"), {}, "the model 'eyes' lacks its colours.json"),
        (("models", "eyes", "family"), "../toy", "there is no model family '../toy'"),
        (("models", "eyes", "config"), {"sise": 8}, "unknown key sise"),
        (("models", "eyes", "config"), {"size": 10**6}, "size: Input should be less than"),
        ((*PLACED, "backend"), "os.path", "there is no backend 'os.path'"),
        ((*PLACED, "precision"), "fp7", "precision: Input should be"),
        ((*CASES, 1, "call"), "__class__", "calls __class__(image), which the family toy does not offer"),
        ((*CASES, 1, "args"), {"picture": "@cat"}, "calls embed_image(picture), which the family toy does not offer"),
        ((*CASES, 1, "args"), {"image": "@dog"}, "lacks the medium @dog"),
        ((*CASES, 1, "args"), {"image": 7}, "a int is not a picture"),
        ((*CASES, 1, "arrays"), ["other"], "lacks case/1/other"),
    ],
)
def test_a_manifest_that_promises_what_is_not_there(refused, toy_bundle, where, value, what):
    edit(toy_bundle, where, value)
    before = state(toy_bundle)
    assert what in refused("check", toy_bundle, "-t", "cpu")[0]
    assert state(toy_bundle) == before


@pytest.mark.full
def test_profile_calls_nothing_either_that_the_family_does_not_offer(refused, toy_bundle):
    edit(toy_bundle, (*CASES, 1, "call"), "__init__")
    assert "does not offer" in refused("profile", toy_bundle, "-t", "cpu", "--seconds", "0.1")[0]


class Hostile:
    def __reduce__(self):
        return os.mkdir, ("run-by-a-pickle",)


def _npz(name, content):
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr(name, content)
    return made.getvalue()


def _with_pickle():
    made = io.BytesIO()
    np.savez(made, **{"graph/image_encoder/in/pixel_values": np.array([Hostile()], dtype=object)})
    return made.getvalue()


def _huge():
    header = "{'descr': '<f4', 'fortran_order': False, 'shape': (100000000000000,), }".ljust(117).encode() + b"\n"
    return _npz("graph/image_encoder/in/pixel_values.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "is no golden data"),
        (b"PK\x03\x04 and then nothing", "is no golden data"),
        (_with_pickle(), "Object arrays cannot be loaded"),
        (_huge(), "Unable to allocate"),
        (_npz("readme.txt", "hello"), "the golden data of eyes in"),
    ],
    ids=["empty", "no zip", "pickle", "huge", "other"],
)
def test_golden_data_that_is_none_even_under_the_right_checksum(refused, toy_bundle, content, what):
    swap(toy_bundle, ("models", "eyes", "golden"), content)
    for command in ("check", "compile", "profile"):
        assert what in refused(command, toy_bundle, "-t", "cpu")[0]
    assert not Path("run-by-a-pickle").exists()


@pytest.mark.parametrize("content", [b"", b"no model at all"])
def test_a_graph_that_no_runtime_opens_is_no_failed_gate(refused, toy_bundle, content):
    swap(toy_bundle, (*GRAPH, "file"), content)
    assert "can be opened by no backend of cpu: ort fp32: onnxruntime" in refused("compile", toy_bundle, "-t", "cpu")[0]


@pytest.mark.parametrize("instead", ["folder", "pipe", "link"])
def test_something_else_in_the_place_of_a_file(refused, toy_bundle, tmp_path, instead):
    path = next(toy_bundle.glob("eyes/colours.*"))
    content = path.read_bytes()
    path.unlink()
    if instead == "folder":
        path.mkdir()
    elif instead == "pipe":
        os.mkfifo(path)
    else:
        (tmp_path / "outside.json").write_bytes(content)
        path.symlink_to(tmp_path / "outside.json")
    assert str(path) in refused("check", toy_bundle, "-t", "cpu")[0]


def test_an_export_replaces_what_is_damaged_and_keeps_what_is_whole(mmedge, toy_bundle):
    graph = next(toy_bundle.glob("eyes/image_encoder.*"))
    asset = next(toy_bundle.glob("eyes/colours.*"))
    written_ns, good = graph.stat().st_mtime_ns, asset.read_bytes()
    (toy_bundle / MANIFEST).write_text("{")
    asset.write_bytes(b"damaged")
    (toy_bundle / ".scratch-killed").mkdir()
    status, _, said = mmedge("export", "toy", "-t", "cpu", "-o", toy_bundle)
    assert status == 0, said
    assert graph.stat().st_mtime_ns == written_ns and asset.read_bytes() == good
    assert mmedge("inspect", toy_bundle)[0] == 0 and not list(toy_bundle.glob(".scratch-*"))


def test_an_export_does_not_write_through_a_link(refused, toy_bundle, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (toy_bundle / "eyes").rename(tmp_path / "old")
    (toy_bundle / "eyes").symlink_to(tmp_path / "elsewhere")
    assert "would land outside the bundle" in refused("export", "toy", "-t", "cpu", "-o", toy_bundle)[0]
    assert os.listdir(tmp_path / "elsewhere") == []


@pytest.mark.parametrize("command", [("export", "toy", "-o"), ("compile",), ("check",)])
def test_a_full_disk_leaves_the_bundle_as_it_was(refused, toy_bundle, monkeypatch, command):
    before = state(toy_bundle)

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    what, fix = refused(*command, toy_bundle, "-t", "cpu")
    assert "no space left to write" in what and "free some space" in fix
    assert state(toy_bundle) == before


def test_no_room_for_a_graph_on_its_way_into_the_bundle(refused, monkeypatch):
    def full(path, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    assert "no space left to write new.bundle" in refused("export", "toy", "-t", "cpu", "-o", "new.bundle")[0]


def test_an_answer_that_is_no_number_fails_its_gate(refused, toy_bundle, monkeypatch):
    monkeypatch.setattr("mmedge.families.toy.session.Session.embed_image", lambda self, image: np.full(3, np.nan, np.float32))
    assert "first verb eyes.embed_image" in refused("check", toy_bundle, "-t", "cpu", status=3)[0]
    assert [gate.passed for gate in Bundle.open(toy_bundle).manifest.gates["check cpu"]] == [True, True, False]
