"""Repositories of the Hugging Face hub, by huggingface_hub (extra ``build``), which resumes what was interrupted by itself."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from mmedge import cache
from mmedge.errors import MmedgeError
from mmedge.need import need
from mmedge.origin import Origin
from mmedge.wheels import not_cached

_NEVER_READ = ["*.h5", "*.msgpack", "*.ot", "*.tflite", "*.mlmodel", "*.gguf"]
"""Formats that nothing here reads: not downloaded with a whole repository."""
_HUBS_OWN = ("huggingface_hub", "httpx", "httpx2", "requests")
"""Whose exceptions tell of the hub or the network, not of a bug here."""


def repository(origin: Origin, sha256: str | None, *, offline: bool, trace: cache.Trace | None) -> cache.Index:
    """The part of a repository that ``origin`` names, as an index whose files the cache holds.

    Raises:
        MmedgeError: no network, nothing of that name, no permission, another checksum, no space; then nothing is kept.
    """
    hub = need("huggingface_hub", extra="build")
    if not sys.stderr.isatty():
        need("huggingface_hub.utils", extra="build").disable_progress_bars()
    # MMEDGE_CACHE moves everything. Without it the hub's own cache is used, so that what is there already is not fetched twice.
    where = cache.root() / "hf" if "MMEDGE_CACHE" in os.environ else None
    options = {"revision": origin.revision, "cache_dir": where, "local_files_only": offline}
    single = bool(origin.member) and not origin.member.endswith("/")
    with cache.locked(origin.text, trace) as scratch:
        if trace and not offline:
            trace(f"downloading {origin.text}")
        try:
            with cache.writing():
                if single:
                    path = Path(hub.hf_hub_download(origin.name, origin.member, **options))
                else:
                    allow = [f"{origin.member}*"] if origin.member else None
                    path = Path(hub.snapshot_download(origin.name, allow_patterns=allow, ignore_patterns=_NEVER_READ, **options)) / origin.member
        except Exception as error:
            if type(error).__module__.partition(".")[0] not in _HUBS_OWN and not isinstance(error, ConnectionError):
                raise
            raise _explained(origin, offline, error) from error
        index = {origin.member: cache.sha256_of(path)} if single else cache.index_of(path)
        if not index:
            raise origin.no_member(_names(origin))
        origin.verify(origin.hash(index), sha256)
        for number, (name, content) in enumerate(index.items()):
            with cache.writing():
                cache.link(path if single else path / name, scratch / f"file{number}")
            cache.keep(scratch / f"file{number}", content)
    return index


def _explained(origin: Origin, offline: bool, error: Exception) -> MmedgeError:
    """What huggingface_hub's errors mean for a user; by name, since the classes moved between its versions."""
    kinds = {kind.__name__ for kind in type(error).__mro__}
    if offline or "OfflineModeIsEnabled" in kinds:
        return not_cached(origin.text)
    if "GatedRepoError" in kinds:
        return MmedgeError(f"hf:{origin.name} asks to accept its terms first", f"accept them at https://huggingface.co/{origin.name}, then run: hf auth login")
    if "RepositoryNotFoundError" in kinds:
        return MmedgeError(f"there is no repository hf:{origin.name}, or it is private", "check the name; for a private one run: hf auth login")
    if "RevisionNotFoundError" in kinds:
        return MmedgeError(f"hf:{origin.name} has no revision {origin.revision}", f"name a branch, a tag or a commit, such as hf:{origin.name}@main")
    if kinds & {"LocalEntryNotFoundError", "ConnectionError", "TransportError"}:
        what = f"no network: {origin.text} is not in the cache and the hub is not reached"
        return MmedgeError(what, "connect to the network, or set HF_ENDPOINT to a mirror")
    if "EntryNotFoundError" in kinds:
        return origin.no_member(_names(origin))
    return MmedgeError(f"the hub refused {origin.text}: {error}", "try again later; for a private repository run: hf auth login")


def _names(origin: Origin) -> list[str]:
    try:
        names: list[str] = need("huggingface_hub", extra="build").list_repo_files(origin.name, revision=origin.revision)
        return names
    except Exception:  # the names only improve a message that is given anyway
        return []
