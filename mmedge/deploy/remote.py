"""One far side: a board reached by the system's own ssh, with the keys, names and ports that the user's ssh knows."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from mmedge import __version__
from mmedge.deploy.program import Program, Report, require
from mmedge.deploy.refusals import plain, refusal
from mmedge.documents import Failure, M, validate
from mmedge.errors import BUG, DONE, GATE, USER, MmedgeError

OPTIONS = ("BatchMode=yes", "ConnectTimeout=10", "ServerAliveInterval=15", "ServerAliveCountMax=4", "ClearAllForwardings=yes", "RemoteCommand=none")
"""No question is ever asked, a dead connection is noticed within a minute, and what a Host entry is otherwise for does not get in the way."""
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
        if not folder.isprintable() or folder.startswith(("-", "~", "//")) or (found["folder"] and not folder.strip("/. ")):
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
            with Program([*SSH, "-M", "-N", "-S", socket, "--", self.address]) as connection:
                while not os.path.exists(socket):
                    if connection.status is not None:
                        raise self.refused("connecting", connection.words())
                    time.sleep(POLL_S)
                yield replace(self, socket=socket)

    def start(self, script: str, *arguments: str, report: Report | None = None) -> Program:
        """A POSIX shell on the far side, running ``script`` with ``arguments``; its pipes are ours."""
        command = shlex.join(["sh", "-c", f"echo {BEGINS}; {script}", "mmedge", *arguments])
        return Program([*self.ssh, "--", self.address, command], report=report)

    def run(self, script: str, *arguments: str, stdin: bytes | None = b"", report: Report | None = None) -> Said:
        """Run a script to its end.

        Args:
            stdin: what it reads; None: nothing, but its stdin stays open until it ends.
            report: told each line of its stderr when it comes.

        Raises:
            MmedgeError: there was no way to the far side, or it ended before the script did.
        """
        with self.start(script, *arguments, report=report) as shell:
            out = shell.talk(stdin)
            status, err = shell.wait(), shell.words()
        before, begun, out = out.partition(f"{BEGINS}\n".encode())
        if status == LOST or not begun:
            raise self.refused("connecting", err or before.decode(errors="replace"))
        return Said(status, out, err)

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
        failed = isinstance(document, dict) and document.get("schema") == Failure.model_fields["schema_"].default
        if isinstance(document, dict) and (said.status == DONE or (said.status == GATE and not failed)):
            return document
        if said.status and failed:
            raise Elsewhere(f"{self.host}: {plain(str(document.get('error')))}", f"there: {plain(str(document.get('fix')))}", said.status)
        if said.status > 128:
            raise MmedgeError(
                f"mmedge {arguments[0]} was killed on {self.host} (signal {said.status - 128})", "see that it has memory enough: mmedge doctor, there"
            )
        last = (
            plain(next((line for line in reversed(said.err.splitlines()) if line.strip()), "it said nothing")) if said.status else "its answer is no document"
        )
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
