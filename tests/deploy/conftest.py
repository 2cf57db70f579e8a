"""A board: a real sshd on a free port of this machine, with keys, a home and programs of its own. No system file is touched."""

from __future__ import annotations

import getpass
import os
import shlex
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mmedge.deploy.on import run_on
from mmedge.deploy.push import push, rollback
from mmedge.documents import dump_json
from mmedge.errors import MmedgeError
from mmedge.manifest import Manifest
from mmedge.target import targets

SSHD = "/usr/sbin/sshd"
WANTED = {"ssh": "openssh-client", "ssh-keygen": "openssh-client", "rsync": "rsync", SSHD: "openssh-server"}
TOOLS = [
    "sh",
    "mkdir",
    "cat",
    "df",
    "awk",
    "flock",
    "timeout",
    "dd",
    "xargs",
    "sha256sum",
    "mv",
    "ln",
    "rm",
    "sync",
    "sed",
    "basename",
    "readlink",
    "rsync",
    "sleep",
]
"""All that a push needs on a board, next to mmedge."""
CONFIG = """
ListenAddress 127.0.0.1
Port {port}
HostKey {folder}/host
AuthorizedKeysFile {folder}/mine.pub
PidFile none
UsePAM no
StrictModes no
PasswordAuthentication no
KbdInteractiveAuthentication no
MaxStartups 100
SetEnv HOME={folder}
ForceCommand {folder}/login
"""
LOGIN = """#!/bin/sh
. {folder}/account
cd "$HOME" && exec sh -c "$SSH_ORIGINAL_COMMAND"
"""
HOSTS = """
Host *
  HostName 127.0.0.1
  Port {port}
  User {user}
  IdentityFile {folder}/mine
  IdentitiesOnly yes
  IdentityAgent none
  HostKeyAlias board
  GlobalKnownHostsFile /dev/null
  UserKnownHostsFile {folder}/known
"""
PLAIN = """#!/bin/sh
echo "$@" >>"$HOME/calls"
cat "$HOME/answers/$1"
"""
SAYS = """#!/bin/sh
echo "$@" >>"$HOME/calls"
[ "$1" = {command} ] || exec cat "$HOME/answers/$1"
{body}
"""
ACTS = {
    "push": push,
    "rollback": lambda bundle, where, target, report: rollback(bundle, where, report),
    "on": lambda bundle, where, target, report: run_on(bundle, where, ["check", "--target", target], [Manifest], report),
}
"""What a user does with a board."""


class Board:
    """The far side as a test sees it."""

    def __init__(self, folder: Path, home: Path) -> None:
        self.folder, self.home = folder, home
        self.tools = home / "tools"
        for made in (self.tools, home / ".local" / "bin", home / "answers"):
            made.mkdir(parents=True)
        for tool in TOOLS:
            (self.tools / tool).symlink_to(str(shutil.which(tool)))
        self.account()
        (home / "answers" / "targets").write_text(dump_json(targets()))

    def account(self, *lines: str) -> None:
        """What the account's start file does, besides setting its home and its PATH."""
        own = [f"export HOME={shlex.quote(str(self.home))}", f"export PATH={shlex.quote(str(self.tools))}", "unset CDPATH"]
        (self.folder / "account").write_text("\n".join([*own, *lines]) + "\n")

    def client(self, line: str = "") -> None:
        """One more line of the user's ssh config, which goes before the rest; ``{folder}`` in it is the sshd's."""
        hosts = (self.folder / "hosts").read_text()
        if line.startswith("IdentityFile"):  # ssh would try all that it is given
            hosts = hosts.replace(f"IdentityFile {self.folder}/mine", "")
        (self.folder / "client").write_text(f"Host *\n{line.format(folder=self.folder)}\n{hosts}")

    def program(self, text: str) -> None:
        """Install a mmedge there, where pip would."""
        path = self.home / ".local" / "bin" / "mmedge"
        path.write_text(text)
        path.chmod(0o755)

    def tool(self, name: str, text: str) -> None:
        """Put a script in the place of one of its system's programs."""
        path = self.tools / name
        path.unlink()
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)

    def repaired(self, name: str) -> None:
        """The system's own program again."""
        (self.tools / name).unlink()
        (self.tools / name).symlink_to(str(shutil.which(name)))

    def real(self) -> None:
        """The very mmedge that is tested, installed there too."""
        self.program(f'#!/bin/sh\nexport MMEDGE_CACHE={shlex.quote(str(self.home / "cache"))}\nexec {shlex.quote(sys.executable)} -m mmedge "$@"\n')

    def answers(self, bundle: Path) -> None:
        """Instead of mmedge, what says that all is well with any bundle: for tests of what is around it."""
        for command in ("compile", "check", "profile"):
            shutil.copyfile(bundle / "manifest.json", self.home / "answers" / command)
        self.program(PLAIN)

    def says(self, command: str, body: str) -> None:
        """As ``answers``, but for one command, which is this script."""
        self.program(SAYS.format(command=command, body=body))

    @property
    def calls(self) -> list[str]:
        path = self.home / "calls"
        return path.read_text().splitlines() if path.exists() else []

    def live(self, folder: str = "mmedge/toy") -> str | None:
        link = self.home / folder / "current"
        return os.readlink(link).rpartition("/")[2] if link.is_symlink() else None

    def state(self) -> dict[str, object]:
        """Everything in its home that a release could be, links as their aims: to be compared."""
        found = {path.relative_to(self.home).as_posix(): path for path in sorted((self.home / "mmedge").rglob("*"))}
        return {name: os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else None for name, path in found.items()}


