"""Tux Paint's stamps as a data set: 785 pictures with captions in English and Chinese, names that people spoke, and sounds of things.

``python -m mmedge.evaluate.stamps FOLDER`` downloads Debian's tuxpaint-stamps-default (161 MB; GPL: for tests and measurements, no part of mmedge)
and writes a folder that ``mmedge eval --data`` reads. ``--package FILE.deb`` takes a file that is there already.

Splits: five folds, ``fold_0`` to ``fold_4``, to test on one after the other, and ``train`` for what is never tested on, the symbols (letters, digits, signs).
A random split would leak: a quarter of the captions come more than once. So what has the same caption, the same head noun or the same first word of its
file's name is one group, transitively, and so is each folder of symbols; a group is in one fold as a whole.

=====================  ================================================================================
``file_name``          the picture
``text``               the English caption; ``text_zh`` in simplified Chinese, for most
``text_unnamed``       the English caption with "thing" in the place of its head noun, for those that are tested on
``audio_file_name``    a person who says what it is, with ``transcript``, the caption without its article: for 65
``natural_file_name``  what the thing sounds like: for 131
``category``           its folder among 16, and ``subcategory``, the folder in that
``kind``               both, ``animals/birds``, for the 21 of which at least 7 stamps are tested on
``split``              see above
=====================  ================================================================================
"""

from __future__ import annotations

import csv
import hashlib
import io
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from mmedge.documents import disk_error
from mmedge.errors import MmedgeError
from mmedge.evaluate.debian import contents, package, verify
from mmedge.evaluate.nouns import DETERMINERS, head_noun, singular, words

PACKAGE, VERSION = "tuxpaint-stamps-default", "2022.06.04-1"
SHA256 = "6db6c1bfc870a47f1499d6203b083522eacb57c5f9c87d468f2e92eb6d9d5f34"
URL = f"http://deb.debian.org/debian/pool/main/t/tuxpaint-stamps/{PACKAGE}_{VERSION}_all.deb"
BELOW = PurePosixPath("usr/share/tuxpaint/stamps")
FOLDS = 5
COLUMNS = ("file_name", "text", "text_zh", "audio_file_name", "transcript", "natural_file_name", "category", "subcategory", "split", "text_unnamed", "kind")
KIND = 7
"""Stamps of a kind, at least: fewer would be a class without samples in most folds."""
SPOKEN, CHINESE = "_desc.ogg", "zh_CN.utf8="


@dataclass(frozen=True)
class Stamp:
    """One picture and what goes with it; names of files as in the package, empty where there is none."""

    name: str
    text: str
    text_zh: str
    spoken: str
    natural: str

    @property
    def folders(self) -> tuple[str, ...]:
        return PurePosixPath(self.name).parts[:-1]


def write_stamps(deb: Path, out: Path) -> Counter[str]:
    """Write the data set of a package's file into a new folder; the number of samples of each split.

    Raises:
        MmedgeError: the folder is there already, or the disk refuses; then nothing is left there.
    """
    if out.exists():
        raise MmedgeError(f"{out} is there already", "name a folder that does not exist")
    try:
        out.absolute().parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.absolute().parent) as scratch:
            made = Path(scratch) / "stamps"
            texts = _unpack(deb, made)
            stamps = [found for name in sorted(texts) if (found := _stamp(made, name, texts[name]))]
            split = splits(stamps)
            (made / "metadata.csv").write_text(_table(stamps, split), encoding="utf-8", newline="")
            for path in {one for one in made.rglob("*") if one.is_file()} - {made / one for stamp in stamps for one in (*_files(stamp), "metadata.csv")}:
                path.unlink()
            made.rename(out)
    except OSError as error:
        raise disk_error(out, error) from error
    return Counter(split.values())


def splits(stamps: Sequence[Stamp]) -> dict[str, str]:
    """Name of a stamp -> its split, by the rule above. Folds are filled with whole groups, in an order that is fixed, each time the emptiest one."""
    parent: dict[str, str] = {}

    def find(key: str) -> str:
        while parent.setdefault(key, key) != key:
            key = parent[key]
        return key

    for stamp in stamps:
        for key in _keys(stamp):
            parent[find(stamp.name)] = find(key)
    groups: dict[str, list[Stamp]] = {}
    for stamp in stamps:
        groups.setdefault(find(stamp.name), []).append(stamp)
    made: dict[str, str] = {}
    filled = Counter({f"fold_{fold}": 0 for fold in range(FOLDS)})
    for group in sorted(groups.values(), key=lambda group: (-len(group), hashlib.sha256(min(stamp.name for stamp in group).encode()).digest())):
        symbols = any(stamp.folders[0] == "symbols" for stamp in group)
        split = "train" if symbols else min(filled, key=lambda fold: (filled[fold], fold))
        if not symbols:
            filled[split] += len(group)
        made.update((stamp.name, split) for stamp in group)
    return made


