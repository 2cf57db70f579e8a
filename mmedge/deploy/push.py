"""Deliver a bundle to a board: upload, verify, compile and check there, then switch over. Whatever fails, the release that was live stays live."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

from pydantic import Field

from mmedge.bundle import Bundle
from mmedge.deploy.program import Report
from mmedge.deploy.releases import folder_of, live, locked, look, name_of, prune, ready, switch
from mmedge.deploy.remote import Remote
from mmedge.deploy.upload import upload
from mmedge.documents import Document
from mmedge.errors import MmedgeError
from mmedge.manifest import Gate, Manifest
from mmedge.target import Targets, pick


class Release(Document):
    """What is live on a board now (schema ``mmedge.release/1``)."""

    schema_: Literal["mmedge.release/1"] = Field(default="mmedge.release/1", alias="schema")
    host: str
    dir: str
    """Of the releases; absolute. The bundle is ``DIR/current``."""
    release: str
    """The live one: hash of the bundle's models and files."""
    previous: str | None
    """What ``--rollback`` would make live."""
    target: str | None = None
    """What it was compiled and checked for; null after a rollback."""
    uploaded_bytes: int = 0
    """Of the bundle's files, that crossed the network."""
    reused_bytes: int = 0
    """Of the bundle's files, that were there already."""
    removed: tuple[str, ...] = ()
    """Older releases, and what failed pushes had left."""
    gates: tuple[Gate, ...] = ()
    """Of the check on the board."""


def push(path: Path, where: str, target: str | None, report: Report) -> Release:
    """Make a bundle the live release on a board.

    Args:
        where: ``user@board[:dir]``, the folder relative to the home; by default ``mmedge/NAME``.
        target: a target that the far side's mmedge knows; None: of those that the board is, the first that the bundle was made for, else the best.

    Raises:
        MmedgeError: the bundle is damaged here; the board cannot be reached, lacks something or has no space.
        Elsewhere: compile (status 2) or check (status 3) failed there. The release that was live still is.
    """
    far = Remote.parse(where)
    bundle = Bundle.open(path)
    manifest = bundle.manifest
    for entry in manifest.files():
        bundle.file(entry)
    release = name_of(manifest)
    with far.at(manifest.name).connected() as far:
        ready(far, look(far))
        target = _target(far, target, manifest, report)
        with locked(far) as held:
            there = look(far)
            sent = upload(far, path, manifest, release, [one for one in there.releases if one != release], report)
            folder = f"{far.path}/releases/{release}"
            far.mmedge("compile", folder, "--target", target, report=report)
            checked = far.read(far.mmedge("check", folder, "--target", target, report=report), Manifest)
            held()
            history = there.after(release)
            switch(far, release, history)
            removed = prune(far, there, history, release)
            for one in removed:
                report(f"removed release {one}")
    return Release(
        host=far.host,
        dir=there.dir,
        release=release,
        previous=replace(there, history=history).before(release),
        target=target,
        uploaded_bytes=sent,
        reused_bytes=max(sum(file.size_bytes for file in manifest.files()) - sent, 0),
        removed=removed,
        gates=checked.gates.get(f"check {target}", ()),
    )


def rollback(path: Path, where: str, report: Report) -> Release:
    """Make the release before the live one live again.

    Args:
        path: the bundle, for its name; not read where ``where`` says the folder.

    Raises:
        MmedgeError: the board cannot be reached, nothing was pushed there, or no release is before.
    """
    with folder_of(path, where).connected() as far:
        live(far, look(far))
        with locked(far) as held:
            there = look(far)
            now = live(far, there)
            before = there.before(now)
            if before is None:
                raise MmedgeError(
                    f"there is no release before {now} in {far.folder} on {far.host}", f"push the bundle that shall be live: mmedge push BUNDLE {where}"
                )
            held()
            switch(far, before, there.history)
    report(f"{now} is no longer live")
    return Release(host=far.host, dir=there.dir, release=before, previous=there.before(before))


def describe(made: Release) -> str:
    """What is live now, and the way back."""
    checked = f", {sum(gate.passed for gate in made.gates)} of {len(made.gates)} checks passed" if made.gates else ""
    lines = [f"{made.host}: release {made.release} is live in {made.dir}/current" + (f", compiled for {made.target}{checked}" if made.target else "")]
    if made.target:
        lines.append(f"{made.uploaded_bytes / 1e6:.1f} MB sent, {made.reused_bytes / 1e6:.1f} MB were there")
    lines.append(f"the release before: {made.previous} (mmedge push --rollback)" if made.previous else "there is no release before")
    return "\n".join(lines)


def _target(far: Remote, wanted: str | None, manifest: Manifest, report: Report) -> str:
    """The target to compile for, of those that the far side knows: asked before anything is sent."""
    known = far.read(far.mmedge("targets", report=report), Targets)
    by_name = {target.name: target for target in known.targets}
    if wanted is None:
        here = [by_name[name] for name in known.here or (known.best,)]
        taken = pick(here, manifest.engines, anew=True)
        if taken != here[0]:
            report(f"target {taken.name}: the bundle was made for it, and not for the best of {far.host}, {here[0].name}")
        return taken.name
    if wanted not in by_name:
        raise MmedgeError(f"mmedge on {far.host} knows no target {wanted!r}", f"it knows: {', '.join(by_name)}")
    return wanted
