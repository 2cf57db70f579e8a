from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from mmedge.bundle import MANIFEST, Bundle
from mmedge.deploy.check import check
from mmedge.deploy.inspect import inspect
from mmedge.documents import replace_file
from mmedge.errors import GateFailed, MmedgeError
from mmedge.target import Target

SLOW = """
import time
import mmedge.build.export as module

def wait(*arguments):
    print("placing", flush=True)
    time.sleep(30)

module.place = wait
from mmedge.cli import main
main()
"""


def quiet(line):
    pass


@pytest.fixture
def bundle(toy_bundle):
    return Bundle.open(toy_bundle)


def test_names_carry_their_hash_and_stay(bundle):
    entry = bundle.manifest.models["eyes"].graphs["image_encoder"].file
    assert entry.path == f"eyes/image_encoder.{entry.sha256[:8]}.onnx"
    assert bundle.file(entry).stat().st_size == entry.size_bytes


def test_a_session_opens_by_role_and_target(bundle):
    picture = np.zeros((20, 30, 3), np.uint8)
    picture[..., 2] = 250
    with bundle.session("eyes", target="cpu") as eyes:
        assert eyes.classify(picture, ["red", "blue", "green"])[0][0] == "blue"
        np.testing.assert_allclose(eyes.embed_image(picture), [-1, -1, 250 / 127.5 - 1], atol=1e-5)


@pytest.mark.parametrize("damage", ["truncate", "flip", "remove", "link"])
def test_a_damaged_file_is_named_not_used(bundle, damage, tmp_path):
    path = bundle.path / bundle.manifest.models["eyes"].graphs["image_encoder"].file.path
    content = path.read_bytes()
    path.unlink()
    if damage == "truncate":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "flip":
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    elif damage == "link":
        outside = tmp_path / "outside.onnx"
        outside.write_bytes(content)
        path.symlink_to(outside)
    with pytest.raises(MmedgeError) as caught, Bundle.open(bundle.path).session("eyes", target="cpu"):
        pass
    assert str(path) in caught.value.what
    with pytest.raises(MmedgeError):
        inspect(bundle.path)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "cannot be read as JSON"),
        ("{}", "is not a mmedge.bundle document"),
        ('{"schema": "mmedge.bundle/7"}', "reads up to mmedge.bundle/1"),
        (None, "has no manifest.json"),
    ],
)
def test_a_damaged_manifest_is_one_error(bundle, text, what):
    path = bundle.path / MANIFEST
    if text is None:
        path.unlink()
    else:
        path.write_text(text)
    with pytest.raises(MmedgeError, match=what):
        Bundle.open(bundle.path)


def test_a_model_and_a_target_that_are_not_there(bundle):
    with pytest.raises(MmedgeError, match="has no model 'ears'"), bundle.session("ears", target="cpu"):
        pass
    with pytest.raises(MmedgeError, match="is not compiled for null"), bundle.session("eyes", target="null"):
        pass
    with pytest.raises(MmedgeError, match="there is no bundle at"):
        Bundle.open(bundle.path / "nothing")


def test_a_file_is_no_bundle(bundle):
    with pytest.raises(MmedgeError, match=r"manifest.json is a file, and a bundle is a folder") as error:
        Bundle.open(bundle.path / "manifest.json")
    assert error.value.fix == f"name its folder: {bundle.path}"
    (bundle.path / "other.json").write_text("{}")
    with pytest.raises(MmedgeError, match=r"other.json is a file") as error:
        Bundle.open(bundle.path / "other.json")
    assert error.value.fix == "name the folder that mmedge export wrote"


def test_two_writers_do_not_meet(bundle):
    with Bundle.writing(bundle.path), pytest.raises(MmedgeError, match="another build"), Bundle.writing(bundle.path):
        pass


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(MmedgeError, match="is not a bundle"), Bundle.writing(tmp_path, create=True):
        pass
    assert os.listdir(tmp_path) == ["thesis.txt"]


def test_orphans_are_listed_then_removed(bundle):
    orphan = bundle.path / "eyes" / "image_encoder.00000000.onnx"
    orphan.write_bytes(b"left by a killed build")
    assert inspect(bundle.path)[1] == [orphan]
    assert orphan.exists()
    assert inspect(bundle.path, gc=True)[1] == [orphan]
    assert inspect(bundle.path)[1] == []


def test_check_says_no_when_an_answer_changed(bundle):
    text = (bundle.path / MANIFEST).read_text()
    manifest = json.loads(text)
    golden = bundle.path / manifest["models"]["eyes"]["golden"]["path"]
    with np.load(golden) as stored:
        arrays = dict(stored)
    arrays["graph/image_encoder/out/image_embedding"] = arrays["graph/image_encoder/out/image_embedding"] + 0.01
    np.savez(golden, **arrays)
    content = golden.read_bytes()
    manifest["models"]["eyes"]["golden"].update(sha256=hashlib.sha256(content).hexdigest(), size_bytes=len(content))
    replace_file(bundle.path / MANIFEST, json.dumps(manifest).encode())
    with pytest.raises(GateFailed, match="first graph eyes/image_encoder") as caught:
        check(bundle.path, Target.load("cpu"), quiet)
    assert caught.value.status == 3
    gates = Bundle.open(bundle.path).manifest.gates["check cpu"]
    assert [gate.passed for gate in gates] == [False, True, True]


def test_golden_data_cannot_call_what_the_family_does_not_offer(bundle):
    manifest = json.loads((bundle.path / MANIFEST).read_text())
    manifest["models"]["eyes"]["cases"][0]["call"] = "__init__"
    (bundle.path / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(MmedgeError, match="does not offer"):
        check(bundle.path, Target.load("cpu"), quiet)


@pytest.mark.parametrize("there", [False, True])
def test_a_build_that_comes_to_nothing_leaves_nothing(tmp_path, there):
    def build():
        with Bundle.writing(tmp_path if there else tmp_path / "new", create=True) as writing, writing.scratch() as scratch:
            (scratch / "half").touch()
            1 / 0  # noqa: B018

    with pytest.raises(ZeroDivisionError):
        build()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.full
@pytest.mark.parametrize("stop", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_killed_build_leaves_the_old_bundle_usable(bundle, stop):
    before = (bundle.path / MANIFEST).read_bytes()
    command = [sys.executable, "-c", SLOW, "export", "toy", "--target", "cpu", "-o", str(bundle.path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "placing\n"
    process.send_signal(stop)
    start = time.monotonic()
    _, said = process.communicate(timeout=20)
    assert time.monotonic() - start < 10
    assert process.returncode == (-9 if stop == signal.SIGKILL else 130)
    assert stop == signal.SIGKILL or said.splitlines()[-2:] == ["error: interrupted", "fix: run it again: a build goes on from what was complete"]
    assert (bundle.path / MANIFEST).read_bytes() == before
    inspect(bundle.path)
    with Bundle.open(bundle.path).session("eyes", target="cpu"):
        pass
