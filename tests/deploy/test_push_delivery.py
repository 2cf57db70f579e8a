"""Deliver to a board, switch over, roll back: over a real sshd, with a mmedge there that always says yes (test_push_real.py has the real one)."""

from __future__ import annotations

import json
import os

import pytest
from quantized_toy import quantized_toy
from tampering import edit, grown

from mmedge.bundle import MANIFEST, Bundle
from mmedge.deploy.on import run_on
from mmedge.deploy.push import push, rollback
from mmedge.errors import MmedgeError
from mmedge.manifest import Manifest


def test_a_push_brings_what_the_manifest_names_and_nothing_else(board, toy_bundle, said):
    board.answers(toy_bundle)
    (toy_bundle / "orphan.bin").write_bytes(b"left by a killed build")
    (toy_bundle / ".lock").touch()
    manifest = Bundle.open(toy_bundle).manifest
    made = push(toy_bundle, "board", "cpu", said.append)
    folder = board.home / "mmedge" / "toy"
    there = {path.relative_to(folder / "current").as_posix(): path for path in (folder / "current").rglob("*") if path.is_file()}
    assert there.keys() == {file.path for file in manifest.files()} | {MANIFEST}
    assert all(path.read_bytes() == (toy_bundle / name).read_bytes() for name, path in there.items() if name != MANIFEST)
    assert json.loads((folder / "current" / MANIFEST).read_text()) == json.loads((toy_bundle / MANIFEST).read_text())
    assert os.readlink(folder / "current") == f"releases/{made.release}"
    assert board.calls == ["targets --json", *(f"{verb} ./mmedge/toy/releases/{made.release} --target cpu --json" for verb in ("compile", "check"))]
    total = sum(file.size_bytes for file in manifest.files())
    assert (made.dir, made.previous, made.uploaded_bytes, made.reused_bytes) == (str(folder), None, total, 0)
    assert [gate.name for gate in made.gates] == [gate.name for gate in manifest.gates["check cpu"]]
    assert "verified on board: 7 files" in said


def test_candidates_and_what_they_gave_are_delivered(board, toy_bundle, said):
    quantized_toy(toy_bundle)
    board.answers(toy_bundle)
    made = push(toy_bundle, "board", "cpu", said.append)
    there = Bundle.open(board.home / "mmedge" / "toy" / "current")
    assert there.manifest.quantized == Bundle.open(toy_bundle).manifest.quantized
    assert all(there.file(file) for file in there.manifest.files())
    edit(toy_bundle, ("quantized", "cpu", "eyes", "graphs", "image_encoder", "chosen"), "ort spare")
    assert push(toy_bundle, "board", "cpu", said.append).release != made.release  # another choice is another bundle


def test_only_what_changed_crosses_the_network(board, toy_bundle, delivered):
    entry = grown(toy_bundle, 70_000)
    made = push(toy_bundle, "board", "cpu", lambda line: None)
    old, new = (board.home / "mmedge/toy/releases" / one for one in (delivered.release, made.release))
    assert (made.previous, made.uploaded_bytes, made.reused_bytes) == (delivered.release, 70_000, delivered.uploaded_bytes)
    assert (new / entry.path).stat().st_size == 70_000 and not (old / entry.path).exists()
    shared = [path.relative_to(old) for path in old.rglob("*") if path.is_file() and path.name != MANIFEST]
    assert shared and all((old / name).stat().st_ino == (new / name).stat().st_ino for name in shared)
    assert (old / MANIFEST).stat().st_ino != (new / MANIFEST).stat().st_ino


@pytest.mark.full
def test_the_same_again_sends_nothing_and_keeps_what_the_board_compiled(board, toy_bundle, delivered):
    path = board.home / "mmedge/toy/current" / MANIFEST
    compiled = json.loads(path.read_text())
    compiled["engines"] = {}
    path.write_text(json.dumps(compiled))
    with Bundle.writing(toy_bundle) as here:  # a check here: another manifest, but no other bundle
        here.manifest = here.manifest.model_copy(update={"gates": {}})
        here.commit()
    made = push(toy_bundle, "board", "cpu", lambda line: None)
    assert (made.release, made.previous, made.uploaded_bytes) == (delivered.release, None, 0)
    assert json.loads(path.read_text()) == compiled
    assert (board.home / "mmedge/toy/history").read_text() == f"{delivered.release}\n"
    path.write_text("{")
    push(toy_bundle, "board", "cpu", lambda line: None)
    assert json.loads(path.read_text())["models"] == compiled["models"], "a damaged manifest is sent again"


@pytest.mark.full
def test_what_was_damaged_there_is_found_and_sent_again(board, toy_bundle, delivered, said):
    entry = Bundle.open(toy_bundle).manifest.media["cat"]
    damaged = board.home / "mmedge/toy/current" / entry.path
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    grown(toy_bundle, 1000)
    made = push(toy_bundle, "board", "cpu", said.append)
    assert f"damaged on board, sending again: {entry.path}" in said
    assert (board.home / "mmedge/toy/releases" / made.release / entry.path).read_bytes() == (toy_bundle / entry.path).read_bytes()
    assert 1000 < made.uploaded_bytes < 1000 + entry.size_bytes


