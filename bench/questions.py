"""Is there a ...? The eyes' answers about pictures that nobody tuned anything on, held against the truth.

``python bench/questions.py [--target T] [--tune]``. ``--tune`` looks at the tuning pictures only and prints what the thresholds should be; without it, the
thresholds that the bundle carries are judged on both splits. Writes ``bench/results/questions.md``. Exit status 3 when a bar is missed on the held-out ones.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import environment
import eyes_model
import numpy as np
from numpy.typing import NDArray
from stamps import Item, Question, Stamps

from mmedge.bundle import Bundle
from mmedge.target import Target

KINDS = ("present", "hypernym", "near", "absent")
BALANCED_BAR, YES_BAR, LEAST = 0.86, 0.95, 400
TUNED_PRECISION = 0.98
"""The threshold of "yes" is the lowest that is right so often on the tuning pictures: above the bar, because what was chosen looks better than it is."""
RESAMPLES = 2000
RIGHT = "when it says yes, it is right"
Chances = NDArray[np.float64]


def ask(eyes: Any, questions: Sequence[Question]) -> tuple[Chances, list[str]]:
    """(chance, answer) of every question. A picture is looked at once, a thing's words are encoded once."""
    views: dict[str, Any] = {}
    verdicts = []
    for question in questions:
        if question.item.key not in views:
            views[question.item.key] = eyes.look(question.item.path)
        verdicts.append(eyes.verdict(views[question.item.key], question.thing))
    return np.array([verdict.chance for verdict in verdicts]), [verdict.answer for verdict in verdicts]


def balanced(chances: Chances, true: NDArray[np.bool_], threshold: float) -> float:
    """Half the share of true things that are not below the threshold, and half the share of others that are."""
    return float((chances[true] >= threshold).mean() + (chances[~true] < threshold).mean()) / 2


def tune(chances: Chances, true: NDArray[np.bool_]) -> tuple[float, float, float]:
    """(yes, no, balanced accuracy): the middle of the thresholds within 0.002 of the best balanced accuracy; the lowest of sufficient precision."""
    thresholds = np.unique(chances)
    scores = np.array([balanced(chances, true, threshold) for threshold in thresholds])
    best = thresholds[scores >= scores.max() - 0.002]
    enough = [float(threshold) for threshold in thresholds if true[chances >= threshold].mean() >= TUNED_PRECISION]
    return min(enough), float(np.sqrt(best.min() * best.max())), float(scores.max())


def resampled(questions: Sequence[Question], figure: Callable[[NDArray[np.intp]], float]) -> tuple[float, float]:
    """The middle 95 % of ``figure`` over draws of pictures, each with all of its questions."""
    rows: dict[str, list[int]] = {}
    for row, question in enumerate(questions):
        rows.setdefault(question.item.key, []).append(row)
    pictures = [np.array(some) for some in rows.values()]
    draw = np.random.default_rng(0)
    figures = [figure(np.concatenate([pictures[at] for at in draw.integers(0, len(pictures), len(pictures))])) for _ in range(RESAMPLES)]
    low, high = np.nanpercentile(figures, [2.5, 97.5])
    return float(low), float(high)


