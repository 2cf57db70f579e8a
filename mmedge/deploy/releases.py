"""The folder of releases on a far side: ``releases/HASH``, the link ``current``, and ``history``, the releases that were live, oldest first."""

from __future__ import annotations

import contextlib
import hashlib
import re
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from mmedge.bundle import Bundle
from mmedge.deploy.refusals import plain
from mmedge.deploy.remote import BEGINS, Remote
from mmedge.documents import dump_json
from mmedge.errors import MmedgeError
from mmedge.manifest import Manifest

KEPT = 3
"""Releases that stay: the live one, the one before it for ``--rollback``, and one more."""
HASH = re.compile("[0-9a-f]{12}")
TOOLS = {"rsync": "rsync", "flock": "util-linux", "sha256sum": "coreutils"}
TAKEN = 75
BEAT_S, SILENT_S = 15, 60
"""How often the holder of the lock says that it is there, and how long a silent one holds it."""

LOOK = """
for tool in rsync flock sha256sum; do command -v $tool >/dev/null || echo "missing $tool"; done
PATH="$PATH:$HOME/.local/bin"; command -v mmedge >/dev/null || echo "missing mmedge"
cd -- "$1" 2>/dev/null || exit 0
echo "dir $(pwd -P)"
if [ -L current ]; then echo "current $(readlink current)"; elif [ -e current ]; then echo "current a folder or file"; fi
[ -f history ] && sed 's/^/history /' history
for one in releases/*/; do echo "release $(basename "$one")"; [ -f "$one/manifest.json" ] && echo "whole $(basename "$one")"; done
exit 0
"""
LOCK = """
mkdir -p -- "$1/releases" && cd -- "$1" && : >>.lock && exec 9<>.lock || exit 73
flock -n 9 || { cat .lock; exit 75; }
echo "$2" >.lock; echo held
while [ "$(timeout "$3" dd bs=1 count=1 2>/dev/null 9>&-)" ]; do :; done
"""
SWITCH = """
sync; cd -- "$1" && cat >.history.tmp && mv -T .history.tmp history && ln -sfn "releases/$2" .current.tmp && mv -T .current.tmp current && sync
"""
REMOVE = 'cd -- "$1/releases" && shift && rm -rf -- "$@"'


@dataclass(frozen=True)
class There:
    """What is on the far side."""

    dir: str
    """Absolute; empty where nothing was pushed yet."""
    missing: tuple[str, ...]
    """Programs."""
    current: str | None
    history: tuple[str, ...]
    releases: tuple[str, ...]
    whole: tuple[str, ...]
    """Those whose upload was finished."""

    def before(self, release: str) -> str | None:
        """The release that was live before ``release``, if it is still there."""
        if release not in self.history:
            return None
        earlier = self.history[: len(self.history) - 1 - self.history[::-1].index(release)]
        return next((one for one in reversed(earlier) if one in self.whole and one != release), None)

    def after(self, release: str) -> tuple[str, ...]:
        """The history once ``release`` is live: what had been rolled back is no longer part of it."""
        if release == self.current:
            return self.history or (release,)
        if self.current is None:
            return (release,)
        until = len(self.history) - self.history[::-1].index(self.current) if self.current in self.history else 0
        return (*(self.history[:until] or (self.current,)), release)


def name_of(manifest: Manifest) -> str:
    """A release's name: the hash of what the bundle is. Compiling or checking it again here makes no other release of it."""
    engines = sorted(placed.file.path for placements in manifest.engines.values() for placed in placements.values() if placed.file)
    what = manifest.model_copy(update={"created": "", "engines": {}, "gates": {}, "provenance": {}})
    return hashlib.sha256(f"{dump_json(what)}{engines}".encode()).hexdigest()[:12]


