"""What commands print: documents or text on stdout, progress on stderr."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import BaseModel


def show(document: BaseModel, as_json: bool, text: str) -> None:
    if as_json:
        from mmedge.documents import dump_json

        sys.stdout.write(dump_json(document))
    else:
        print(text)


def progress(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