def _keygen(path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", path], check=True)


@pytest.fixture(scope="session")
def _sshd(tmp_path_factory):
    if missing := sorted({package for tool, package in WANTED.items() if shutil.which(tool) is None}):
        pytest.skip(f"not installed: {' '.join(missing)} (apt-get install)")
    folder = tmp_path_factory.mktemp("sshd")
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # an empty folder that sshd, started by root, wants to exist
    for name in ("host", "mine", "other"):
        _keygen(folder / name)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = {"folder": folder, "port": port, "user": getpass.getuser()}
    (folder / "config").write_text(CONFIG.format(**words))
    (folder / "hosts").write_text(HOSTS.format(**words))
    (folder / "login").write_text(LOGIN.format(**words))
    (folder / "known").write_text(f"board {(folder / 'host.pub').read_text()}")
    (folder / "changed").write_text(f"board {(folder / 'other.pub').read_text()}")
    (folder / "bin").mkdir()
    (folder / "bin" / "ssh").write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {folder}/client "$@"\n')
    for script in (folder / "login", folder / "bin" / "ssh"):
        script.chmod(0o755)
    with open(folder / "log", "wb") as log, subprocess.Popen([SSHD, "-D", "-e", "-f", folder / "config"], stderr=log) as process:
        for _ in range(200):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert process.poll() is None, (folder / "log").read_text()
            time.sleep(0.05)
        yield folder
        process.terminate()


@pytest.fixture
def board(_sshd, tmp_path, monkeypatch):
    """A fresh account on the board, reached as ``board``, with a mmedge that answers all questions with yes."""
    home = tmp_path / "board's home"
    made = Board(_sshd, home)
    made.client()
    monkeypatch.setenv("PATH", f"{_sshd / 'bin'}:{os.environ['PATH']}")
    return made


@pytest.fixture
def said():
    return []


@pytest.fixture
def delivered(board, toy_bundle, said):
    """The board with the toy live on it; its first release."""
    board.answers(toy_bundle)
    return push(toy_bundle, "board", "cpu", said.append)


@pytest.fixture
def fails(toy_bundle):
    """What must fail by the user's fault; returns its error."""

    def fails(act="push", where="board", status=2):
        with pytest.raises(MmedgeError) as found:
            ACTS[act](toy_bundle, where, "cpu", lambda line: None)
        assert "\n" not in found.value.what + found.value.fix and found.value.status == status
        return found.value

    return fails


@pytest.fixture
def stays(board, delivered, fails):
    """The same where something is live: it stays as it was."""

    def stays(**asked):
        before = board.state()
        found = fails(**asked)
        after = board.state()
        assert board.live() == delivered.release
        assert {name: content for name, content in after.items() if name in before and not name.endswith(".lock")} == {
            name: content for name, content in before.items() if not name.endswith(".lock")
        }
        return found

    return stays


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
