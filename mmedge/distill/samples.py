"""What is trained on and asked about afterwards: which sample is in which split, with its texts; pictures stay on the disk until they are needed."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from mmedge.errors import MmedgeError
from mmedge.evaluate.data import Data, Sample
from mmedge.training import Splits, Training

Numbers = NDArray[np.int64]
VALIDATION = 0.1
"""The part of the training samples that is validated on where no split is named for it."""


@dataclass(frozen=True, eq=False)
class Samples:
    """A data set's samples without their media."""

    data: Data
    fingerprint: str
    keys: tuple[str, ...]
    splits: tuple[str, ...]
    texts: tuple[tuple[str, ...], ...]
    """Of each sample; empty where it has none."""
    labels: tuple[str, ...]
    has: tuple[frozenset[str], ...]
    """The columns that each sample has."""
    groups: tuple[str, ...]
    """What is alike: samples with the same text here, which is that of the column that the network names, or else the folder of the file."""

    def __len__(self) -> int:
        return len(self.keys)


@dataclass(frozen=True, eq=False)
class Parts:
    """Numbers of samples."""

    train: Numbers
    validation: Numbers
    test: Numbers
    fold: str
    """The split that is tested on."""


def read(data: Data, training: Training) -> Samples:
    """Go through the data once. Raises MmedgeError: no sample has all of the columns that are needed."""
    data = data.named(training.columns)
    if missing := [column for column in training.data if column not in data.columns]:
        raise MmedgeError(
            f"{data.name} has no column {missing[0]}: nothing pairs {' with '.join(training.data)}",
            f"its columns: {', '.join(sorted(data.columns))}; name the one that is meant: --column {missing[0]}=COLUMN",
        )
    paired = data.having(training.data)
    if not len(paired):
        raise MmedgeError(f"no sample of {data.name} has both {' and '.join(training.data)}", "give data whose samples are pairs")
    group = getattr(training.network, "group", "")
    if group and group not in data.columns:
        raise MmedgeError(f"{data.name} has no column {group} to make groups by", f"its columns: {', '.join(sorted(data.columns))}")
    keys, splits, texts, labels, has, groups = [], [], [], [], [], []
    for sample in paired:
        keys.append(sample.key)
        splits.append(str(sample.fields.get("split", "")))
        texts.append(tuple(sample.fields.get("text", ())))
        labels.append(str(sample.fields.get("label", "")))
        has.append(frozenset(sample.fields))
        groups.append(str(sample.fields.get(group, "")) if group else str(PurePosixPath(sample.key).parent))
    return Samples(paired, paired.fingerprint(), tuple(keys), tuple(splits), tuple(texts), tuple(labels), tuple(has), tuple(groups))


def parts(samples: Samples, training: Training, fold: str | None) -> Parts:
    """Raises MmedgeError: no such split or fold, one of them is empty, or a class has a single sample to train on."""
    wanted, there = training.splits, Counter(samples.splits)
    tested = _fold(wanted, fold)
    train = [*filter(None, wanted.train.split("+")), *(one for one in wanted.folds if one != tested)]
    for name in (*train, tested, *filter(None, [wanted.validation])):
        if not there[name]:
            raise no_split(name, samples, there)
    if clash := {tested, wanted.validation} & set(train):
        raise MmedgeError(f"the split {min(clash)} is trained on, and asked about too", "name other splits in [models.ROLE.train.splits]")
    numbers = {name: np.flatnonzero(np.array(samples.splits) == name) for name in there}
    trained = np.sort(np.concatenate([numbers[name] for name in dict.fromkeys(train)]))
    validation = numbers[wanted.validation] if wanted.validation else trained[:0]
    if training.early_stop and not wanted.validation:
        drawn = np.random.default_rng([training.seed, len(trained)]).permutation(len(trained))[: max(1, round(VALIDATION * len(trained)))]
        validation, trained = np.sort(trained[drawn]), np.delete(trained, drawn)
    if "label" in training.data:
        _hold_classes(samples, trained)
    return Parts(trained, validation, numbers[tested], tested)


def _fold(wanted: Splits, fold: str | None) -> str:
    if not wanted.folds:
        if fold is not None:
            raise MmedgeError(f"the recipe has no folds, and --fold {fold} was asked for", f"leave it out: the test split is {wanted.test}")
        return wanted.test
    if fold is not None and fold not in wanted.folds:
        raise MmedgeError(f"the recipe has no fold {fold}", f"its folds: {', '.join(wanted.folds)}")
    return fold or wanted.folds[0]


def no_split(name: str, samples: Samples, there: Mapping[str, int]) -> MmedgeError:
    """For those who name a split that the data lack, or that is empty."""
    known = [f"{one} ({count})" for one, count in sorted(there.items()) if one]
    if not known:
        return MmedgeError(f"{samples.data.name} has no splits, and {name!r} was asked for", "add a column split")
    near = difflib.get_close_matches(name, [one for one in there if one], n=1, cutoff=0.5)
    meant = f"did you mean {near[0]}? " if near else ""
    return MmedgeError(f"{samples.data.name} has no split {name!r} with samples", f"{meant}its splits: {', '.join(known)}")


def _hold_classes(samples: Samples, trained: Numbers) -> None:
    counts = Counter(samples.labels[number] for number in trained)
    if single := sorted(label for label, count in counts.items() if count == 1):
        raise MmedgeError(
            f"the class {single[0]!r} has one sample to train on{f', and so have {len(single) - 1} more' if len(single) > 1 else ''}",
            "give it more, or leave it out of the data",
        )


class Reader:
    """Samples by number, read in their order as long as they are asked for in it: data in tar files have no other."""

    def __init__(self, data: Data) -> None:
        self._data, self._next = data, 0
        self._going: Iterator[Sample] = iter(data)

    def __call__(self, numbers: Sequence[int]) -> Iterator[Sample]:
        """Of these ascending numbers."""
        for number in numbers:
            if number < self._next:
                self._going, self._next = iter(self._data), 0
            while self._next <= number:
                sample = next(self._going)
                self._next += 1
            yield sample
