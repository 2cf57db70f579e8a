"""What tests do to a bundle."""

from __future__ import annotations

import hashlib
import json
import os

from mmedge.bundle import MANIFEST, Bundle


def edit(bundle, where, value):
    """Set one value of a manifest."""
    manifest = json.loads((bundle / MANIFEST).read_text())
    here = manifest
    for part in where[:-1]:
        here = here[part]
    here[where[-1]] = value
    (bundle / MANIFEST).write_text(json.dumps(manifest))


def swap(bundle, where, content):
    """Replace a file of the bundle, its checksum in the manifest too: what only somebody with a purpose does."""
    manifest = json.loads((bundle / MANIFEST).read_text())
    entry = manifest
    for part in where:
        entry = entry[part]
    (bundle / entry["path"]).write_bytes(content)
    edit(bundle, (*where, "sha256"), hashlib.sha256(content).hexdigest())
    edit(bundle, (*where, "size_bytes"), len(content))


def grown(bundle, size):
    """One more file in the bundle: another release."""
    with Bundle.writing(bundle) as writing:
        entry = writing.add("extra", "more.bin", os.urandom(size))
        writing.manifest = writing.manifest.model_copy(update={"media": {**writing.manifest.media, f"extra {entry.path}": entry}})
        writing.commit()
    return entry


def state(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
