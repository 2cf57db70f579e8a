"""Names of far sides, and what their refusals become: what needs no connection."""

from __future__ import annotations

import pytest

from mmedge.deploy.refusals import refusal
from mmedge.deploy.remote import Remote
from mmedge.errors import MmedgeError


@pytest.mark.parametrize(
    ("where", "host", "path"),
    [
        ("board", "board", "./mmedge/toy"),
        ("user@board.local", "user@board.local", "./mmedge/toy"),
        ("user@board:", "user@board", "./mmedge/toy"),
        ("user@10.0.0.7:here/and there/", "user@10.0.0.7", "./here/and there"),
        ("board:/data/a:b", "board", "/data/a:b"),
        ("board:~/x", "board", "./x"),
        ("user@[fe80::1%eth0]:x", "user@[fe80::1%eth0]", "./x"),
    ],
)
def test_a_far_side_is_named_as_scp_names_it(where, host, path):
    far = Remote.parse(where).at("toy")
    assert (far.host, far.path) == (host, path)
    assert "[" not in far.address


@pytest.mark.parametrize(
    "where",
    [
        "",
        "-oProxyCommand=touch pwned",
        "-oProxyCommand=x:dir",
        "user@-oProxyCommand=x",
        "-l@board",
        "board;reboot",
        "$(reboot)@board",
        "a b",
        "user@board name:x",
        "user@@board",
        "user@:x",
        "board\n:x",
        "::1:x",
        "ssh://board/x",
        "board:-e sh",
        "board:~root/x",
        "board:a\nb",
        "board:a\x1b[2J",
        "board:/",
        "board:..",
        "board:../..",
    ],
)
def test_what_a_shell_or_ssh_could_misread_is_refused(where):
    with pytest.raises(MmedgeError, match=r"names no host|is no folder for releases") as found:
        Remote.parse(where)
    assert "user@board:folder" in found.value.fix


@pytest.mark.parametrize("name", ["../../etc", "a/b", "-rf", "$(reboot)", "", ".ssh", "a\nb", "`x`"])
def test_a_bundles_hostile_name_becomes_no_folder(name):
    with pytest.raises(MmedgeError, match="can be no folder's") as found:
        Remote.parse("board").at(name)
    assert found.value.fix == "say which folder: board:FOLDER"
    assert Remote.parse("board:x").at(name).path == "./x"


@pytest.mark.parametrize(
    ("words", "what", "fix"),
    [
        ("ssh: connect to host b port 22: Connection timed out", "cannot be reached", "ping b"),
        ("ssh: connect to host b port 22: No route to host", "cannot be reached", "ping b"),
        ("ssh: connect to host b port 22: Network is unreachable", "cannot be reached", "ping b"),
        ("Connection timed out during banner exchange\r\nConnection to 10.0.0.7 port 22 timed out", "cannot be reached", "ping b"),
        ("u@b: Permission denied (publickey,password).", "accepts no key of yours", "ssh-copy-id u@b"),
        ("Received disconnect from 10.0.0.7 port 22:2: Too many authentication failures", "accepts no key of yours", "ssh-copy-id u@b"),
        ("client_loop: send disconnect: Broken pipe\nrsync: connection unexpectedly closed (0 bytes received so far)", "was lost", "run it again"),
        ("Timeout, server b not responding.", "was lost", "run it again"),
        ("kex_exchange_identification: Connection closed by remote host", "was lost", "run it again"),
        ('rsync: [receiver] write failed on "/x": No space left on device (28)', "no space left on u@b in dir", "u@b:FOLDER"),
        ("sh: 1: cannot create .lock: Disk quota exceeded", "no space left", "u@b:FOLDER"),
        ('rsync: [Receiver] mkdir "/x" failed: Permission denied (13)', "may not be written", "u@b:FOLDER"),
        ("something new went wrong\n", "copying failed on u@b: something new went wrong", "ssh u@b"),
        ("\x1b[31mred\x1b[0m\n", "copying failed on u@b: [31mred [0m", "ssh u@b"),
        ("", "it said nothing", "ssh u@b"),
    ],
)
def test_what_others_say_becomes_what_to_do(words, what, fix):
    made = refusal("u@b", "dir", "copying", words)
    assert what in made.what and fix in made.fix
    assert made.status == 2
