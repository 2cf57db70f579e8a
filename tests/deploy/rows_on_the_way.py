"""Rows of the error table: the way to a board, and what is wrong there. The board is a real sshd on this machine."""

from __future__ import annotations

import scene as by
from deploy.error_row import CHECK_ON, PUSH, Row, each

ERROR = """echo '{"schema": "mmedge.error/1", "status": %d, "error": "%s", "fix": "%s"}'; exit %d"""
MEMORY = "toy.bundle needs about 9000 MB on jetson (weights 8000 MB, activations 900 MB, caches 100 MB), which has 3430 MB"

NO_WAY = [
    ("no such host", "HostName no-such-host.invalid", "there is no host named board: ssh: Could not resolve hostname", "~/.ssh/config"),
    ("nothing listens there", "Port 1", "board refused the connection: no ssh server listens there", "there: sudo apt install openssh-server"),
    ("no key that it takes", "IdentityFile {folder}/other", "board accepts no key of yours: ", "ssh-copy-id board"),
    (
        "a host key not seen before",
        "UserKnownHostsFile /dev/null",
        "the host key of board is not known here",
        "compare the fingerprint with the board's: ssh board",
    ),
    ("a changed host key", "UserKnownHostsFile {folder}/changed", "the host key of board has changed", "ssh-keygen -R board"),
    ("a connection that breaks", "ProxyCommand sleep 0", "the connection to board was lost", "run it again: what has arrived is kept"),
    ("a line that ssh does not know", "NoSuchOption x", "Bad configuration option: nosuchoption", "try by hand what ssh says: ssh board"),
]
"""Name, a line of the user's ssh config, the error, the fix."""

THE_WAY = [
    *each(
        PUSH,
        *((name, by.ssh(line), what, fix) for name, line, what, fix in NO_WAY),
        ("no ssh on this machine", by.only_here("rsync"), "ssh is not installed here", "sudo apt install openssh-client"),
        ("no rsync on this machine", by.only_here("ssh", "sh"), "rsync is not installed here", "sudo apt install rsync"),
    ),
    *(
        Row(name, by.nothing, f"mmedge push toy.bundle {where}", what, "write user@board or user@board:folder")
        for name, where, what in (
            ("a host that no shell may read", "'board;reboot'", "'board;reboot' names no host"),
            ("a folder above the home", "board:..", "'..' is no folder for releases"),
        )
    ),
    Row("--on an unreachable board", by.ssh("Port 1"), CHECK_ON, "board refused the connection", "openssh-server"),
]

THE_BOARD = [
    Row("nothing was pushed yet", by.ssh(""), CHECK_ON, "nothing was pushed to mmedge/toy on board yet", "mmedge push BUNDLE board:mmedge/toy"),
    Row("no release to return to", by.live, "mmedge push toy.bundle board --rollback", "there is no release before", "push the bundle that shall be live"),
    Row(
        "no target of that name there",
        by.ssh(""),
        "mmedge push toy.bundle board -t jetsn",
        "mmedge on board knows no target 'jetsn'",
        "it knows: cpu, intel-cpu",
    ),
    Row(
        "a folder that is a file",
        by.home("data", "text"),
        "mmedge push toy.bundle board:data/x -t cpu",
        "data/x on board can be no folder",
        "name another: board:FOLDER",
    ),
    *each(
        PUSH,
        ("no mmedge there", by.without_mmedge, "board has no mmedge on its PATH, nor in ~/.local/bin", "there: pip install --user mmedge"),
        ("no rsync there", by.not_there("rsync"), "board has no rsync", "there: sudo apt install rsync"),
        (
            "a far side without space",
            by.there("df", "echo; echo tmpfs 9 9 1 9"),
            "no space left on board in mmedge/toy: ",
            "name a folder on another disk: board:FOLDER",
        ),
        (
            "space that runs out while it is copied",
            by.there("rsync", "echo 'rsync: [receiver] write failed: No space left on device (28)' >&2; exit 11"),
            "no space left on board in mmedge/toy",
            "free some there",
        ),
        (
            "a read-only disk there",
            by.there("mkdir", "echo 'mkdir: Read-only file system' >&2; exit 1"),
            "mmedge/toy on board lies on a disk that is read-only",
            "mount it writable",
        ),
        ("a 'current' that no push made", by.home("mmedge/toy/current"), "mmedge/toy/current on board is not a link of mmedge push", "name another folder"),
        ("another push under way", by.another_push, "another push to board:mmedge/toy is under way", "a dead one lets go after 60 s"),
        (
            "a file that does not arrive whole",
            by.there("sha256sum", "exit 0"),
            "does not arrive whole on board: its sha256 differs twice",
            "check the board's disk: dmesg",
        ),
        (
            "compile fails there",
            by.answers("compile", ERROR % (2, "no backend of cpu works here", "mmedge targets", 2)),
            "board: no backend of cpu works here",
            "there: mmedge targets",
        ),
        (
            "a bundle over the board's memory",
            by.answers("compile", ERROR % (2, MEMORY, "take a smaller model, or export it with a shorter context", 2)),
            f"board: {MEMORY}",
            "there: take a smaller model",
        ),
        (
            "killed there, out of memory",
            by.answers("check", "kill -KILL $$"),
            "mmedge check was killed on board (signal 9)",
            "memory enough: mmedge doctor, there",
        ),
        (
            "another mmedge there",
            by.answers("check", 'echo \'{"schema": "mmedge.bundle/9"}\''),
            "has schema mmedge.bundle/9",
            "install the same mmedge on both sides",
        ),
    ),
    Row(
        "a check fails there",
        by.answers("check", ERROR % (3, "1 of 3 checks failed on cpu", "do not deploy it", 3)),
        PUSH,
        "board: 1 of 3 checks failed on cpu",
        "there: do not deploy it",
        3,
    ),
    Row(
        "a bug there",
        by.answers("compile", "echo ZeroDivisionError >&2; exit 1"),
        PUSH,
        "mmedge compile failed on board: ZeroDivisionError",
        "ssh board mmedge compile",
        1,
    ),
]

ROWS = [*THE_WAY, *THE_BOARD]
