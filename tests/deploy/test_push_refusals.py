"""A push that is refused, by the way there, by the board or by its mmedge: what was live stays live, and the words say why.

What the error table holds (test_error_table.py) is not here again, but for the way there, which is every command's.
"""

from __future__ import annotations

import re
import shutil

import pytest
from deploy.rows_on_the_way import NO_WAY
from tampering import grown

from mmedge.deploy.push import push
from mmedge.deploy.releases import locked, look
from mmedge.deploy.remote import Remote


@pytest.mark.parametrize(
    ("command", "body", "status", "what", "fix"),
    [
        (
            "check",
            """echo '{"schema": "mmedge.error/1", "status": 3, "error": "1 of 3 checks failed on cpu", "fix": "do not \\u001b[2J deploy"}'; exit 3""",
            3,
            "board: 1 of 3 checks failed on cpu",
            "there: do not [2J deploy",
        ),
        pytest.param("check", "echo '<html>'", 2, "mmedge check failed on board: its answer is no document", "ssh board mmedge check", marks=pytest.mark.full),
        pytest.param(
            "targets",
            'echo \'{"schema": "mmedge.targets/1", "nearest": 1}\'',
            2,
            "unknown key nearest",
            "install the same mmedge on both sides",
            marks=pytest.mark.full,
        ),
    ],
)
def test_a_far_failure_keeps_its_words_and_its_status(board, toy_bundle, stays, command, body, status, what, fix):
    board.says(command, body)
    grown(toy_bundle, 1000)
    found = stays(status=status)
    assert what in found.what and fix in found.fix


@pytest.mark.parametrize("act", ["rollback", "on"])
def test_nothing_was_pushed_yet(board, toy_bundle, fails, act):
    board.answers(toy_bundle)
    found = fails(act)
    assert found.what == "nothing was pushed to mmedge/toy on board yet" and found.fix == "mmedge push BUNDLE board:mmedge/toy"
    assert not board.state(), "asking makes no folder"


@pytest.mark.full
def test_a_disk_that_does_not_keep_what_is_written(board, toy_bundle, stays):
    board.tool("sha256sum", """for one in "$@"; do printf '%s  %s\\0' 00 "$one"; done""")
    found = stays()
    assert "does not arrive whole on board: its sha256 differs twice" in found.what and "dmesg" in found.fix


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
    found = stays()
    assert (f"board has no {tool}" if there else f"{tool} is not installed here") in found.what
    assert ("ENVIRONMENT/bin/mmedge ~/.local/bin/" if tool == "mmedge" else "sudo apt install") in found.fix


@pytest.mark.parametrize(("config", "what", "fix"), [row[1:] for row in NO_WAY], ids=[row[0] for row in NO_WAY])
@pytest.mark.parametrize("act", ["push", pytest.param("rollback", marks=pytest.mark.full), pytest.param("on", marks=pytest.mark.full)])
def test_no_way_to_the_board(board, fails, config, what, fix, act):
    board.client(config)
    found = fails(act)
    assert what in found.what and fix in found.fix
    assert not board.state()


@pytest.mark.full
def test_a_bundle_that_is_damaged_here_is_not_sent(board, toy_bundle, stays):
    entry = grown(toy_bundle, 1000)
    (toy_bundle / entry.path).write_bytes(b"x" * 1000)
    assert "is damaged" in stays().what


@pytest.mark.parametrize("made", ["folder", "link"])
def test_a_current_that_is_not_ours(board, toy_bundle, fails, made):
    board.answers(toy_bundle)
    link = board.home / "mmedge/toy/current"
    link.parent.mkdir(parents=True)
    link.symlink_to("/etc") if made == "link" else link.mkdir()
    found = fails()
    assert "mmedge/toy/current on board is not a link of mmedge push" in found.what and found.fix == "name another folder: board:FOLDER"
    assert [path.name for path in link.parent.iterdir()] == ["current"]


@pytest.mark.full
def test_a_shell_that_greets(board, toy_bundle, delivered, stays):
    board.account("echo Welcome to the board")
    with Remote.parse("board:mmedge/toy").connected() as far:
        assert look(far).current == delivered.release
    assert "the shell of board prints something before rsync can speak" in stays().what


def test_a_folder_that_can_be_none(board, toy_bundle, fails):
    board.answers(toy_bundle)
    (board.home / "file").touch()
    found = fails(where="board:file/x")
    assert found.what.startswith("file/x on board can be no folder: ") and "Not a directory" in found.what


@pytest.mark.full
def test_a_read_only_disk(board, toy_bundle, disk, fails):
    board.answers(toy_bundle)
    disk("ro,size=1m")
    assert "disk/toy on board lies on a disk that is read-only" in fails(where="board:disk/toy").what


@pytest.mark.full
def test_no_space_is_said_before_anything_is_sent(board, toy_bundle, disk, fails):
    board.answers(toy_bundle)
    path = disk("size=1m")
    first = push(toy_bundle, "board:disk/toy", "cpu", lambda line: None)
    entry = grown(toy_bundle, 2_000_000)
    found = fails(where="board:disk/toy")
    assert re.match(r"no space left on board in disk/toy: 2.0 MB are to be written, 0.\d MB are free", found.what)
    assert board.live("disk/toy") == first.release and not list(path.rglob(entry.path.rpartition("/")[2]))


@pytest.mark.full
def test_one_push_at_a_time(board, toy_bundle, stays):
    with Remote.parse("board:mmedge/toy").connected() as far, locked(far):
        found = stays()
        assert "another push to board:mmedge/toy is under way" in found.what and "lets go after 60 s" in found.fix
        assert "is under way" in stays(act="rollback").what
    push(toy_bundle, "board", "cpu", lambda line: None)
