"""The tables of the comparison with other quantizers, and whether its bars are kept."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from pairs import ratio_in_pairs

from mmedge.optimize.made import own_bytes

RATIO_BAR = 1.05
SIZE_BARS = {"int8": 0.3, "int4": 0.2}
SPEED_BARS = {"intel-cpu": 3.0, "cpu": 1.7}
ENCODER = "ViT-B/32"
"""The graph whose time against fp32 has a bar."""
FILES = (".onnx", ".xml")
LOWER_IS_BETTER = ("wer",)
INTRODUCTION = """# Quantizing, against other tools

The same fp32 graphs, samples to calibrate on and threads for all; peers in environments of their own, with the settings that their documentation recommends for
a CPU. What each made stands in for the graph in the same session, opened by the same runtime with the same options, and is held to mmedge's gate. What holds is
timed; the fastest of mmedge's and of each tool then race: processes of their own, in turns of a quarter of a second in an order drawn anew, five times with new
processes; a ratio is the median over rounds. *loses*: of the metric, with this graph alone quantized. *seems*: its time as a share of onnxruntime's fp32 in a
few blocks, where it did not race.
transformers' quantizers make no graphs: their modules run in PyTorch, with the same inputs and outputs."""
HEAD = [
    "| | gate | metric [95 %] | loses [95 %] | size / fp32 | made in s | seems | ms | mmedge's time to its [95 %] |",
    "|---|---|---|---|---|---|---|---|---|",
]


def three(values: Sequence[float], scale: float = 1.0, digits: int = 4) -> str:
    value, low, high = (f"{scale * value:.{digits}f}" for value in values)
    return f"{value} [{low}, {high}]"


class Report:
    """Lines, and the bars."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._bars: list[tuple[str, bool | None]] = []

    @property
    def kept(self) -> bool:
        return all(kept is not False for _, kept in self._bars)

    def _bar(self, said: str, kept: bool | None) -> None:
        self._bars.append((said, kept))

    def graph(self, model: Any, label: str, entries: Sequence[Any], ours: Any, peers: Sequence[Any], base: Any, on_cpu: Any, times: Mapping[str, Any]) -> None:
        size = own_bytes(model.graph(base_key(model, label)))
        metric = model.metric or "cosine with fp32"
        self._parts += ["", f"**{label}** ({model.label}; {metric}; {size / 1e6:.1f} MB)", "", *HEAD]
        for entry in sorted(entries, key=lambda entry: (not entry.ours, entry.seems)):
            self._parts.append(self._row(entry, entry is ours, size, ours, times))
        self._races(label, ours, peers, times, model.metric in LOWER_IS_BETTER)
        if label == ENCODER:
            self._speeds(base, {"intel-cpu": ours, "cpu": on_cpu}, times)
        self._sizes(label, entries, size, base_key(model, label) in model.decoders)

    def _row(self, entry: Any, chosen: bool, size: int, ours: Any, times: Mapping[str, Any]) -> str:
        label = f"**{entry.label}**" if chosen else entry.label
        if not (entry.holds or entry.word == "lost"):
            return f"| {label} | - | {entry.word} | | | | | | |"
        share = f"{entry.made.size_bytes / size:.3f}" if entry.made.size_bytes else "-"
        note = f" ({entry.made.note})" if entry.made.note else ""
        seems = f"{entry.seems:.2f}" if entry.holds else "-"
        raced = ratio = ""
        if entry.label in times:
            raced = f"{statistics.median(times[entry.label]):.2f}"
            ratio = "" if chosen else three(ratio_in_pairs(times[ours.label], times[entry.label]), digits=3)
        made = f"{entry.made.seconds:.1f}" if entry.made.seconds else "-"
        return f"| {label}{note} | {entry.word} | {three(entry.metric)} | {three(entry.loss)} | {share} | {made} | {seems} | {raced} | {ratio} |"

    def _races(self, label: str, ours: Any, peers: Sequence[Any], times: Mapping[str, Any], lower: bool) -> None:
        if not times or not peers:
            self._bar(f"{label}: {'no peer holds the gate' if not peers else 'not raced'}", True if not peers else None)
            return
        rival = min(peers, key=lambda entry: statistics.median(times[entry.label]))
        _, _, high = ratio_in_pairs(times[ours.label], times[rival.label])
        self._bar(f"{label}: at most {RATIO_BAR} of the time of the fastest peer, {rival.label}: upper bound {high:.3f}", high <= RATIO_BAR)
        value, bound = ours.metric[0], rival.metric[2] if lower else rival.metric[1]
        good = value <= bound if lower else value >= bound
        self._bar(f"{label}: its metric {value:.4f} not {'above' if lower else 'below'} that peer's interval {three(rival.metric)}", good)

    def _speeds(self, base: Any, ours: Mapping[str, Any], times: Mapping[str, Any]) -> None:
        for target, entry in ours.items():
            if times:
                fold, low, high = ratio_in_pairs(times[base.label], times[entry.label])
                said = f"{ENCODER} on {target} ({entry.label}): {SPEED_BARS[target]} times as fast as onnxruntime's fp32: {fold:.2f} [{low:.2f}, {high:.2f}]"
                self._bar(said, low >= SPEED_BARS[target])

    def _sizes(self, label: str, entries: Sequence[Any], size: int, decoder: bool) -> None:
        for precision, bar in SIZE_BARS.items():
            files = [entry.made for entry in entries if entry.ours and entry.made.precision == precision and entry.made.file.endswith(FILES)]
            if files and (decoder or precision == "int8"):
                most = max(files, key=lambda one: one.size_bytes)
                said = f"{label}: {precision} files at most {bar} of fp32: {most.size_bytes / size:.3f} ({most.way})"
                self._bar(said, most.size_bytes <= bar * size)

    def whole(self, model: Any, found: Mapping[str, tuple[str, Sequence[float]]]) -> None:
        metric = model.metric or "cosine"
        said = [f"{tool} {three(values)} ({word})" for tool, (word, values) in found.items()]
        self._parts += ["", f"{model.label} with every graph as each tool has it fastest, {metric}: {'; '.join(said)}."]

    def text(self, machine: str) -> str:
        words = {True: "kept", False: "MISSED", None: "not measured"}
        bars = [f"- {said}: {words[kept]}" for said, kept in self._bars]
        return "\n".join([INTRODUCTION, "", f"{machine}.", *self._parts, "", "Bars:", "", *bars, ""])


def base_key(model: Any, label: str) -> str:
    return next(key for key, name in model.graphs.items() if name == label)
