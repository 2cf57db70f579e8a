"""What ssh, rsync and a far disk say when they refuse, as something a user can act on."""

from __future__ import annotations

import re

from mmedge.errors import MmedgeError

KNOWN: tuple[tuple[str, str, str], ...] = (
    (
        "REMOTE HOST IDENTIFICATION HAS CHANGED",
        "the host key of {host} has changed: it was reinstalled, or something else answers in its place",
        "if it was reinstalled: ssh-keygen -R {name}, then connect once by hand and compare the new fingerprint: ssh {host}",
    ),
    (
        "Host key verification failed|No [A-Z0-9-]+ host key is known for",
        "the host key of {host} is not known here",
        "connect once by hand and compare the fingerprint with the board's: ssh {host}",
    ),
    ("Could not resolve hostname", "there is no host named {name}: {said}", "check the name, use its address, or give it a Host entry in ~/.ssh/config"),
    (
        "Connection refused",
        "{host} refused the connection: no ssh server listens there",
        "there: sudo apt install openssh-server (another port: Port in ~/.ssh/config)",
    ),
    (
        "timed out|No route to host|Network is unreachable|Host is down|Network is down",
        "{host} cannot be reached: {said}",
        "see that it is switched on and in this network: ping {name}",
    ),
    (
        r"Permission denied \([a-z-]+[,)]|Too many authentication failures|no mutual signature",
        "{host} accepts no key of yours: {said}",
        "give it one: ssh-copy-id {host} (a key with a passphrase: ssh-add first); mmedge never asks for a password",
    ),
    ("No space left on device|Disk quota exceeded", "no space left on {host} in {folder}", "free some there, or name a folder on another disk: {host}:FOLDER"),
    ("Read-only file system", "{folder} on {host} lies on a disk that is read-only", "mount it writable, or name another folder: {host}:FOLDER"),
    ("Permission denied|Operation not permitted", "{folder} on {host} may not be written: {said}", "name a folder that is yours: {host}:FOLDER"),
    ("Not a directory|File exists|File name too long|Too many levels", "{folder} on {host} can be no folder: {said}", "name another: {host}:FOLDER"),
    (
        "protocol version mismatch|is your shell clean",
        "the shell of {host} prints something before rsync can speak",
        "there: let ~/.bashrc print only for a terminal",
    ),
    (
        "Broken pipe|connection unexpectedly closed|not responding|[Cc]onnection (to .* )?(closed|reset)|client_loop|mux_client|[Cc]ontrol socket",
        "the connection to {host} was lost: {said}",
        "run it again: what has arrived is kept",
    ),
)
"""Pattern, what, fix: the first that is found anywhere in what was said. ``said`` is the line it was found in."""


def refusal(host: str, folder: str, doing: str, words: str) -> MmedgeError:
    """The error for what a child said on stderr while it was ``doing`` something with ``host``."""
    lines = [plain(line) for line in words.splitlines() if line.strip(" @\r")]
    for pattern, what, fix in KNOWN:
        if found := next((line for line in lines if re.search(pattern, line)), None):
            around = {"host": host, "name": host.rpartition("@")[2].strip("[]"), "folder": folder, "said": found}
            return MmedgeError(what.format(**around), fix.format(**around))
    telling = [line for line in lines if re.search("error|fail|cannot|bad |denied|refused", line, re.IGNORECASE)] or lines[-1:]
    return MmedgeError(f"{doing} failed on {host}: {telling[0] if telling else 'it said nothing'}", f"try by hand what ssh says: ssh {host}")


def plain(line: str) -> str:
    """A far side's line, safe for a terminal and without what only its own screen needed."""
    return "".join(letter if letter.isprintable() else " " for letter in line).strip()
