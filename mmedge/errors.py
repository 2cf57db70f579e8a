"""The only errors a user sees as errors: two lines, and an exit status."""

from __future__ import annotations

DONE, BUG, USER, GATE, INTERRUPTED = 0, 1, 2, 3, 130


class MmedgeError(Exception):
    """Something the user, or the machine, can put right.

    Args:
        what: what is wrong, one line, no full stop needed.
        fix: what to do about it, one line; a command where there is one.
    """

    status = USER

    def __init__(self, what: str, fix: str) -> None:
        super().__init__(what)
        self.what = " ".join(what.split())
        self.fix = " ".join(fix.split())

    def __str__(self) -> str:
        return f"error: {self.what}\nfix: {self.fix}"


class GateFailed(MmedgeError):
    """A check, a parity bound or a task metric said no; the bundle's manifest says by how much."""

    status = GATE


class MmedgeWarning(UserWarning):
    """It goes on, though not as it was meant: what is done instead, and the command that mends it. The command line prints it as one line on stderr."""


def first_line(error: Exception) -> str:
    """What somebody else's error says first, or its kind."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