def look(far: Remote) -> There:
    """What is there; nothing is changed. Raises MmedgeError: no way to it, or ``current`` is nothing that a push made."""
    said = far.run(LOOK, far.path)
    found: dict[str, list[str]] = {}
    for line in said.out.decode(errors="replace").splitlines():
        key, _, value = line.partition(" ")
        found.setdefault(key, []).append(value)
    current = found.get("current", [None])[0]
    if current is not None and not re.fullmatch(f"releases/{HASH.pattern}", current):
        raise MmedgeError(f"{far.folder}/current on {far.host} is not a link of mmedge push: {plain(current)}", f"name another folder: {far.host}:FOLDER")
    known = {key: tuple(one for one in found.get(key, ()) if HASH.fullmatch(one)) for key in ("history", "release", "whole")}
    live = current.rpartition("/")[2] if current else None
    return There(found.get("dir", [""])[0], tuple(found.get("missing", ())), live, known["history"], known["release"], known["whole"])


def folder_of(path: Path, where: str) -> Remote:
    """The far folder of a bundle that was pushed before: its name is read only where ``where`` says no folder."""
    far = Remote.parse(where)
    return far if far.folder else far.at(Bundle.open(path).manifest.name)


def live(far: Remote, there: There) -> str:
    """The live release. Raises MmedgeError: there is none."""
    if there.current is None:
        raise MmedgeError(f"nothing was pushed to {far.folder} on {far.host} yet", f"mmedge push BUNDLE {far.host}:{far.folder}")
    return there.current


def ready(far: Remote, there: There) -> None:
    """Raises MmedgeError: a program that a push needs there is not installed."""
    for tool in there.missing:
        if tool == "mmedge":
            raise far.without_mmedge()
        raise MmedgeError(f"{far.host} has no {tool}", f"there: sudo apt install {TOOLS[tool]}")


@contextlib.contextmanager
def locked(far: Remote) -> Iterator[Callable[[], None]]:
    """One push at a time. The lock is the far kernel's, held by a shell that lives as long as our connection: it cannot outlive either.

    Yields:
        What raises MmedgeError if the lock was lost meanwhile.
    """
    who = f"{socket.gethostname()} since {datetime.now():%H:%M}"
    stop = threading.Event()
    with far.start(LOCK, far.path, who, str(SILENT_S)) as shell:
        lines = iter(shell.stdout.readline, b"")
        for line in lines:
            if line == f"{BEGINS}\n".encode():
                break
        answer = next(lines, b"").decode(errors="replace")
        if answer != "held\n":
            if shell.wait() == TAKEN:
                raise MmedgeError(
                    f"another push to {far.host}:{far.folder} is under way, from {plain(answer)}", f"wait for it; a dead one lets go after {SILENT_S} s"
                )
            raise far.refused("locking the folder", shell.words())

        def beat() -> None:
            with contextlib.suppress(OSError, ValueError):
                while not stop.wait(BEAT_S):
                    shell.stdin.write(b".")
                    shell.stdin.flush()

        def held() -> None:
            if shell.status is not None:
                raise MmedgeError(f"the connection to {far.host} was lost", "run it again: what has arrived is kept")

        threading.Thread(target=beat, daemon=True).start()
        try:
            yield held
        finally:
            stop.set()
            with contextlib.suppress(OSError, subprocess.TimeoutExpired):
                shell.stdin.close()
                shell.wait(BEAT_S)  # then it is free for the next push


def switch(far: Remote, release: str, history: tuple[str, ...]) -> None:
    """Make ``release`` the live one, in one step. Raises MmedgeError: the far disk refuses; then nothing has moved."""
    said = far.run(SWITCH, far.path, release, stdin="".join(f"{one}\n" for one in history).encode())
    if said.status:
        raise far.refused("switching over", said.err)


def prune(far: Remote, there: There, history: tuple[str, ...], release: str) -> tuple[str, ...]:
    """Remove the releases beyond those that are kept, and what failed uploads left. Returns their names."""
    kept = set(list(dict.fromkeys(reversed(history)))[:KEPT]) | {release}
    gone = tuple(one for one in there.releases if one not in kept)
    return gone if gone and far.run(REMOVE, far.path, *gone).status == 0 else ()