def report(
    name: str, items: Sequence[Item], questions: Sequence[Question], chances: Chances, answers: Sequence[str], no: float
) -> tuple[list[str], float, float]:
    """(a table, balanced accuracy, precision of "yes")."""
    true, kinds, said = (np.array(column) for column in ([q.true for q in questions], [q.kind for q in questions], answers))
    lines = [
        f"### {name}: {len(items)} pictures, {len(questions)} questions",
        "",
        "| | questions | rightly placed | yes | I can't tell | I don't recognise one |",
        "|---|---|---|---|---|---|",
    ]
    for kind in KINDS:
        of = kinds == kind
        placed = (chances[of] >= no) == true[of]
        shares = " | ".join(f"{(said[of] == answer).mean():.3f}" for answer in ("yes", "unsure", "no"))
        lines.append(f"| {kind} | {of.sum()} | {placed.mean():.3f} | {shares} |")
    figures: dict[str, Callable[[NDArray[np.intp]], float]] = {
        "balanced accuracy": lambda rows: balanced(chances[rows], true[rows], no),
        RIGHT: lambda rows: _share(true[rows][said[rows] == "yes"]),
        "when it does not recognise one, there is none": lambda rows: _share(~true[rows][said[rows] == "no"]),
        "true things that are called unrecognised": lambda rows: _share(said[rows][true[rows]] == "no"),
        "I can't tell, of all answers": lambda rows: _share(said[rows] == "unsure"),
    }
    everything = np.arange(len(questions))
    values = {label: figure(everything) for label, figure in figures.items()}
    lines += [""]
    for label, figure in figures.items():
        low, high = resampled(questions, figure)
        if label == RIGHT and (said == "yes").any():
            low = min(low, wilson(int((true & (said == "yes")).sum()), int((said == "yes").sum())))
        lines.append(f"- {label}: {values[label]:.3f} (95 % of draws of pictures: {low:.3f} to {high:.3f})")
    return [*lines, ""], values["balanced accuracy"], values[RIGHT]


def wilson(right: int, of: int) -> float:
    """The lower 95 % bound of a share (Wilson 1927): where all answers are right, drawing them again shows no doubt, though there is."""
    z, share = 1.96, right / of
    return float((share + z * z / (2 * of) - z * np.sqrt(share * (1 - share) / of + z * z / (4 * of * of))) / (1 + z * z / of))


def _share(of: NDArray[np.bool_]) -> float:
    return float(of.mean()) if len(of) else float("nan")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", default="cpu")
    parser.add_argument("--tune", action="store_true", help="choose thresholds on the tuning pictures; the held-out ones are not opened")
    arguments = parser.parse_args()
    stamps, target = Stamps(), Target.load(arguments.target)
    tuning, held_out = stamps.split()
    with Bundle.open(eyes_model.bundle(target)).session("eyes", target) as eyes:
        if arguments.tune:
            questions = stamps.questions(tuning)
            yes, no, accuracy = tune(ask(eyes, questions)[0], np.array([question.true for question in questions]))
            print(f"{len(tuning)} pictures, {len(questions)} questions: yes {yes:.3g}, no {no:.3g}, balanced accuracy {accuracy:.3f} (chosen here: optimistic)")
            return 0
        lines = ["# Is there a ...?", "", environment.machine("mmedge", "onnxruntime", "numpy", "Pillow"), "", *EXPLAINED, ""]
        for name, items in (("Tuning", tuning), ("Held out", held_out)):
            questions = stamps.questions(items)
            table, accuracy, precision = report(name, items, questions, *ask(eyes, questions), eyes.config.no)
            lines += table
    kept = len(questions) >= LEAST and accuracy >= BALANCED_BAR and precision >= YES_BAR
    bars = f"at least {LEAST} questions, balanced accuracy at least {BALANCED_BAR}, yes right at least {YES_BAR:.0%} of the time"
    lines.append(f"Bars on the held-out pictures: {bars}: {'kept' if kept else 'MISSED'}.")
    print("\n".join(lines))
    out = Path(__file__).parent / "results" / "questions.md"
    out.parent.mkdir(exist_ok=True)
    out.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return 0 if kept else 3


EXPLAINED = [
    "Pictures: photographs among Tux Paint's stamps that show one nameable thing. Questions, all made by rule (`bench/stamps.py`): the thing itself, everyday",
    "hypernyms, near misses (a common parent or grandparent in WordNet), things of other pictures. Rightly placed: the chance lies on the right side of",
    "the bundle's threshold `no`; balanced accuracy is the mean of that over true things (present, hypernym) and over others (near, absent).",
]


if __name__ == "__main__":
    sys.exit(main())
