"""What commands print: documents or text on stdout, progress on stderr."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import BaseModel


def show(document: BaseModel, as_json: bool, text: str) -> None:
    """A reader that has left (``| head -1``) ends nothing: what is still to be judged is judged, and the exit status says so."""
    if as_json:
        from mmedge.documents import dump_json

        text = dump_json(document)
    try:
        sys.stdout.write(text if as_json else f"{text}\n")
        sys.stdout.flush()
    except BrokenPipeError:
        nobody_reads()


def nobody_reads() -> None:
    """Nothing more to say on stdout, not even by the interpreter's own flush at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def progress(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
