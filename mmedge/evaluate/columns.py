"""What columns are called: the field's standard names, and the other names that data sets use for the same."""

from __future__ import annotations

import contextlib
import difflib
import json
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from typing import Any

from mmedge.errors import MmedgeError
from mmedge.evaluate.samples import SOUNDS

ALIASES: dict[str, tuple[str, ...]] = {
    "image": ("picture", "img", "photo"),
    "audio": ("sound", "speech"),
    "text": ("caption", "captions", "texts", "description"),
    "teacher_text": (),
    "label": ("class", "category", "cls"),
    "question": (),
    "answers": ("answer",),
    "transcript": ("transcription", "sentence"),
    "split": ("fold",),
}
"""Standard name -> others, the first that is there counts."""
FILE = "file_name"
"""A column of files, of the Hugging Face imagefolder and audiofolder convention: ``file_name``, or ``NAME_file_name`` for the column NAME."""
SPLITS = {"training": "train", "val": "validation", "valid": "validation", "dev": "validation", "testing": "test", "eval": "test", "evaluation": "test"}
"""Other names of the usual splits, as folders are called."""


def split_of(folder: str) -> str | None:
    """The split that a folder or file of this name is, if it is one of the usual ones."""
    name = SPLITS.get(folder.lower(), folder.lower())
    return name if name in ("train", "validation", "test") else None


def file_column(column: str, value: str) -> str | None:
    """The column that a cell with a file's name is for: ``file_name`` by the file's ending, ``spoken_file_name`` is ``spoken``. None: not such a column."""
    if column == FILE:
        return "audio" if PurePosixPath(value).suffix.lower() in SOUNDS else "image"
    return column.removesuffix(f"_{FILE}") if column.endswith(f"_{FILE}") else None


def naming(columns: Iterable[str], chosen: Mapping[str, str], name: str) -> dict[str, str]:
    """Column of the data -> its standard name; those that have none keep theirs.

    Args:
        chosen: standard name -> the column of the data that shall have it.
        name: of the data.

    Raises:
        MmedgeError: there is no such column, with the nearest that there is.
    """
    there = sorted(columns)
    taken: dict[str, str] = {}
    for standard, theirs in chosen.items():
        if standard not in ALIASES:
            raise no_column(standard, list(ALIASES), "there is no use for a column")
        if theirs not in there:
            raise no_column(theirs, there, f"{name} has no column")
        taken[theirs] = standard
    for standard, others in ALIASES.items():
        found = [] if standard in chosen else [one for one in (standard, *others) if one in there and one not in taken]
        if found:
            taken[found[0]] = standard
    rest = [one for one in there if one not in taken and one not in taken.values()]
    return {**taken, **{one: one for one in rest}}


def no_column(asked: str, there: list[str], what: str) -> MmedgeError:
    """The error of a column that is not there."""
    near = difflib.get_close_matches(asked, there, n=1, cutoff=0.5)
    known = ", ".join(there)
    return MmedgeError(f"{what} {asked!r}", f"did you mean {near[0]}? Columns: {known}" if near else f"use one of: {known}")


def cell(standard: str, value: Any) -> Any:
    """A cell as its standard column holds it; None where it is empty.

    Raises:
        ValueError: it is of another kind.
    """
    if value is None or value == [] or (isinstance(value, str) and not value.strip() and standard in ("label", "question", "split")):
        return None
    if standard in ("text", "teacher_text", "answers"):
        return _texts(value)
    if standard in ("label", "question", "transcript", "split"):
        if isinstance(value, (dict, list, float)):
            raise ValueError(f"{standard} is {json.dumps(value)[:60]}, and not a text")
        return str(value)
    return value


def _texts(value: Any) -> list[str] | None:
    """One text or several, also as a cell of a table that holds a JSON list; of VQA's annotations (``{"answer": "yes"}``) the answers."""
    if isinstance(value, str) and value.startswith("["):
        with contextlib.suppress(ValueError):  # a text that only begins like a list
            value = json.loads(value)
    items = value if isinstance(value, list) else [value]
    texts = [one.get("answer") if isinstance(one, dict) else one for one in items]
    if any(not isinstance(one, (str, int)) for one in texts):
        raise ValueError(f"{json.dumps(value)[:60]} is neither a text nor a list of texts")
    return [str(one) for one in texts if str(one).strip()] or None
