"""Seeded changes of healthy bundles: what each does to the answers on data that no check has seen, and whether ``check`` notices."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pictures
from faults import planting
from faults.harmless import HARMLESS
from faults.kinds import HARMFUL
from small_sessions import Changed

from mmedge.bundle import Bundle
from mmedge.deploy.check import check
from mmedge.errors import MmedgeError
from mmedge.target import Target

SEED, COUNT = 6, 50
KINDS = {**HARMFUL, **HARMLESS}
ARCHITECTURES = "CLIPModel", "BlipForConditionalGeneration", "WhisperForConditionalGeneration"
TEXTS = ["seven dogs bark", "A blue house!", "the sound of rain, far away", "how many people are there?", "zebra crossing 12", "quick brown fox & jumps 3x"]
TOKENS = 12
ROUNDING = 1e-4
"""Of the larger of 1 and the largest number of an output: what runtimes differ by among themselves. A change below it changes nothing."""
STRENGTHS = (("faint", 1e-3), ("slight", 1e-2), ("plain", float("inf")))
"""A change above rounding, by the largest difference in an output up to these bounds."""
NONE, ANSWERS, BROKEN = "none", "other answers", "cannot be used"
SAME = "none is possible"
ORDER = (BROKEN, ANSWERS, *(name for name, _ in reversed(STRENGTHS)), NONE, SAME)


@dataclass(frozen=True)
class Tried:
    """One change."""

    kind: str
    what: str
    strength: str
    """One of ``ORDER``: what it does to answers on data that are not golden."""
    change: float
    """The largest difference in an output, as a share of the larger of 1 and its largest number."""
    noticed: str
    """The first words of what ``check`` said; empty where it passed."""


@dataclass(frozen=True)
class Answers:
    """Of one bundle to the held-out inputs."""

    arrays: list[Any]
    """Every output of every run of a graph, in order."""
    said: list[Any]
    """What a user is told: tokens, texts, labels in order."""


class _Heard(Changed):
    """Keeps what a graph gives."""

    def __init__(self, runner: Any, kept: list[Any]) -> None:
        super().__init__(runner)
        self._kept = kept

    def run(self, feeds: Any) -> dict[str, Any]:
        outputs = super().run(feeds)
        self._kept += [outputs[name] for name in sorted(outputs)]
        return outputs


def answers(bundle: Path) -> Answers:
    """To pictures, sounds and texts that are in no golden data. Raises MmedgeError: it cannot be used."""
    kept: list[Any] = []
    opened, role = Bundle.open(bundle), planting.role_of(bundle)
    with opened.session(role, "cpu", through=lambda name, runner: _Heard(runner, kept)) as session:
        said = list(_asked(session, opened.manifest.models[role].family, kept))
    return Answers(kept, said)


def _asked(session: Any, family: str, kept: list[Any]) -> Iterator[Any]:
    seen = pictures.five()[2:]
    if family == "dual_encoder":
        for picture in seen:
            kept.append(session.embed_image(picture))
            scores = session.classify(picture, TEXTS)
            kept.append(np.array([score for _, score in sorted(scores)]))
            yield [label for label, _ in scores]
            yield [label for label, _ in session.recognise(picture, 1)]
    elif family == "captioner":
        for picture in seen:
            yield session.caption_tokens(picture, max_tokens=TOKENS)
        yield session.caption(seen[1], "there is")
    else:
        for index in range(4):
            random = np.random.default_rng(index)
            at = np.arange(20_000) / 16_000
            sound = (0.3 * np.sin(2 * np.pi * 200 * (index + 1) * at * (1 + at)) + 0.02 * random.standard_normal(len(at))).astype(np.float32)
            kept.append(session.features((sound, 16_000)))
            tokens = session.tokens((sound, 16_000), TOKENS)
            yield tokens
            yield session.words(tokens)  # such a small model believes nothing that it hears


def differs(found: Answers, healthy: Answers) -> float:
    """The largest difference in any array; infinite where shapes differ or a number is none."""
    if len(found.arrays) != len(healthy.arrays):
        return float("inf")
    return max(_difference(np.asarray(one, np.float64), np.asarray(other, np.float64)) for one, other in zip(found.arrays, healthy.arrays))


def _difference(found: Any, healthy: Any) -> float:
    if found.shape != healthy.shape or not np.isfinite(found).all():
        return float("inf")
    return float(np.abs(found - healthy).max(initial=0.0) / max(1.0, np.abs(healthy).max(initial=0.0)))


@contextmanager
def planted(seed: int, number: int, healthy: Callable[[str], Path], folder: Path) -> Iterator[tuple[Path, str, str, str]]:
    """(a copy of a healthy bundle with the change of that number, its architecture, the kind, what was done); the copy is removed."""
    random = np.random.default_rng([seed, number])
    kind = list(KINDS)[number % len(KINDS)]
    copy = folder / f"changed-{number}.bundle"
    for architecture in random.permutation(ARCHITECTURES):
        shutil.copytree(healthy(str(architecture)), copy)
        try:
            if what := KINDS[kind](copy, random):
                yield copy, str(architecture), kind, what
                return
        finally:
            shutil.rmtree(copy)
    raise AssertionError(f"no bundle has what it takes for {kind}")


def strength(copy: Path, before: Answers) -> tuple[str, float]:
    """What a change does: its class, and the largest difference."""
    try:
        found = answers(copy)
    except MmedgeError:
        return BROKEN, float("inf")
    change = differs(found, before)
    if found.said != before.said:
        return ANSWERS, change
    return next((name for name, most in ((NONE, ROUNDING), *STRENGTHS) if change <= most)), change


def noticed(copy: Path, target: Target) -> str:
    """What ``check`` says of a bundle; empty where it passes."""
    try:
        check(copy, target, lambda line: None)
    except MmedgeError as error:
        return f"{error.status}: {error.what}"
    return ""


def tried(healthy: Callable[[str], Path], folder: Path, seed: int = SEED) -> list[Tried]:
    """Every change of a seed. ``healthy``: architecture -> a bundle compiled for ``cpu``, which stays as it is."""
    before = {architecture: answers(healthy(architecture)) for architecture in ARCHITECTURES}
    target, found = Target.load("cpu"), []
    for number in range(COUNT):
        with planted(seed, number, healthy, folder) as (copy, architecture, kind, what):
            word, change = strength(copy, before[architecture])
            assert kind not in HARMLESS or word == NONE, f"{kind} is harmless, and changed {architecture} by {change}"
            word = SAME if kind in HARMLESS else word
            found.append(Tried(kind, f"{architecture}: {what}", word, change, noticed(copy, target)))
    return found


def rates(found: Sequence[Tried]) -> Mapping[str, tuple[int, int]]:
    """Strength -> (noticed, all)."""
    return {word: (sum(bool(one.noticed) for one in found if one.strength == word), sum(one.strength == word for one in found)) for word in ORDER}


def table(found: Sequence[Tried]) -> list[str]:
    """Lines of Markdown."""
    lines = ["| what a change does to answers on other data | changes | `mmedge check` refused |", "|---|---|---|"]
    for word, (hits, all_) in rates(found).items():
        lines.append(f"| {word} | {all_} | {f'{hits} ({hits / all_:.0%})' if all_ else '-'} |")
    return lines
