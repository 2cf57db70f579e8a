"""mmedge's quantizing against NNCF, onnxruntime.quantization, Olive, optimum-intel and transformers' quantizers, on the same graphs, data and threads.

``python bench/quantize_peers.py [--prepare] [--model eyes|ears|clip|smolvlm] [--bundle OF_THE_ASSISTANT]``. Every tool makes what it can of each graph with
the settings that its documentation recommends, in an environment of its own; each result stands in for the graph in the same session and is held to the same
gate; what holds is timed, and the fastest of each tool race against mmedge's. All but the race is kept in the cache: ``--prepare`` does that much, on a
machine that need not be quiet. Writes ``bench/results/quantize_peers.md``. Exit status 3 when a bar is missed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import environment
import quantize_ours
import quantize_race
import quantize_report
import quantize_tools
import quantize_torch
from pairs import ratio_in_pairs
from quantize_models import Model, folder, models, open_file, tell
from quantize_race import Contender
from quantize_tools import Made

from mmedge.bundle import Bundle
from mmedge.errors import MmedgeError
from mmedge.optimize import proto
from mmedge.optimize.integer import is_transformer
from mmedge.optimize.made import own_bytes

PEERS_RACED, AT_ONCE = 3, 5
SCREEN = {"processes": 1, "blocks": 5, "seconds": 0.15}
PLACED = "placed"
"""Opened as its bundle says."""
FP32, BF16 = "mmedge ort fp32", "mmedge openvino bf16"
PLAIN = {FP32: ("ort", "fp32"), "mmedge openvino fp32": ("openvino", "fp32"), BF16: ("openvino", "bf16")}
"""mmedge's candidates that nothing has to be made for."""


@dataclass(frozen=True)
class Entry:
    """One way to run a graph: who made it, what it loses, how fast it seems."""

    made: Made
    opened: str
    """The precision that it is opened in, which for OpenVINO is that of what is not in integers."""
    word: str
    """``kept``, ``undecided``, ``lost``, or what went wrong."""
    metric: tuple[float, float, float] = (0.0, 0.0, 0.0)
    loss: tuple[float, float, float] = (0.0, 0.0, 0.0)
    seems: float = float("inf")
    """Its time as a share of that of fp32 by onnxruntime, from a few blocks."""

    @property
    def label(self) -> str:
        return self.made.way + (", the rest in bf16" if self.made.file and self.opened == "bf16" else "")

    @property
    def backend(self) -> str:
        return PLAIN[self.made.way][0] if self.made.way in PLAIN else self.made.backend

    @property
    def ours(self) -> bool:
        return self.made.tool == quantize_ours.NAME

    @property
    def holds(self) -> bool:
        return self.word in ("kept", "undecided")


def remembered(key: Sequence[str], compute: Callable[[], Any]) -> Any:
    """What was found before under the same key, or now."""
    path = folder() / "found" / f"{hashlib.sha256(json.dumps(list(key)).encode()).hexdigest()[:20]}.json"
    if not path.is_file():
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(compute()), encoding="utf-8")
    return json.loads(path.read_text(encoding="utf-8"))


def kind_of(model: Model, key: str) -> str:
    if key in model.decoders:
        return "decoder"
    return "transformer" if is_transformer(proto.load(model.graph(key), filled=False)) else "convolutional"


def made(model: Model, key: str) -> Iterator[Made]:
    """What mmedge and every peer make of a graph."""
    root, feeds, whole = folder() / "made", model.feeds(key), model.whole(key)
    root.mkdir(exist_ok=True)
    size = own_bytes(model.graph(key))
    yield from (Made(way, size_bytes=size) for way in PLAIN)
    for way in quantize_ours.ways(model.target):
        command = [sys.executable, quantize_ours.__file__, way, str(model.bundle.absolute()), model.role, key]
        yield quantize_tools.make(way, command, whole, feeds, root, quantize_ours.code())
    for way in quantize_tools.WAYS[kind_of(model, key)]:
        yield quantize_tools.of_peer(way, whole, feeds, root)
    yield from quantize_torch.ways(model, key)


