"""One far side: a board reached by the system's own ssh, with the keys, names and ports that the user's ssh knows."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import IO, Any

from mmedge import __version__
from mmedge.deploy.refusals import plain, refusal
from mmedge.documents import Failure, M, validate
from mmedge.errors import BUG, USER, MmedgeError

Report = Callable[[str], None]

OPTIONS = ("BatchMode=yes", "ConnectTimeout=10", "ServerAliveInterval=15", "ServerAliveCountMax=4")
"""No question is ever asked; a dead connection is noticed within a minute."""
SSH = ("ssh", "-T", "-x", *(word for option in OPTIONS for word in ("-o", option)))
POLL_S = 0.02
BEGINS = "mmedge-begins-here"
"""Whatever stands before this line was printed by the account's own start files."""
LOST, NOT_FOUND = 255, 127
MMEDGE = 'PATH="$HOME/.local/bin:$PATH"; export PATH; '
"""Where pip, pipx and uv put commands that ``ssh HOST COMMAND`` does not find by itself on Debian and Ubuntu."""
WATCHED = (
    MMEDGE
    + """exec 3<&0; mmedge "$@" </dev/null 3<&- & job=$!
(cat <&3; kill "$job") >/dev/null 2>&1 & watch=$!
wait "$job"; status=$?; kill "$watch" 2>/dev/null; exit "$status"
"""
)
"""Runs mmedge for as long as our end of the connection is open: an interrupted push leaves nothing running on the board."""
INSTALL = "there: pip install --user mmedge (or its wheel); from an environment of its own: ln -s ENVIRONMENT/bin/mmedge ~/.local/bin/"


class Elsewhere(MmedgeError):
    """The far side's own error, with the far side's own exit status."""

    def __init__(self, what: str, fix: str, status: int) -> None:
        super().__init__(what, fix)
        self.status = status


@dataclass(frozen=True)
class Said:
    """How a command on the far side ended."""

    status: int
    out: bytes
    err: str


