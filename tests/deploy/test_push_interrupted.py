"""A push that breaks off, here, there or in between: nothing is left running, what was live stays live, and the next one goes on."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import time

import pytest
from tampering import grown

from mmedge.deploy import releases
from mmedge.deploy.push import push
from mmedge.deploy.releases import locked
from mmedge.deploy.remote import Remote
from mmedge.errors import MmedgeError

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


@pytest.mark.full
def test_an_upload_that_was_cut_goes_on_where_it_stopped(board, toy_bundle, stays, delivered):
    entry = grown(toy_bundle, 3_000_000)
    board.tool("rsync", f'exec {sys.executable} -c {shlex.quote(CUT)} {shutil.which("rsync")} "$@"')
    found = stays()
    assert "the connection to board was lost" in found.what and found.fix == "run it again: what has arrived is kept"
    assert not list((board.home / "mmedge/toy/releases").glob(f"*/{entry.path}")), "half a file has no name that could be taken for the whole"
    board.repaired("rsync")
    made = push(toy_bundle, "board", "cpu", lambda line: None)
    assert 0 < made.uploaded_bytes < 1_500_000
    folder = board.home / "mmedge/toy/releases" / made.release
    assert (folder / entry.path).read_bytes() == (toy_bundle / entry.path).read_bytes()
    assert not list(folder.rglob(".partial"))


@pytest.mark.full
def test_a_failed_release_goes_live_once_it_passes(board, toy_bundle, stays, delivered):
    grown(toy_bundle, 50_000)
    board.says("check", "exit 3")
    stays()
    board.answers(toy_bundle)
    made = push(toy_bundle, "board", "cpu", lambda line: None)
    assert (made.uploaded_bytes, made.previous, board.live()) == (0, delivered.release, made.release)


@pytest.mark.full
def test_a_dead_push_lets_go(board, toy_bundle, delivered, monkeypatch):
    """Not only when its connection ends: a machine that lost its network says nothing more, and keeps it open."""
    monkeypatch.setattr(releases, "SILENT_S", 1)
    with Remote.parse("board:mmedge/toy").connected() as far, locked(far) as held:
        _until(lambda: _lost(held))
        push(toy_bundle, "board", "cpu", lambda line: None)


@pytest.mark.full
def test_space_that_runs_out_midway(board, toy_bundle, disk, fails):
    board.answers(toy_bundle)
    path = disk("size=1m")
    first = push(toy_bundle, "board:disk/toy", "cpu", lambda line: None)
    board.tool("df", "echo; echo tmpfs 9 9 99999999 9")
    grown(toy_bundle, 2_000_000)
    found = fails(where="board:disk/toy")
    assert "no space left on board in disk/toy" in found.what and found.fix.startswith("free some there") and board.live("disk/toy") == first.release
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
        board.says("compile", hang)
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
