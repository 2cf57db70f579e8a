"""A program of this machine's system, run for as long as a block lasts: ssh, rsync."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Sequence
from typing import IO

from mmedge.deploy.refusals import plain
from mmedge.errors import MmedgeError

Report = Callable[[str], None]
GRACE_S = 5.0
"""For a program that was asked to end, before it is killed."""


class Program:
    """A started program and its pipes. It speaks English, so that it can be understood, and does not outlive the block.

    A pipe that a thread works on is closed by that thread alone: where ssh shares a connection, the process that holds it has the other end too, and a
    program that is gone may leave its pipes open.

    Args:
        report: told each line of its stderr when it comes.
    """

    def __init__(self, command: Sequence[str], *, cwd: str | None = None, report: Report | None = None) -> None:
        pipe, environment = subprocess.PIPE, {**os.environ, "LC_ALL": "C"}
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, env=environment, cwd=cwd, start_new_session=True)
        assert self._process.stdin and self._process.stdout and self._process.stderr
        self.stdin: IO[bytes] = self._process.stdin
        self.stdout: IO[bytes] = self._process.stdout
        self._feeder: threading.Thread | None = None
        self._lines: list[str] = []
        self._listener = threading.Thread(target=self._listen, args=(self._process.stderr, report), daemon=True)
        self._listener.start()

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *raised: object) -> None:
        if self.status is None:
            os.killpg(self._process.pid, signal.SIGTERM)  # rsync's own ssh too
            try:
                self._process.wait(GRACE_S)
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()
        self.stdout.close()
        if self._feeder is None:
            with contextlib.suppress(BrokenPipeError):
                self.stdin.close()

    @property
    def status(self) -> int | None:
        """Its exit status; None while it runs."""
        return self._process.poll()

    def wait(self, seconds: float | None = None) -> int:
        """Until it has ended. Raises subprocess.TimeoutExpired."""
        return self._process.wait(seconds)

    def words(self) -> str:
        """All that it says on stderr, to its end."""
        self._listener.join()
        return "".join(self._lines)

    def talk(self, stdin: bytes | None, watch: Callable[[bytes], None] | None = None) -> bytes:
        """Run it to its end. Returns its stdout, which ``watch`` is given in pieces as it comes.

        Args:
            stdin: what it reads; None: nothing, but its stdin stays open until it ends.
        """
        if stdin is not None:
            self._feeder = threading.Thread(target=self._feed, args=(stdin,), daemon=True)
            self._feeder.start()
        pieces = []
        while piece := os.read(self.stdout.fileno(), 1 << 16):
            pieces.append(piece)
            if watch:
                watch(piece)
        self._process.wait()
        return b"".join(pieces)

    def _listen(self, stream: IO[bytes], report: Report | None) -> None:
        with stream:
            for raw in stream:
                self._lines.append(raw.decode(errors="replace"))
                if report and (line := plain(self._lines[-1])):
                    report(line)

    def _feed(self, content: bytes) -> None:
        for act in (lambda: self.stdin.write(content), self.stdin.close):
            with contextlib.suppress(BrokenPipeError):  # it has ended: its status and its words say why
                act()


def require(tool: str, package: str) -> None:
    """Raises MmedgeError: a program of this machine's system is not installed."""
    if shutil.which(tool) is None:
        raise MmedgeError(f"{tool} is not installed here", f"sudo apt install {package}")
