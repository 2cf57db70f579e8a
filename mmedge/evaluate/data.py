"""Data sets from the disk, streamed: folders, tables and WebDataset's tar files, all read the same way.

===========================================  =====================================================================================================
``FOLDER``                                   with ``metadata.csv`` or ``metadata.jsonl``: a row for each sample, its files in the columns ``file_name`` or
                                             ``NAME_file_name``; without one, the folder that a file lies in is its label. Folders called train,
                                             validation or test are splits
``FILE.csv``, ``FILE.jsonl``                 such a table under another name
``FILE.tar``, or a folder of them            WebDataset
===========================================  =====================================================================================================

Columns: ``mmedge.evaluate.columns``. Nothing outside the folder is read.
"""

from __future__ import annotations

import difflib
import hashlib
import heapq
import json
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from mmedge.cache import sha256_of
from mmedge.errors import MmedgeError
from mmedge.evaluate.columns import SPLITS, cell, naming
from mmedge.evaluate.data_folder import Classes, Tables, tables_of
from mmedge.evaluate.data_rows import TABLES
from mmedge.evaluate.data_tar import TARS, Tars, tars_of
from mmedge.evaluate.samples import Medium, Sample, Tally, Unreadable
from mmedge.evaluate.source import Found, Source, legible, medium

__all__ = ["Data", "Medium", "Sample", "Tally", "Unreadable", "open_data"]

FORMS = "a folder with metadata.csv, metadata.jsonl or a folder for each class; a .csv or .jsonl file; or WebDataset's .tar files"


class Data(Protocol):
    """Samples in a fixed order. May be gone through several times; each time they are read anew."""

    name: str
    columns: frozenset[str]
    """By their standard names."""
    splits: Mapping[str, int]
    """Every split, with its number of samples; empty where there are none."""
    labels: tuple[str, ...]
    """Every class, of all splits, sorted."""
    split: str | None
    limit: int | None
    seed: int
    lacking: int
    """Samples that were passed over before the draw: they have no value in a column that is needed."""

    def having(self, columns: Iterable[str]) -> Data:
        """The same selection of those samples alone that have a value in all of these columns."""
        ...

    def named(self, columns: Mapping[str, str]) -> Data:
        """The same selection with other columns under standard names, where none was chosen for them before. Raises MmedgeError: there is no such column."""
        ...

    def at_most(self, limit: int) -> Data:
        """The same, but drawn by the seed where there are more: some of these samples."""
        ...

    def others(self) -> Data:
        """The samples of the same data that this selection leaves out, of whatever split: those that have the same needed columns."""
        ...

    def __iter__(self) -> Iterator[Sample]: ...
    def __len__(self) -> int: ...
    def fingerprint(self) -> str:
        """sha256 over the samples' keys and columns, and the names and contents of their files: equal for equal selections of equal data, wherever they lie."""
        ...


def open_data(path: str | Path, *, split: str | None = None, limit: int | None = None, seed: int = 0, columns: Mapping[str, str] | None = None) -> Data:
    """Open a data set: see the module's docstring for its forms.

    Args:
        split: only these samples; several with a plus: ``validation+test``.
        limit: at most so many, drawn by ``seed``; those of a smaller limit are among those of a larger one.
        columns: standard name -> the data's own, where they differ: ``{"text": "text_zh"}``.

    Raises:
        MmedgeError: there is nothing of a known form, no sample, no such split or column, or something is damaged. Media are not looked into.
    """
    path = Path(path)
    if limit is not None and limit < 1:
        raise MmedgeError(f"a limit of {limit} leaves no sample", "give a limit of at least 1")
    return _Selection(_source(path), path, split, limit, seed, columns or {}, frozenset())


def _source(path: Path) -> Source:
    if not path.exists():
        raise MmedgeError(f"there is no data at {path}", f"name {FORMS}")
    if path.is_file():
        if path.suffix.lower() in TABLES:
            return Tables(path.parent, [path])
        if path.name.lower().endswith(TARS):
            return Tars(path.parent, [path])
        raise MmedgeError(f"{path} is no data set", f"name {FORMS}")
    try:
        tables, tars = tables_of(path), tars_of(path)
    except OSError as error:
        raise MmedgeError(f"{path} cannot be read: {error.strerror}", "name a folder that you may read") from error
    return Tables(path, tables) if tables else Tars(path, tars) if tars else Classes(path)