def by_verb(model: Model, anew: bool) -> dict[str, Entry]:
    """What ``mmedge quantize`` chooses for each graph; nothing for a model that nobody could judge: random weights that say random words."""
    if not model.by_verb:
        return {}
    path, rated, _ = quantize_ours.chosen(model, anew)
    found = {}
    for key, one in rated.items():
        kept = f"{len(one.kept_float)} nodes stay in fp32" if one.kept_float else ""
        size = round(one.size_mb * 1e6)
        verb = Made(f"{quantize_ours.NAME} quantize: {one.name}", str(path), size, note=kept)
        found[key] = judged(model, key, verb, PLACED)
    return found


def openings(one: Made) -> tuple[str, ...]:
    """The precisions that a file is tried in: what a peer's file has not in integers may be in bf16, as OpenVINO would take it by itself."""
    if not one.file:
        return (PLAIN.get(one.way, ("", one.precision))[1],)
    return (one.precision, "bf16") if one.backend == "openvino" and one.tool != quantize_ours.NAME else (one.precision,)


def opens(model: Model, key: str, one: Made, opened: str) -> Any:
    """A context in which it is a runner."""
    if one.tool == quantize_torch.NAME:
        return quantize_torch.opened(model, key, one.way)
    if opened == PLACED:
        return Bundle.open(one.file).runner(model.role, key, model.target)
    backend = PLAIN[one.way][0] if one.way in PLAIN else one.backend
    return open_file(model.graph(key), backend, Path(one.file) if one.file else None, opened, model.target)


def judged(model: Model, key: str, one: Made, opened: str) -> Entry:
    if not one.file and one.way not in PLAIN:
        return Entry(one, opened, one.note)

    def found() -> Any:
        tell(f"{key}: {one.way} ({opened}) is judged")
        try:
            verdict, metric = model.judged({key: partial(opens, model, key, one, opened)})
        except (MmedgeError, RuntimeError) as error:
            return [str(getattr(error, "what", error)).splitlines()[-1][: quantize_tools.SAID], [0, 0, 0], [0, 0, 0]]
        assert metric.estimate is not None
        values = [[e.value, e.low, e.high] for e in (metric.estimate, verdict.loss)]
        return [verdict.word, *values]

    asked = [model.graph(key).sha256, model.metric, model.data.fingerprint(), one.way, one.file, opened, one.note, str(one.size_bytes)]
    word, metric, loss = remembered(asked, found)
    return Entry(one, opened, word.replace("|", "/"), tuple(metric), tuple(loss))


def contender(model: Model, key: str, entry: Entry) -> Contender:
    feeds = str(model.feeds(key, held_out=True)[-1])
    command = quantize_torch.command(model, key, entry.made.way, feeds) if entry.made.tool == quantize_torch.NAME else ()
    bundle = entry.made.file if entry.opened == PLACED else str(model.bundle.absolute())
    return Contender(entry.label, bundle, model.role, key, model.target.name, entry.backend, entry.opened, feeds, entry.made.file, command)


def screened(model: Model, key: str, entries: Sequence[Entry]) -> list[Entry]:
    """Those that hold, with how fast they seem beside fp32 in the same rounds."""
    base = next(entry for entry in entries if entry.label == FP32)
    others = [entry for entry in entries if entry.holds and entry is not base]
    slow = [entry for entry in others if entry.made.tool == quantize_torch.NAME]  # a minute to open, and far behind
    quick = [entry for entry in others if entry not in slow]
    done = [replace(base, seems=1.0)]
    for group in [*(quick[first : first + AT_ONCE] for first in range(0, len(quick), AT_ONCE)), *([entry] for entry in slow)]:

        def found(group: Sequence[Entry] = group) -> Any:
            tell(f"{key}: {', '.join(entry.label for entry in group)} are timed")
            return quantize_race.race([contender(model, key, entry) for entry in (base, *group)], **SCREEN)  # type: ignore[arg-type]

        asked = [json.dumps(asdict(contender(model, key, entry))) for entry in (base, *group)]
        times = remembered(["screen", model.graph(key).sha256, *asked], found)
        done += [replace(entry, seems=ratio_in_pairs(times[entry.label], times[FP32])[0]) for entry in group]
    return done


