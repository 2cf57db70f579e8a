"""Bring a bundle's files into a release on the far side: only what no release there has, resumable, verified by sha256 where it arrived."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
import time
from collections.abc import Sequence
from pathlib import Path

from mmedge.bundle import MANIFEST
from mmedge.deploy.program import Program, Report, require
from mmedge.deploy.remote import Remote
from mmedge.documents import dump_json
from mmedge.errors import MmedgeError
from mmedge.manifest import File, Manifest

PROGRESS_S = 5.0
LINKED = 20
"""As many folders as rsync looks into for what it need not send."""

MAKE = """mkdir -p -- "$1/releases/$2" && df -Pk -- "$1/releases" | awk 'NR == 2 { print $4 }'"""
SUMS = 'cd -- "$1" && xargs -0 sha256sum -z --'
READ = f'cd -- "$1" && cat {MANIFEST}'
WRITE = f'cd -- "$1" && cat >.manifest.tmp && sha256sum <.manifest.tmp && sync && mv -T .manifest.tmp {MANIFEST}'


def upload(far: Remote, source: Path, manifest: Manifest, release: str, others: Sequence[str], report: Report) -> int:
    """Make ``releases/RELEASE`` what the manifest says. The manifest comes last: without it, a folder there is not yet a bundle.

    Args:
        others: releases there that may hold some of the files already.

    Returns:
        Bytes of the files that crossed the network.

    Raises:
        MmedgeError: no space there, a connection that breaks, or a disk there that does not keep what is written.
    """
    require("rsync", "rsync")
    files = manifest.files()
    made = far.run(MAKE, far.path, release)
    if made.status:
        raise far.refused("making the release's folder", made.err)
    missing, _ = _rsync(far, source, files, release, others, "--size-only", "--dry-run")
    if made.out.strip().isdigit() and missing > (free := int(made.out) * 1024):
        raise MmedgeError(
            f"no space left on {far.host} in {far.folder}: {missing / 1e6:.1f} MB are to be written, {free / 1e6:.1f} MB are free",
            f"free some there, or name a folder on another disk: {far.host}:FOLDER",
        )
    report(f"{missing / 1e6:.1f} MB of {sum(file.size_bytes for file in files) / 1e6:.1f} MB are not on {far.host} yet")
    _, sent = _rsync(far, source, files, release, others, "--size-only", report=report)
    if damaged := _damaged(far, files, release):
        report(f"damaged on {far.host}, sending again: {', '.join(file.path for file in damaged)}")
        sent += _rsync(far, source, damaged, release, (), "--checksum", report=report)[1]
        if damaged := _damaged(far, damaged, release):
            raise MmedgeError(f"{damaged[0].path} does not arrive whole on {far.host}: its sha256 differs twice", "check the board's disk: dmesg, there")
    report(f"verified on {far.host}: {len(files)} files")
    _manifest(far, manifest, release)
    return sent


def _rsync(
    far: Remote, source: Path, files: Sequence[File], release: str, others: Sequence[str], *options: str, report: Report | None = None
) -> tuple[int, int]:
    """Returns the bytes of the files that differ or lack, and those that were really sent.

    ``--size-only``, because a name that carries the content's hash needs no date; a partial upload lies in ``.partial``, never under such a name.
    """
    command = ["rsync", "--protect-args", "--copy-links", "--from0", "--files-from=-", "--partial-dir=.partial", "--stats", "--info=progress2"]
    command += [*options, "--no-human-readable", *(f"--link-dest=../{other}" for other in others[-LINKED:])]
    command += ["-e", shlex.join(far.ssh), "--", "./", f"{far.host}:{far.path}/releases/{release}/"]
    told, total = time.monotonic(), sum(file.size_bytes for file in files)

    def watch(piece: bytes) -> None:
        nonlocal told
        now = time.monotonic()
        if report and now - told > PROGRESS_S and (counts := re.findall(rb"([0-9]+) +[0-9]+%", piece)):
            told = now
            report(f"{int(counts[-1]) / 1e6:.0f} of {total / 1e6:.0f} MB")

    with Program(command, cwd=str(source)) as rsync:
        out = rsync.talk(b"".join(file.path.encode() + b"\0" for file in files), watch)
        if rsync.status:
            raise far.refused("copying", rsync.words())
    found = [re.search(rb"^%s: ([0-9,.]+)" % what, out, re.MULTILINE) for what in (b"Total transferred file size", b"Literal data")]
    size, literal = (int(re.sub(rb"[,.]", b"", one[1])) if one else 0 for one in found)
    return size, literal


def _damaged(far: Remote, files: Sequence[File], release: str) -> list[File]:
    """The files that the far side's own sha256sum does not find as the manifest describes them."""
    said = far.run(SUMS, f"{far.path}/releases/{release}", stdin=b"\0".join(file.path.encode() for file in files))
    sums = {path: digest for line in said.out.decode(errors="replace").split("\0") for digest, _, path in [line.partition("  ")]}
    return [file for file in files if sums.get(file.path) != file.sha256]


def _manifest(far: Remote, manifest: Manifest, release: str) -> None:
    """Send the manifest, unless the release has one of the same models: that one knows what was compiled there."""
    folder = f"{far.path}/releases/{release}"
    ours = dump_json(manifest).encode()
    try:
        theirs = json.loads(far.run(READ, folder).out)
        if all(theirs[key] == json.loads(ours)[key] for key in ("schema", "models", "media")):
            return
    except (ValueError, KeyError, TypeError):
        pass
    said = far.run(WRITE, folder, stdin=ours)
    if said.status or said.out.split()[:1] != [hashlib.sha256(ours).hexdigest().encode()]:
        raise far.refused(f"writing {MANIFEST}", said.err)
