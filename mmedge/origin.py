"""What a source's text says, and which part of what it holds is meant. ``mmedge.hub`` documents the forms."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from mmedge import cache
from mmedge.errors import MmedgeError

FORMS = "hf:owner/name@revision#file, pip:package==version#file or file:path"


@dataclass(frozen=True, slots=True)
class Origin:
    """A parsed source."""

    text: str
    scheme: str
    name: str
    """``owner/name``, ``package==version`` or an absolute path."""
    revision: str = ""
    member: str = ""
    """A file in it; a folder where it ends in a slash; empty for all of it."""

    @property
    def whole(self) -> str:
        """The text without the member."""
        return self.text.partition("#")[0]

    def part(self, index: cache.Index) -> cache.Index:
        """What the member names: one file under its own name, or a folder's files, whose names then start below it."""
        if self.member in index:
            return {self.member: index[self.member]}
        if self.member and not self.member.endswith("/"):
            return {}
        return {name[len(self.member) :]: sha256 for name, sha256 in index.items() if name.startswith(self.member)}

    def hash(self, part: cache.Index) -> str:
        """A file's sha256, or a folder's tree hash."""
        return part[self.member] if self.member in part else cache.tree_sha256(part)

    def verify(self, have: str, sha256: str | None) -> None:
        """Raises WrongContent with both values."""
        if sha256 not in (None, have):
            raise cache.WrongContent(
                f"{self.text} has sha256 {have}, expected {sha256}", "correct the checksum if the new content is meant; else do not use this source"
            )

    def no_member(self, names: Sequence[str]) -> MmedgeError:
        """The error of a member that is not there, with the nearest names that are."""
        if not self.member:
            return MmedgeError(f"{self.whole} holds no files", "check the source")
        folders = {f"{parent}/" for name in names for parent in PurePosixPath(name).parents if str(parent) != "."}
        same = [name for name in names if PurePosixPath(name).name == PurePosixPath(self.member).name]
        near = difflib.get_close_matches(self.member, [*names, *sorted(folders)], n=3, cutoff=0.4)
        nearest = list(dict.fromkeys([*same, *near])) or sorted(names)
        return MmedgeError(f"{self.whole} has no {self.member!r}", f"nearest: {', '.join(nearest[:4])}" if nearest else f"look into {self.whole} for its names")


def parse(text: str) -> Origin:
    """Read a source. Raises MmedgeError, with the form that was probably meant."""
    scheme, colon, rest = text.partition(":")
    if not colon or scheme not in ("hf", "pip", "file"):
        raise _no_scheme(text, scheme if colon else "")
    name, _, member = rest.partition("#")
    revision = ""
    if scheme == "hf":
        name, _, revision = name.partition("@")
        if not re.fullmatch(r"[\w.-]+/[\w.-]+", name) or not revision:
            like = name if "/" in name else "owner/name"
            raise MmedgeError(f"{text!r} names no repository with a revision", f"write hf:{like}@main, or better a commit after the @")
    elif scheme == "pip" and not re.fullmatch(r"[A-Za-z0-9][\w.-]*==[0-9][\w.!+]*", name):
        raise MmedgeError(f"{text!r} names no package with a version", f"write pip:{re.split('[=@]', name)[0] or 'package'}==VERSION")
    elif scheme == "file":
        if not name:
            raise MmedgeError(f"{text!r} names no path", "write file:path")
        name = str(Path(name.removeprefix("//")).expanduser().absolute())
    if member and not stays_inside(member):
        raise MmedgeError(f"{text!r} names a member outside of its source", "name a file below it, with forward slashes")
    return Origin(text, scheme, name, revision, member)


def _no_scheme(text: str, scheme: str) -> MmedgeError:
    if scheme:
        return MmedgeError(f"{text!r} has the unknown scheme {scheme}:", f"write {FORMS}")
    if Path(text).expanduser().exists():
        return MmedgeError(f"{text!r} names no scheme", f"for the path of that name write file:{text}")
    if re.fullmatch(r"[\w.-]+/[\w.-]+", text):
        return MmedgeError(f"{text!r} names no scheme", f"for that repository of the Hugging Face hub write hf:{text}@main, or better a commit after the @")
    return MmedgeError(f"{text!r} is not a source", f"write {FORMS}")


def stays_inside(name: str) -> bool:
    """Whether a relative name with forward slashes stays below its folder, on every platform."""
    path = PurePosixPath(name)
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts and "\\" not in name and ":" not in name
