"""Clip art without captions: pictures of things for a student to learn what its teacher sees in them.

``python -m mmedge.evaluate.clipart FOLDER`` downloads Debian's openclipart-png (131 MB; public domain) and writes a folder of pictures that ``mmedge distill
--unlabelled`` reads, at most ``SIDE`` pixels high and wide on white. ``--package FILE.deb`` takes a file that is there already. What shows no thing is left
out: flags, stars, icons, buttons, arrows, patterns, signs.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from PIL import Image, UnidentifiedImageError

from mmedge.documents import disk_error
from mmedge.errors import MmedgeError
from mmedge.evaluate.debian import contents, package, verify

PACKAGE, VERSION = "openclipart-png", "1:0.18+dfsg-19"
SHA256 = "f07f1545a2970c2cf3fa339bc2405da1a95cf2b1827bfa05bf73eb1c20291c02"
BELOW = PurePosixPath("usr/share/openclipart/png")
THINGS = ("animals", "buildings", "education", "electronics", "food", "office", "people", "plants", "recreation", "science", "tools", "transportation")
LEFT_OUT = ("transportation/aiga-symbols", "transportation/roadsigns")
SIDE = 320


def write_clipart(deb: Path, out: Path) -> int:
    """The pictures of things of that package, in its folders. Returns how many.

    Raises:
        MmedgeError: ``out`` is there already, the package is damaged, or the disk refuses. Nothing half-written stays.
    """
    if out.exists():
        raise MmedgeError(f"{out} is there already", "name a folder that is not")
    count = 0
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as scratch, contents(deb) as archive:
            for member in archive:
                name = PurePosixPath(member.name.removeprefix("./"))
                if member.isfile() and name.suffix == ".png" and _wanted(name):
                    count += _write(archive.extractfile(member), Path(scratch) / "made" / name.relative_to(BELOW))
            if not count:
                raise MmedgeError(f"{deb} holds no clip art", f"give Debian's {PACKAGE}")
            (Path(scratch) / "made").rename(out)
    except OSError as error:
        raise disk_error(out, error) from error
    return count


def _wanted(name: PurePosixPath) -> bool:
    if not name.is_relative_to(BELOW):
        return False
    folder = name.relative_to(BELOW).parent.as_posix()
    return folder.split("/")[0] in THINGS and not folder.startswith(LEFT_OUT)


def _write(file: object, path: Path) -> int:
    try:
        with Image.open(file) as opened:  # type: ignore[arg-type]
            picture = opened.convert("RGBA")
    except (UnidentifiedImageError, Image.DecompressionBombError):
        return 0  # some of the package's files are none
    picture.thumbnail((SIDE, SIDE))
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB").save(path)
    return 1


def main(arguments: Sequence[str]) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m mmedge.evaluate.clipart", description="Write Debian's clip art as pictures without captions.")
    parser.add_argument("folder", type=Path, help="where; it must not exist yet")
    parser.add_argument("--package", type=Path, metavar="FILE", help=f"{PACKAGE}_{VERSION}_all.deb, instead of letting apt-get download it")
    asked = parser.parse_args(arguments)
    try:
        if asked.package is not None:
            verify(asked.package, SHA256)
        made = write_clipart(asked.package or package(PACKAGE, VERSION, SHA256, _say), asked.folder)
    except MmedgeError as error:
        _say(str(error))
        return error.status
    _say(f"{asked.folder}: {made} pictures")
    return 0


def _say(line: str) -> None:
    print(line, file=sys.stderr)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