def _keys(stamp: Stamp) -> list[str]:
    """Two stamps that share one of these are in one group."""
    caption = f"caption {' '.join(words(stamp.text)) or stamp.text}"
    if stamp.folders[0] == "symbols":  # their nouns are "letter" and "sign"
        return [caption, f"folder {'/'.join(stamp.folders[:2])}"]
    stem = re.split(r"[_\-0-9]", PurePosixPath(stamp.name).stem)[0].lower()
    return [caption, *([f"noun {noun}"] if (noun := head_noun(stamp.text)) else []), *([f"file {stem}"] if stem else [])]


def _unpack(deb: Path, out: Path) -> dict[str, str]:
    """Write pictures and sounds; picture -> the text beside it."""
    texts, pictures = {}, []
    with contents(deb) as archive:
        for member in archive:
            path = PurePosixPath(member.name)
            if not member.isfile() or not path.is_relative_to(BELOW) or ".." in path.parts or path.suffix not in (".png", ".ogg", ".wav", ".txt"):
                continue
            name, file = path.relative_to(BELOW).as_posix(), archive.extractfile(member)
            assert file is not None
            if path.suffix == ".txt":
                texts[str(PurePosixPath(name).with_suffix(".png"))] = file.read().decode("utf-8", "replace")
            elif re.search(r"_desc_|_[a-z]{2}\.ogg$", path.name) is None:  # spoken in other languages
                (out / name).parent.mkdir(parents=True, exist_ok=True)
                (out / name).write_bytes(file.read())
                pictures += [name] if path.suffix == ".png" else []
    return {name: texts[name] for name in pictures if name in texts}


def _stamp(folder: Path, name: str, text: str) -> Stamp | None:
    lines = [line.strip() for line in text.splitlines()]
    if not lines or not lines[0]:
        return None
    chinese = next((line.removeprefix(CHINESE).strip() for line in lines if line.startswith(CHINESE)), "")
    stem = name.removesuffix(".png")
    there = [one if (folder / one).is_file() else "" for one in (f"{stem}{SPOKEN}", f"{stem}.ogg", f"{stem}.wav")]
    return Stamp(name, lines[0], chinese if re.search(r"[㐀-鿿]", chinese) else "", there[0], there[1] or there[2])


def _files(stamp: Stamp) -> list[str]:
    return [name for name in (stamp.name, stamp.spoken, stamp.natural) if name]


def _table(stamps: Sequence[Stamp], split: dict[str, str]) -> str:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(COLUMNS)
    kinds = Counter("/".join(one.folders[:2]) for one in stamps if one.folders[1:] and split[one.name] != "train")
    for one in stamps:
        spoken = (one.spoken, _said(one.text) if one.spoken else "")
        tested = split[one.name] != "train"
        more = (_unnamed(one.text) if tested else "", kind if tested and kinds[kind := "/".join(one.folders[:2])] >= KIND else "")
        table.writerow((one.name, one.text, one.text_zh, *spoken, one.natural, one.folders[0], "/".join(one.folders[1:2]), split[one.name], *more))
    return text.getvalue()


def _unnamed(caption: str) -> str:
    noun = head_noun(caption)
    return re.sub(r"[A-Za-z]+(?:[-'’][A-Za-z]+)*", lambda word: "thing" if noun and singular(word[0].lower()) == noun else word[0], caption)


def _said(caption: str) -> str:
    """What the speakers say: "A brown hen." is "brown hen"."""
    first, space, rest = caption.rstrip(". ").partition(" ")
    return rest if space and first.lower() in DETERMINERS else caption.rstrip(". ")


def main(arguments: Sequence[str]) -> int:
    """The command."""
    import argparse

    parser = argparse.ArgumentParser(prog="python -m mmedge.evaluate.stamps", description="Write Tux Paint's stamps as a data set.")
    parser.add_argument("folder", type=Path, help="where; it must not exist yet")
    parser.add_argument("--package", type=Path, metavar="FILE", help=f"{PACKAGE}_{VERSION}_all.deb, instead of letting apt-get download it")
    asked = parser.parse_args(arguments)
    try:
        made = write_stamps(_package(asked.package), asked.folder)
    except MmedgeError as error:
        _say(str(error))
        return error.status
    _say(f"{asked.folder}: {sum(made.values())} stamps: {', '.join(f'{name} {count}' for name, count in sorted(made.items()))}")
    return 0


def _package(given: Path | None) -> Path:
    if given is not None:
        verify(given, SHA256)
        return given
    try:
        return package(PACKAGE, VERSION, SHA256, _say)
    except MmedgeError as error:
        raise MmedgeError(error.what, f"{error.fix}; or download {URL}, and give it with --package FILE") from error


def _say(line: str) -> None:
    print(line, file=sys.stderr)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