class _Selection:
    """The samples of a source that are of a split, at most ``limit`` of them: what is remembered is their numbers."""

    def __init__(
        self,
        source: Source,
        path: Path,
        split: str | None,
        limit: int | None,
        seed: int,
        chosen: Mapping[str, str],
        needed: frozenset[str],
        without: Container[int] = (),
    ) -> None:
        self.name, self.split, self.limit, self.seed, self.lacking = path.resolve().name, split, limit, seed, 0
        self._source, self._path, self._chosen, self._needed, self._without = source, path, chosen, needed, without
        seen: set[str] = set()
        count = 0
        for count, found in enumerate(source.read(()), 1):  # noqa: B007 (read after the loop)
            seen.update(found.fields)
        if not count:
            raise MmedgeError(f"{path} holds no samples", f"name {FORMS}")
        self._naming = naming(seen, chosen, self.name)
        self.columns = frozenset(self._naming.values())
        self._wanted = None if split is None else {SPLITS.get(one, one) for one in split.split("+")}
        splits: Counter[str] = Counter()
        labels: set[str] = set()
        self._numbers = self._draw(splits, labels)
        self.splits: Mapping[str, int] = {one: count for one, count in sorted(splits.items()) if one}
        self.labels = tuple(sorted(labels))
        self.columns |= {"split"} if self.splits else set()
        for one in sorted(self._wanted or ()):
            if one not in self.splits:
                raise self._no_split(one)

    def having(self, columns: Iterable[str]) -> Data:
        return _Selection(self._source, self._path, self.split, self.limit, self.seed, self._chosen, self._needed.union(columns), self._without)

    def named(self, columns: Mapping[str, str]) -> Data:
        chosen = {**columns, **self._chosen}
        return _Selection(self._source, self._path, self.split, self.limit, self.seed, chosen, self._needed, self._without)

    def at_most(self, limit: int) -> Data:
        return self if len(self) <= limit else _Selection(self._source, self._path, self.split, limit, self.seed, self._chosen, self._needed, self._without)

    def others(self) -> Data:
        return _Selection(self._source, self._path, None, None, self.seed, self._chosen, self._needed, self._numbers)

    def __len__(self) -> int:
        return len(self._numbers)

    def __iter__(self) -> Iterator[Sample]:
        for _, sample in self._some(self._numbers):
            yield sample

    def fingerprint(self) -> str:
        digest = hashlib.sha256()
        for _, sample in self._some(self._numbers):
            digest.update(json.dumps([sample.key, dict(sample.fields)], sort_keys=True, default=_plain).encode() + b"\n")
        return digest.hexdigest()

    def _draw(self, splits: Counter[str], labels: set[str]) -> range | set[int]:
        """Numbers of the samples that are selected, and on the way what there is. Each sample has its own lot, whatever the others are."""

        def among() -> Iterator[tuple[bytes, int]]:
            for index, sample in self._all(()):
                split, label = sample.fields.get("split", ""), sample.fields.get("label")
                splits[split] += 1
                labels.update(() if label is None else (label,))
                if (self._wanted is not None and split not in self._wanted) or index in self._without:
                    continue
                if not self._needed <= sample.fields.keys():
                    self.lacking += 1
                else:
                    yield hashlib.sha256(f"{self.seed} {sample.key}".encode()).digest() if self.limit else b"", index

        if self.limit is not None:
            return {index for _, index in heapq.nsmallest(self.limit, among())}
        if self._wanted is None and not self._needed and not self._without:
            return range(sum(1 for _ in among()))
        return {index for _, index in among()}

    def _no_split(self, asked: str) -> MmedgeError:
        if not self.splits:
            return MmedgeError(f"{self.name} has no splits, and {asked!r} was asked for", "leave out --split, or add a column split")
        near = difflib.get_close_matches(asked, self.splits, n=1, cutoff=0.5)
        known = ", ".join(f"{name} ({count})" for name, count in self.splits.items())
        return MmedgeError(f"{self.name} has no split {asked!r}", f"did you mean {near[0]}? Its splits: {known}" if near else f"its splits: {known}")

    def _some(self, contents: Container[int]) -> Iterator[tuple[int, Sample]]:
        return ((index, sample) for index, sample in self._all(contents) if index in self._numbers)

    def _all(self, contents: Container[int]) -> Iterator[tuple[int, Sample]]:
        for index, found in enumerate(self._source.read(contents)):
            yield index, self._sample(found)

    def _sample(self, found: Found) -> Sample:
        fields: dict[str, Any] = {}
        for column, value in found.fields.items():
            if column not in self._naming:  # another column has taken its name
                continue
            standard = self._naming[column]
            if standard in ("image", "audio") and isinstance(value, str) and found.folder:
                value = medium(self._source.root, found.folder, value, found.where) if value else None
            try:
                value = cell(standard, value)
            except ValueError as error:
                raise MmedgeError(f"{found.where}: {error}", "correct it") from error
            if standard in ("image", "audio") and value is not None and not isinstance(value, Medium):
                raise MmedgeError(f"{found.where}: {column} names no file", "give the name of a file, or another column: --column")
            if value is not None:
                fields[standard] = value
        if "split" in fields:
            fields["split"] = SPLITS.get(fields["split"], fields["split"])
        elif found.split:
            fields["split"] = found.split
        return Sample(legible(found.key), fields)


def _plain(value: Any) -> Any:
    """What JSON has no form for: a medium is its name and the sha256 of its content, null where there is no such file."""
    if not isinstance(value, Medium):
        return str(value)
    if isinstance(value.content, bytes):
        return [value.name, hashlib.sha256(value.content).hexdigest()]
    return [value.name, sha256_of(value.content) if value.size_bytes is not None else None]