@pytest.mark.full
def test_rollback_and_forward(board, toy_bundle, delivered, said):
    first = delivered.release
    with pytest.raises(MmedgeError, match=f"there is no release before {first} in mmedge/toy on board"):
        rollback(toy_bundle, "board", said.append)
    grown(toy_bundle, 10)
    second = push(toy_bundle, "board", "cpu", said.append).release
    made = rollback(toy_bundle, "board", said.append)
    assert (made.release, made.previous, board.live(), made.gates) == (first, None, first, ())
    assert f"{second} is no longer live" in said
    with pytest.raises(MmedgeError, match="there is no release before"):
        rollback(toy_bundle, "board:mmedge/toy", said.append)
    grown(toy_bundle, 20)
    third = push(toy_bundle, "board", "cpu", said.append)
    assert (third.previous, third.removed) == (first, (second,)), "what was rolled back is no release to return to"
    assert rollback(toy_bundle.parent / "gone", "board:mmedge/toy", said.append).release == first


@pytest.mark.full
def test_old_releases_go_but_never_the_one_before(board, toy_bundle, delivered, said):
    made = [delivered.release]
    for size in (1, 2, 3):
        grown(toy_bundle, size)
        made.append(push(toy_bundle, "board", "cpu", said.append).release)
    assert sorted(path.name for path in (board.home / "mmedge/toy/releases").iterdir()) == sorted(made[1:])
    assert f"removed release {made[0]}" in said
    assert [rollback(toy_bundle, "board", said.append).release for _ in range(2)] == [made[2], made[1]]
    with pytest.raises(MmedgeError, match="there is no release before"):
        rollback(toy_bundle, "board", said.append)


@pytest.mark.full
def test_targets_are_the_boards_own(board, toy_bundle, said):
    board.answers(toy_bundle)
    answer = board.home / "answers" / "targets"
    known = json.loads(answer.read_text())
    answer.write_text(json.dumps({**known, "here": [], "best": "null"}))  # an older mmedge does not say all that the board is
    assert push(toy_bundle, "board", None, said.append).target == "null"
    board_is = ["jetson-orin-nano", "jetson", "cpu"]
    answer.write_text(json.dumps({**known, "here": board_is, "best": board_is[0]}))
    assert push(toy_bundle, "board", None, said.append).target == "jetson-orin-nano"  # what is compiled for a CPU holds no board back
    edit(toy_bundle, ("engines", "jetson"), json.loads((toy_bundle / MANIFEST).read_text())["engines"]["cpu"])
    board.answers(toy_bundle)
    answer.write_text(json.dumps({**known, "here": board_is, "best": board_is[0]}))
    assert push(toy_bundle, "board", None, said.append).target == "jetson"
    assert "target jetson: the bundle was made for it, and not for the best of board, jetson-orin-nano" in said
    with pytest.raises(MmedgeError, match="mmedge on board knows no target 'mine") as found:
        push(toy_bundle, "board", "mine.toml", said.append)
    assert "cpu" in found.value.fix


@pytest.mark.full
def test_hostile_names_are_only_names(board, toy_bundle, said):
    board.answers(toy_bundle)
    name = "extra/-x $(touch pwned) `touch pwned` '\"\n;touch pwned.bin"
    with Bundle.writing(toy_bundle) as writing:
        entry = writing.add("extra", "plain.bin", b"content").model_copy(update={"path": name})
        (toy_bundle / name).write_bytes(b"content")
        writing.manifest = writing.manifest.model_copy(update={"media": {"extra": entry}, "name": "../$(touch pwned)"})
        writing.commit()
    folder = "a $(touch pwned) 'b' \"c\" ; touch pwned # *"
    made = push(toy_bundle, f"board:{folder}", "cpu", said.append)
    assert (board.home / folder / "releases" / made.release / name).read_bytes() == b"content"
    assert push(toy_bundle, f"board:{folder}", "cpu", said.append).uploaded_bytes == 0
    assert not list(board.home.rglob("pwned"))
    (board.home / folder / "history").write_text(f"../../x\n-rf\n{'a' * 12}\n{made.release}\n")
    with pytest.raises(MmedgeError, match="no release before"):
        rollback(toy_bundle, f"board:{folder}", said.append)


@pytest.mark.full
def test_on_brings_the_document_home(board, toy_bundle, delivered, said):
    made = run_on(toy_bundle, "board", ["check", "--target", "cpu"], [Manifest], said.append)
    assert made == Bundle.open(toy_bundle).manifest
    assert board.calls[-1] == "check ./mmedge/toy/current --target cpu --json"
    assert not any("runs release" in line for line in said)
    grown(toy_bundle, 10)
    run_on(toy_bundle, "board", ["check"], [Manifest], said.append)
    assert any(line.startswith(f"board runs release {delivered.release}") for line in said)
    board.says("check", "echo working >&2; exit 3")
    with pytest.raises(MmedgeError) as found:
        run_on(toy_bundle, "board", ["check"], [Manifest], said.append)
    assert "board: working" in said and found.value.what == "mmedge check failed on board: working"