def compared(model: Model, key: str, verb: Sequence[Entry]) -> list[Entry]:
    """Every way to run a graph; those that hold its gate know how fast they seem."""
    entries = list(verb)
    for one in made(model, key):
        found = [judged(model, key, one, opened) for opened in openings(one)]
        if one.file.endswith(quantize_report.FILES) and not any(entry.holds for entry in found):
            quantize_tools.discard(one)  # nobody opens it again, and disks are small
        entries += found
    timed = {entry.label: entry for entry in screened(model, key, entries)}
    return [timed.get(entry.label, entry) for entry in entries]


def fastest(entries: Sequence[Entry]) -> tuple[Entry, list[Entry]]:
    """(mmedge's choice, or the fastest of its makers' where it makes none; the fastest of the peers that hold the gate, of each tool one)."""
    held = sorted((entry for entry in entries if entry.holds), key=lambda entry: (entry.opened != PLACED, entry.seems))
    tools: dict[str, Entry] = {}
    for entry in held:
        tools.setdefault(entry.made.tool, entry)
    ours = tools.pop(quantize_ours.NAME)
    return ours, list(tools.values())[:PEERS_RACED]


def whole(model: Model, chosen: dict[str, dict[str, Entry]]) -> dict[str, tuple[str, tuple[float, ...]]]:
    """Tool -> (word, metric) of the model with every graph as that tool has it; a graph that it has nothing for is in fp32."""
    found = {}
    for tool, entries in chosen.items():

        def verdict(entries: dict[str, Entry] = entries) -> Any:
            opened = {key: partial(opens, model, key, entry.made, entry.opened) for key, entry in entries.items()}
            judged, metric = model.judged(opened)
            assert metric.estimate is not None
            return [judged.word, [metric.estimate.value, metric.estimate.low, metric.estimate.high]]

        asked = ["whole", model.metric, model.data.fingerprint(), *(f"{key} {entry.label} {entry.made.file}" for key, entry in entries.items())]
        word, metric = remembered(asked, verdict)
        found[tool] = word, tuple(metric)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prepare", action="store_true", help="all but the race")
    parser.add_argument("--model", action="append", choices=["eyes", "ears", "clip", "smolvlm"], help="only this one")
    parser.add_argument("--bundle", type=Path, help="of the shipped assistant, where it is there already")
    parser.add_argument("--makers", action="store_true", help="mmedge's fastest maker in place of what mmedge quantize chooses")
    parser.add_argument("--processes", type=int, default=5)
    parser.add_argument("--blocks", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=0.25, help="of a block")
    asked = parser.parse_args()
    report = quantize_report.Report()
    for model in models(asked.bundle, asked.model or []):
        chosen: dict[str, dict[str, Entry]] = {}
        verb = {} if asked.makers else by_verb(model, anew=not asked.prepare)
        for key, label in model.graphs.items():
            entries = compared(model, key, [verb[key]] if key in verb else [])
            ours, peers = fastest(entries)
            for entry in (ours, *peers):
                chosen.setdefault(entry.made.tool, {})[key] = entry
            base = next(entry for entry in entries if entry.label == FP32)
            on_cpu = min(
                (entry for entry in entries if entry.ours and entry.holds and entry.opened != PLACED and entry.backend == "ort"), key=lambda entry: entry.seems
            )
            racers = list({entry.label: entry for entry in (ours, *peers, base, on_cpu)}.values())
            times = (
                {} if asked.prepare else quantize_race.race([contender(model, key, entry) for entry in racers], asked.processes, asked.blocks, asked.seconds)
            )
            report.graph(model, label, entries, ours, peers, base, on_cpu, times)
        report.whole(model, whole(model, chosen))
    text = report.text(environment.machine("onnxruntime", "openvino", "nncf"))
    print(text)
    if not (asked.prepare or asked.model or asked.makers):
        (Path(__file__).parent / "results" / "quantize_peers.md").write_text(text, encoding="utf-8")
    return 0 if report.kept else 3


if __name__ == "__main__":
    sys.exit(main())
