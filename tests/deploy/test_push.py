"""Deliver to a board, switch over, roll back: over a real sshd, with a mmedge there that always says yes (test_push_real.py has the real one)."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time

import pytest

from mmedge.bundle import MANIFEST, Bundle
from mmedge.deploy import releases
from mmedge.deploy.on import run_on
from mmedge.deploy.push import push, rollback
from mmedge.deploy.releases import locked, look
from mmedge.deploy.remote import Remote
from mmedge.errors import MmedgeError
from mmedge.manifest import Manifest

SAYS = """#!/bin/sh
echo "$@" >>"$HOME/calls"
[ "$1" = {command} ] || exec cat "$HOME/answers/$1"
{body}
"""
CUT = """
import os, subprocess, sys, threading
rsync = subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE)
def feed(left=2_000_000):
    while left and (piece := os.read(0, min(left, 65536))):
        os.write(rsync.stdin.fileno(), piece)
        left -= len(piece)
    rsync.stdin.close()
threading.Thread(target=feed, daemon=True).start()
os._exit(rsync.wait())
"""
"""A network that fails after two megabytes."""
ACTS = {
    "push": push,
    "rollback": lambda bundle, where, target, report: rollback(bundle, where, report),
    "on": lambda bundle, where, target, report: run_on(bundle, where, ["check", "--target", target], [Manifest], report),
}


def grown(bundle, size, byte=0):
    """One more file in the bundle: another release."""
    with Bundle.writing(bundle) as writing:
        entry = writing.add("extra", "more.bin", bytes([byte]) * size if byte else os.urandom(size))
        writing.manifest = writing.manifest.model_copy(update={"media": {**writing.manifest.media, f"extra {entry.path}": entry}})
        writing.commit()
    return entry


@pytest.fixture
def delivered(board, toy_bundle, said):
    """The board with the toy live on it; its first release."""
    board.answers(toy_bundle)
    return push(toy_bundle, "board", "cpu", said.append)


@pytest.fixture
def said():
    return []


@pytest.fixture
def stays(board, delivered):
    """A push must fail, and leave what is live as it was. Returns its error."""

    def stays(bundle, where="board", status=2, act=push):
        before = board.state()
        with pytest.raises(MmedgeError) as found:
            act(bundle, where, "cpu", lambda line: None)
        after = board.state()
        assert board.live() == delivered.release
        assert {name: content for name, content in after.items() if name in before and not name.endswith(".lock")} == {
            name: content for name, content in before.items() if not name.endswith(".lock")
        }
        assert "\n" not in found.value.what + found.value.fix and found.value.status == status
        return found.value

    return stays


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


@pytest.mark.parametrize(
    ("command", "body", "status", "what", "fix"),
    [
        (
            "compile",
            """echo '{"schema": "mmedge.error/1", "status": 2, "error": "no backend of cpu works here", "fix": "mmedge targets"}'; exit 2""",
            2,
            "board: no backend of cpu works here",
            "there: mmedge targets",
        ),
        (
            "check",
            """echo '{"schema": "mmedge.error/1", "status": 3, "error": "1 of 3 checks failed on cpu", "fix": "do not \\u001b[2J deploy"}'; exit 3""",
            3,
            "board: 1 of 3 checks failed on cpu",
            "there: do not [2J deploy",
        ),
        pytest.param(
            "compile",
            "echo Traceback >&2; echo 'ZeroDivisionError: division by zero' >&2; exit 1",
            1,
            "ZeroDivisionError",
            "ssh board mmedge compile",
            marks=pytest.mark.full,
        ),
        pytest.param("check", "kill -KILL $$", 2, "mmedge check was killed on board (signal 9)", "memory", marks=pytest.mark.full),
        pytest.param("check", "echo '<html>'", 2, "mmedge check failed on board: its answer is no document", "ssh board mmedge check", marks=pytest.mark.full),
        pytest.param(
            "check", 'echo \'{"schema": "mmedge.bundle/9"}\'', 2, "has schema mmedge.bundle/9", "install the same mmedge on both sides", marks=pytest.mark.full
        ),
        pytest.param(
            "targets",
            'echo \'{"schema": "mmedge.targets/1", "nearest": 1}\'',
            2,
            "unknown key nearest",
            "install the same mmedge on both sides",
            marks=pytest.mark.full,
        ),
        pytest.param("compile", "exit 127", 2, "board has no mmedge on its PATH", "pip install", marks=pytest.mark.full),
    ],
)
def test_a_far_failure_keeps_its_words_and_its_status(board, toy_bundle, stays, command, body, status, what, fix):
    board.program(SAYS.format(command=command, body=body))
    grown(toy_bundle, 1000)
    found = stays(toy_bundle, status=status)
    assert what in found.what and fix in found.fix


@pytest.mark.full
def test_a_failed_release_goes_live_once_it_passes(board, toy_bundle, stays, delivered):
    grown(toy_bundle, 50_000)
    board.program(SAYS.format(command="check", body="exit 3"))
    stays(toy_bundle)
    board.answers(toy_bundle)
    made = push(toy_bundle, "board", "cpu", lambda line: None)
    assert (made.uploaded_bytes, made.previous, board.live()) == (0, delivered.release, made.release)


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


@pytest.mark.parametrize("act", ["rollback", "on"])
def test_nothing_was_pushed_yet(board, toy_bundle, act):
    board.answers(toy_bundle)
    with pytest.raises(MmedgeError, match="nothing was pushed to mmedge/toy on board yet") as found:
        ACTS[act](toy_bundle, "board", "cpu", lambda line: None)
    assert found.value.fix == "mmedge push BUNDLE board:mmedge/toy"
    assert not board.state(), "asking makes no folder"


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
def test_a_disk_that_does_not_keep_what_is_written(board, toy_bundle, stays):
    board.tool("sha256sum", """for one in "$@"; do printf '%s  %s\\0' 00 "$one"; done""")
    found = stays(toy_bundle)
    assert "does not arrive whole on board: its sha256 differs twice" in found.what and "dmesg" in found.fix


@pytest.mark.full
def test_an_upload_that_was_cut_goes_on_where_it_stopped(board, toy_bundle, stays, delivered):
    entry = grown(toy_bundle, 3_000_000)
    board.tool("rsync", f'exec {sys.executable} -c {shlex.quote(CUT)} {shutil.which("rsync")} "$@"')
    found = stays(toy_bundle)
    assert "the connection to board was lost" in found.what and found.fix == "run it again: what has arrived is kept"
    assert not list((board.home / "mmedge/toy/releases").glob(f"*/{entry.path}")), "half a file has no name that could be taken for the whole"
    board.repaired("rsync")
    made = push(toy_bundle, "board", "cpu", lambda line: None)
    assert 0 < made.uploaded_bytes < 1_500_000
    folder = board.home / "mmedge/toy/releases" / made.release
    assert (folder / entry.path).read_bytes() == (toy_bundle / entry.path).read_bytes()
    assert not list(folder.rglob(".partial"))


@pytest.mark.full
@pytest.mark.parametrize(("tool", "there"), [("rsync", True), ("flock", True), ("mmedge", True), ("rsync", False), ("ssh", False)])
def test_a_program_that_is_missing(board, toy_bundle, stays, monkeypatch, tmp_path, tool, there):
    if there:
        (board.home / ".local" / "bin" / tool if tool == "mmedge" else board.tools / tool).unlink()
    else:
        only = tmp_path / "only"
        only.mkdir()
        for kept in {"sh", "rsync", "ssh"} - {tool}:
            (only / kept).symlink_to(str(shutil.which(kept)))
        monkeypatch.setenv("PATH", str(only))
    grown(toy_bundle, 10)
    found = stays(toy_bundle)
    assert (f"board has no {tool}" if there else f"{tool} is not installed here") in found.what
    assert ("ENVIRONMENT/bin/mmedge ~/.local/bin/" if tool == "mmedge" else "sudo apt install") in found.fix


@pytest.mark.parametrize(
    ("config", "what", "fix"),
    [
        (["HostName no-such-host.invalid"], "there is no host named board: ssh: Could not resolve hostname", "~/.ssh/config"),
        (["Port 1"], "board refused the connection", "openssh-server"),
        (["IdentityFile {folder}/other"], "board accepts no key of yours: ", "ssh-copy-id board"),
        (["UserKnownHostsFile /dev/null"], "the host key of board is not known here", "compare the fingerprint with the board's: ssh board"),
        (["UserKnownHostsFile {folder}/changed"], "the host key of board has changed", "ssh-keygen -R board"),
        (["ProxyCommand sleep 0"], "the connection to board was lost", "run it again"),
        (["NoSuchOption x"], "Bad configuration option: nosuchoption", "ssh board"),
    ],
    ids=lambda value: value[0].split()[0] if isinstance(value, list) else "",
)
@pytest.mark.parametrize("act", ["push", pytest.param("rollback", marks=pytest.mark.full), pytest.param("on", marks=pytest.mark.full)])
def test_no_way_to_the_board(board, toy_bundle, config, what, fix, act):
    (board.folder / "changed").write_text(f"board {(board.folder / 'other.pub').read_text()}")
    lines = [line.format(folder=board.folder) for line in config]
    hosts = (board.folder / "hosts").read_text()
    if lines[0].startswith("IdentityFile"):
        hosts = hosts.replace(f"IdentityFile {board.folder}/mine", "")
    (board.folder / "client").write_text("Host *\n" + "\n".join(lines) + "\n" + hosts)
    with pytest.raises(MmedgeError) as found:
        ACTS[act](toy_bundle, "board", "cpu", lambda line: None)
    assert what in found.value.what and fix in found.value.fix and found.value.status == 2
    assert not board.state()


@pytest.mark.full
def test_a_bundle_that_is_damaged_here_is_not_sent(board, toy_bundle, stays):
    entry = grown(toy_bundle, 1000)
    (toy_bundle / entry.path).write_bytes(b"x" * 1000)
    assert "is damaged" in stays(toy_bundle).what


@pytest.mark.full
def test_targets_are_the_boards_own(board, toy_bundle, said):
    board.answers(toy_bundle)
    answer = board.home / "answers" / "targets"
    known = json.loads(answer.read_text())
    answer.write_text(json.dumps({**known, "best": "null"}))
    assert push(toy_bundle, "board", None, said.append).target == "null"
    with pytest.raises(MmedgeError, match="mmedge on board knows no target 'mine") as found:
        push(toy_bundle, "board", "mine.toml", said.append)
    assert "cpu" in found.value.fix


@pytest.mark.full
def test_one_push_at_a_time(board, toy_bundle, stays):
    with Remote.parse("board:mmedge/toy").connected() as far, locked(far):
        found = stays(toy_bundle)
        assert "another push to board:mmedge/toy is under way" in found.what and "lets go after 60 s" in found.fix
        assert "is under way" in stays(toy_bundle, act=ACTS["rollback"]).what
    push(toy_bundle, "board", "cpu", lambda line: None)


@pytest.mark.full
def test_a_dead_push_lets_go(board, toy_bundle, delivered, monkeypatch):
    """Not only when its connection ends: a machine that lost its network says nothing more, and keeps it open."""
    monkeypatch.setattr(releases, "SILENT_S", 1)
    with Remote.parse("board:mmedge/toy").connected() as far, locked(far) as held:
        _until(lambda: _lost(held))
        push(toy_bundle, "board", "cpu", lambda line: None)


@pytest.mark.parametrize("made", ["folder", "link"])
def test_a_current_that_is_not_ours(board, toy_bundle, made):
    board.answers(toy_bundle)
    link = board.home / "mmedge/toy/current"
    link.parent.mkdir(parents=True)
    link.symlink_to("/etc") if made == "link" else link.mkdir()
    with pytest.raises(MmedgeError, match="mmedge/toy/current on board is not a link of mmedge push") as found:
        push(toy_bundle, "board", "cpu", lambda line: None)
    assert found.value.fix == "name another folder: board:FOLDER"
    assert [path.name for path in link.parent.iterdir()] == ["current"]


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
def test_a_shell_that_greets(board, toy_bundle, delivered, stays):
    board.account("echo Welcome to the board")
    with Remote.parse("board:mmedge/toy").connected() as far:
        assert look(far).current == delivered.release
    assert "the shell of board prints something before rsync can speak" in stays(toy_bundle).what


def test_a_folder_that_can_be_none(board, toy_bundle):
    board.answers(toy_bundle)
    (board.home / "file").touch()
    with pytest.raises(MmedgeError, match=r"file/x on board can be no folder: .*Not a directory"):
        push(toy_bundle, "board:file/x", "cpu", lambda line: None)


@pytest.fixture
def disk(board):
    """A small disk on the board: ``disk("size=1m")``."""
    mounted = []

    def disk(options):
        path = board.home / "disk"
        path.mkdir(exist_ok=True)
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", path], capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"a small disk cannot be mounted here: {done.stderr.strip()}")
        mounted.append(path)
        return path

    yield disk
    for path in mounted:
        subprocess.run(["umount", path], check=True)


@pytest.mark.full
def test_a_read_only_disk(board, toy_bundle, disk):
    board.answers(toy_bundle)
    disk("ro,size=1m")
    with pytest.raises(MmedgeError, match="disk/toy on board lies on a disk that is read-only"):
        push(toy_bundle, "board:disk/toy", "cpu", lambda line: None)


@pytest.mark.full
def test_no_space_is_said_before_anything_is_sent(board, toy_bundle, disk):
    board.answers(toy_bundle)
    path = disk("size=1m")
    first = push(toy_bundle, "board:disk/toy", "cpu", lambda line: None)
    entry = grown(toy_bundle, 2_000_000)
    with pytest.raises(MmedgeError, match=r"no space left on board in disk/toy: 2.0 MB are to be written, 0.\d MB are free"):
        push(toy_bundle, "board:disk/toy", "cpu", lambda line: None)
    assert board.live("disk/toy") == first.release and not list(path.rglob(entry.path.rpartition("/")[2]))


@pytest.mark.full
def test_space_that_runs_out_midway(board, toy_bundle, disk):
    board.answers(toy_bundle)
    path = disk("size=1m")
    first = push(toy_bundle, "board:disk/toy", "cpu", lambda line: None)
    board.tool("df", "echo; echo tmpfs 9 9 99999999 9")
    grown(toy_bundle, 2_000_000)
    with pytest.raises(MmedgeError, match="no space left on board in disk/toy") as found:
        push(toy_bundle, "board:disk/toy", "cpu", lambda line: None)
    assert found.value.fix.startswith("free some there") and board.live("disk/toy") == first.release
    subprocess.run(["mount", "-o", "remount,size=8m", path], check=True)
    made = push(toy_bundle, "board:disk/toy", "cpu", lambda line: None)
    assert made.previous == first.release and made.uploaded_bytes < 2_000_000


@pytest.mark.full
@pytest.mark.parametrize("stage", ["upload", "compile"])
@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_push_leaves_nothing_running(board, toy_bundle, delivered, stage, stop):
    grown(toy_bundle, 100_000)
    hang = 'echo $$ >"$HOME/hanging"; exec sleep 300'
    if stage == "upload":
        board.tool("rsync", hang)
    else:
        board.program(SAYS.format(command="compile", body=hang))
    command = [sys.executable, "-m", "mmedge", "push", toy_bundle, "board", "--target", "cpu"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    hanging = board.home / "hanging"
    _until(lambda: hanging.exists() and hanging.read_text().strip())
    process.send_signal(stop)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 130 and said.splitlines()[-2:] == ["error: interrupted", "fix: run it again: a build goes on from what was complete"]
    assert board.live() == delivered.release
    if stage == "compile":  # of a hanging rsync, only the connection is ours to end
        _until(lambda: not os.path.exists(f"/proc/{hanging.read_text().strip()}"))
    else:
        os.kill(int(hanging.read_text()), signal.SIGKILL)
        board.repaired("rsync")
    board.answers(toy_bundle)
    assert push(toy_bundle, "board", "cpu", lambda line: None).previous == delivered.release


def _lost(held):
    try:
        held()
    except MmedgeError as error:
        return "was lost" in error.what
    return False


def _until(true):
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.full
def test_on_brings_the_document_home(board, toy_bundle, delivered, said):
    made = run_on(toy_bundle, "board", ["check", "--target", "cpu"], [Manifest], said.append)
    assert made == Bundle.open(toy_bundle).manifest
    assert board.calls[-1] == "check ./mmedge/toy/current --target cpu --json"
    assert not any("runs release" in line for line in said)
    grown(toy_bundle, 10)
    run_on(toy_bundle, "board", ["check"], [Manifest], said.append)
    assert any(line.startswith(f"board runs release {delivered.release}") for line in said)
    board.program(SAYS.format(command="check", body="echo working >&2; exit 3"))
    with pytest.raises(MmedgeError) as found:
        run_on(toy_bundle, "board", ["check"], [Manifest], said.append)
    assert "board: working" in said and found.value.what == "mmedge check failed on board: working"
