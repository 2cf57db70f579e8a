"""What ``mmedge quantize`` found: the document that ``--json`` prints, and the same for people."""

from __future__ import annotations

import textwrap
from typing import Literal

from pydantic import Field

from mmedge.documents import Document
from mmedge.manifest import Quantized
from mmedge.optimize.choice import within_budget
from mmedge.optimize.together import size_mb
from mmedge.profile.table import width
from mmedge.rated import POINT, Choice, Interval, Loss, Rated

DOUBT = "too few to tell"
"""In a note of what is undecided (``mmedge.optimize.gate``)."""
WORDS = {"kept": "kept", "undecided": "open", "lost": "lost"}


class Quantization(Document):
    """Schema ``mmedge.quantization/1``."""

    schema_: Literal["mmedge.quantization/1"] = Field(default="mmedge.quantization/1", alias="schema")
    bundle: str
    target: str
    models: dict[str, Quantized]
    """By role, those that were quantized; without the golden data that the bundle holds of them."""
    untouched: dict[str, str] = {}
    """Role -> why it stays as it is."""


def table(made: Quantization) -> str:
    """Every graph's candidates, then what the model as a whole keeps."""
    parts = [_model(role, made.target, found) for role, found in made.models.items()]
    left = [f"{role} stays as it is: {why}" for role, why in made.untouched.items()]
    return "\n\n".join([*parts, *(["\n".join(left)] if left else [])])


def _model(role: str, target: str, found: Quantized) -> str:
    lines = [
        f"{role} on {target}: {found.task} on {found.data}, {found.fp32.n} units; {found.metric} of fp32 is {_interval(found.fp32)}",
        f"a candidate may lose {found.loss.allowed / POINT:g} points; goal: {found.goal}{within_budget(found.budget)}",
        *_ranges(found),
    ]
    for key, choice in found.graphs.items():
        lines += ["", *_graph(key, choice)]
    lines += ["", *_whole(role, found)]
    lines += [line for warning in found.warnings for line in _wrapped(f"warning: {warning}", "")]
    lines += _legend(found)
    timed = any(one.latency_ms is not None for choice in found.graphs.values() for one in choice.rated)
    return "\n".join([*lines, *_wrapped(f"{'measured' if timed else 'judged'} on {found.machine}", "")])


def _ranges(found: Quantized) -> list[str]:
    if not found.samples:
        return []
    judged = "that are judged, too: what others lose may be more; --split or --limit leave some to measure on"
    return _wrapped(f"ranges are measured on {found.samples} samples {'that are not judged' if found.held_out else judged}", "")


def _graph(key: str, choice: Choice) -> list[str]:
    shown = [one for one in choice.rated if one.passed]
    wide = max(len(key) - 1, *(len(one.name) for one in shown))
    lines = [f"{key:{wide + 3}} {'metric':15} {'points lost':22} {'times fp32':14} {'ms':>7} {'MB':>6} {'mem':>5}"]
    for one in shown:
        lines += [_row(one, choice.chosen, wide), *_wrapped(_said(one, doubted=one.name == choice.chosen), " " * 6)]
    lines += [line for one in choice.rated if not one.passed for line in _wrapped(f"{one.name} is out: {one.note}", "   ", "      ")]
    return [*lines, *_wrapped(f"{choice.chosen}: {choice.why}", " > ", "   ")]


def _row(one: Rated, chosen: str, wide: int) -> str:
    marks = f"{'>' if one.name == chosen else ' '}{'*' if one.pareto else ' '}"
    metric = f"{one.metric.value:5.3f} {_share(one.metric.low)}-{_share(one.metric.high)}" if one.metric else "-"
    ratio = f"{one.ratio.value:4.2f} {one.ratio.low:4.2f}-{one.ratio.high:4.2f}" if one.ratio else "-"
    ms = f"{one.latency_ms:.4g}" if one.latency_ms is not None else "-"
    memory = f"{one.memory_mb:.0f}" if one.memory_mb is not None else "-"
    return f"{marks} {one.name:{wide}} {metric:15} {_lost(one.loss):22} {ratio:14} {ms:>7} {one.size_mb:6.1f} {memory:>5}"


def _share(value: float) -> str:
    return f"{value:.3f}".removeprefix("0")


def _lost(loss: Loss | None) -> str:
    if loss is None:
        return "-"
    found = loss.found
    return f"{found.value / POINT:+6.2f} {f'{found.low / POINT:+.1f}..{found.high / POINT:+.1f}':>10} {WORDS[loss.word]}"


def _said(one: Rated, doubted: bool) -> str:
    """What else there is to know of a candidate; ``doubted``: also how many units would tell."""
    note = "; ".join(part for part in one.note.split("; ") if doubted or DOUBT not in part)
    some = ", ".join(one.kept_float[:3]) + (f" and {len(one.kept_float) - 3} more" if len(one.kept_float) > 3 else "")
    found = f" so that it holds, found in {one.evaluations} evaluation{'s' if one.evaluations > 1 else ''}" if one.evaluations else ""
    kept = f"in float{found}: {some}" if one.evaluations or some else ""
    return "; ".join(filter(None, (note, kept, "left out of the bundle" if one.left_out else "")))


def _whole(role: str, found: Quantized) -> list[str]:
    loss, allowed = found.loss.found, found.loss.allowed
    lost = f"{loss.value / POINT:+.2f} points lost ({loss.low / POINT:+.2f} to {loss.high / POINT:+.2f}), {allowed / POINT:g} allowed"
    most = f" of at most {found.budget.max_mb:g}" if found.budget.max_mb is not None else ""
    size = f"{size_mb(found.graphs):.1f} MB{most}"
    return _wrapped(f"{role} as a whole: {found.metric} {_interval(found.whole)}, {lost}: {WORDS[found.loss.word]}; {size}", "")


def _legend(found: Quantized) -> list[str]:
    words = {one.loss.word for choice in found.graphs.values() for one in choice.rated if one.passed and one.loss} | {found.loss.word}
    unsure = ["open: the loss is within what is allowed, its interval is not: more data would tell"] if "undecided" in words else []
    return ["> chosen; * no other that holds is better in one of metric, ms, MB and mem, and worse in none", *unsure]


def _interval(one: Interval) -> str:
    return f"{one.value:.3f} ({one.low:.3f} to {one.high:.3f})"


def _wrapped(said: str, first: str, rest: str | None = None) -> list[str]:
    return textwrap.wrap(said, width(), initial_indent=first, subsequent_indent=first if rest is None else rest, break_long_words=False, break_on_hyphens=False)
