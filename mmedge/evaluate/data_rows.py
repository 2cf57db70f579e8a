"""Tables of samples, read line by line: CSV with a header, and JSON lines. What is wrong is said with the number of its line."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmedge.errors import MmedgeError

TABLES = (".csv", ".jsonl")


def read_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """(number of the line, column -> cell), of each row.

    Raises:
        MmedgeError: the file cannot be read, is not UTF-8, or a row is none.
    """
    yield from (_csv if path.suffix.lower() == ".csv" else _json)(path)


def _csv(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    reader = csv.reader(_lines(path), strict=True)
    header: list[str] = []
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise _damaged(path, line, str(error)) from error
        if not header:
            header = cells
            if len({*cells}) < len(cells):
                raise _damaged(path, line, f"two columns are called {max(cells, key=cells.count)!r}")
        elif cells:
            if len(cells) != len(header):
                raise _damaged(path, line, f"it has {len(cells)} cells, and the header {len(header)}")
            yield line, {column: value for column, value in zip(header, cells) if column and value}  # an unnamed column is an index that pandas wrote


def _json(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    for line, text in enumerate(_lines(path), 1):
        if not text.strip():
            continue
        try:
            row = parse_json(text)
        except (ValueError, RecursionError) as error:  # a ValueError: not JSON, or a number of thousands of digits
            raise _damaged(path, line, str(error)) from error
        if not isinstance(row, dict):
            raise _damaged(path, line, "it is no JSON object")
        yield line, row


def parse_json(text: str) -> Any:
    """Raises ValueError: it is no JSON, or holds half a surrogate pair, which no text can be made of. RecursionError: it is too deep."""
    made = json.loads(text)
    if "\\ud" in text.lower():
        json.dumps(made, ensure_ascii=False).encode()
    return made


def _lines(path: Path) -> Iterator[str]:
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                try:
                    yield line.decode("utf-8-sig" if number == 1 else "utf-8")
                except UnicodeDecodeError as error:
                    raise _damaged(path, number, f"it is not UTF-8 ({error.reason})") from error
    except OSError as error:
        raise MmedgeError(f"{path} cannot be read: {error.strerror}", "name a file that exists and that you may read") from error


def _damaged(path: Path, line: int, why: str) -> MmedgeError:
    return MmedgeError(f"{path}, line {line}: {why}", "correct that line")