@dataclass(frozen=True)
class Remote:
    """A board, and a folder on it (relative to the home, or absolute; empty: nobody has said yet)."""

    host: str
    folder: str
    socket: str = ""
    """Of the connection that every command shares; empty: none is open."""

    @classmethod
    def parse(cls, where: str) -> Remote:
        """From ``user@board[:dir]``. Raises MmedgeError: not that form, or something that a shell or ssh would take for an option."""
        found = re.fullmatch(
            r"(?P<host>([A-Za-z0-9_][A-Za-z0-9._-]*@)?([A-Za-z0-9_][A-Za-z0-9._-]*|\[[0-9A-Fa-f:.]+(%[A-Za-z0-9]+)?\]))(:(?P<folder>.*))?", where, re.DOTALL
        )
        form = "write user@board or user@board:folder, or [address]:folder for IPv6; a port belongs into ~/.ssh/config"
        if found is None:
            raise MmedgeError(f"{plain(where)!r} names no host", form)
        folder = (found["folder"] or "").removeprefix("~/")
        if not folder.isprintable() or folder.startswith(("-", "~")) or (found["folder"] and not folder.strip("/. ")):
            raise MmedgeError(f"{plain(folder)!r} is no folder for releases", form)
        return cls(found["host"], folder.rstrip("/"))

    def at(self, name: str) -> Remote:
        """With the folder that ``name``'s bundle has where none was given. Raises MmedgeError: no folder can be called so."""
        if self.folder:
            return self
        if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._ -]*", name):
            raise MmedgeError(f"the bundle's name, {plain(name)!r}, can be no folder's", f"say which folder: {self.host}:FOLDER")
        return replace(self, folder=f"mmedge/{name}")

    @property
    def address(self) -> str:
        """The host as ssh takes it: brackets around an address are scp's and rsync's."""
        return self.host.replace("[", "").replace("]", "")

    @property
    def ssh(self) -> list[str]:
        """The command, up to its options."""
        return [*SSH, "-o", "ControlMaster=no", "-S", self.socket or "none"]

    @property
    def path(self) -> str:
        """The folder as a shell on the far side takes it, before quoting: never an option, never in ``CDPATH``."""
        return self.folder if self.folder.startswith("/") else f"./{self.folder}"

    def refused(self, doing: str, words: str) -> MmedgeError:
        """The error for what a command on the far side, or the way there, said."""
        return refusal(self.host, self.folder, doing, words)

    @contextlib.contextmanager
    def connected(self) -> Iterator[Remote]:
        """With one connection for all that is to be done: it is the slow part. Raises MmedgeError: there is no way to the far side."""
        require("ssh", "openssh-client")
        with tempfile.TemporaryDirectory(prefix="mmedge-") as folder:
            socket = f"{folder}/ssh"
            with child([*SSH, "-M", "-N", "-S", socket, "--", self.address]) as process:
                assert process.stderr
                while not os.path.exists(socket):
                    if process.poll() is not None:
                        raise self.refused("connecting", process.stderr.read().decode(errors="replace"))
                    time.sleep(POLL_S)
                yield replace(self, socket=socket)

    @contextlib.contextmanager
    def started(self, script: str, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
        """A POSIX shell on the far side, running ``script`` with ``arguments``; its pipes are ours. It ends with the block at the latest."""
        command = shlex.join(["sh", "-c", f"echo {BEGINS}; {script}", "mmedge", *arguments])
        with child([*self.ssh, "--", self.address, command]) as process:
            yield process

    def run(self, script: str, *arguments: str, stdin: bytes | None = b"", report: Report | None = None) -> Said:
        """Run a script to its end.

        Args:
            stdin: what it reads; None: nothing, but its stdin stays open until it ends.
            report: told each line of its stderr when it comes.

        Raises:
            MmedgeError: there was no way to the far side, or it ended before the script did.
        """
        with self.started(script, *arguments) as process:
            out, err = exchange(process, stdin, report)
        _, begun, out = out.partition(f"{BEGINS}\n".encode())
        if process.returncode == LOST or not begun:
            raise self.refused("connecting", err if process.returncode else f"{err}\n{out.decode(errors='replace')}")
        return Said(process.returncode, out, err)

    def mmedge(self, *arguments: str, report: Report) -> Any:
        """What the far side's own mmedge answers with ``--json``; its progress goes to ``report``.

        Raises:
            Elsewhere: it failed: its error, its fix, its status.
            MmedgeError: it is not there, was killed, or no answer of it can be read.
        """

        def progress(line: str) -> None:
            if not line.startswith(("error: ", "fix: ")):  # they come once more, as ours
                report(f"{self.host}: {line}")

        said = self.run(WATCHED, *arguments, "--json", stdin=None, report=progress)
        if said.status == NOT_FOUND:
            raise self.without_mmedge()
        try:
            document = json.loads(said.out)
        except ValueError:
            document = None
        if said.status == 0 and isinstance(document, dict):
            return document
        if said.status and isinstance(document, dict) and document.get("schema") == Failure.model_fields["schema_"].default:
            raise Elsewhere(f"{self.host}: {plain(str(document.get('error')))}", f"there: {plain(str(document.get('fix')))}", said.status)
        if said.status > 128:
            raise MmedgeError(
                f"mmedge {arguments[0]} was killed on {self.host} (signal {said.status - 128})", "see that it has memory enough: mmedge doctor, there"
            )
        last = plain(next((line for line in reversed(said.err.splitlines()) if line.strip()), "it said nothing"))
        fix = f"try it there: ssh {self.host} mmedge {shlex.join(arguments)}"
        raise Elsewhere(f"mmedge {arguments[0]} failed on {self.host}: {last}", fix, BUG if said.status == BUG else USER)

    def read(self, content: Any, model: type[M]) -> M:
        """A document of the far side's mmedge. Raises MmedgeError: it is of a version that differs too much."""
        try:
            return validate(content, model, f"what mmedge on {self.host} says")
        except MmedgeError as error:
            raise MmedgeError(error.what, f"install the same mmedge on both sides; here it is {__version__}") from error

    def without_mmedge(self) -> MmedgeError:
        return MmedgeError(f"{self.host} has no mmedge on its PATH, nor in ~/.local/bin", INSTALL)


@contextlib.contextmanager
def child(command: list[str], cwd: str | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """A program that does not outlive the block, with its three pipes; it speaks English, so that it can be understood."""
    environment = {**os.environ, "LC_ALL": "C"}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, env=environment, cwd=cwd, start_new_session=True) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)  # rsync's own ssh too


def exchange(
    process: subprocess.Popen[bytes], stdin: bytes | None, report: Report | None = None, watch: Callable[[bytes], None] | None = None
) -> tuple[bytes, str]:
    """Feed a program, and read all that it says: stdout, in pieces for ``watch`` too, and stderr, line by line for ``report``."""
    assert process.stdin and process.stdout and process.stderr
    lines: list[str] = []

    def listen(stream: IO[bytes]) -> None:
        for raw in stream:
            lines.append(raw.decode(errors="replace"))
            if report and (line := plain(lines[-1])):
                report(line)

    def feed(stream: IO[bytes], content: bytes) -> None:
        for act in (lambda: stream.write(content), stream.close):
            with contextlib.suppress(BrokenPipeError):  # it has ended: its status and its words say why
                act()

    threads = [threading.Thread(target=listen, args=(process.stderr,), daemon=True)]
    if stdin is not None:
        threads.append(threading.Thread(target=feed, args=(process.stdin, stdin), daemon=True))
    for thread in threads:
        thread.start()
    pieces = []
    while piece := os.read(process.stdout.fileno(), 1 << 16):
        pieces.append(piece)
        if watch:
            watch(piece)
    for thread in threads:
        thread.join()
    process.wait()
    return b"".join(pieces), "".join(lines)


def require(tool: str, package: str) -> None:
    """Raises MmedgeError: a program of this machine's system is not installed."""
    if shutil.which(tool) is None:
        raise MmedgeError(f"{tool} is not installed here", f"sudo apt install {package}")
