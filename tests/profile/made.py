"""A report as a profile of the shipped assistant would write it, with made figures: for tests of what is done with reports."""

from __future__ import annotations

import hashlib

import numpy as np

from mmedge.profile.machine import Conditions, Machine, Reading
from mmedge.profile.report import (
    Breakdown,
    Fresh,
    Identity,
    Kind,
    Latency,
    Operator,
    Operators,
    Part,
    Report,
    Roof,
    Row,
    Rules,
    Samples,
    Startup,
    Trial,
    Usage,
    Verdict,
    WarmUp,
)
from mmedge.turn import Marks, Seen, Span, Turn

GRAPHS = {  # name: ms, GFLOP, MB, compute-bound
    "vad/vad": (0.14, 0.0006, 2.3, False),
    "ears/encoder": (58.0, 5.9, 33.0, True),
    "ears/decoder": (3.9, 0.06, 118.0, False),
    "eyes/image_encoder": (8.4, 0.78, 18.6, True),
    "eyes/text_encoder": (5.1, 0.27, 90.0, False),
    "voice/voice": (118.0, 9.4, 63.0, True),
}
VERBS = {  # name: given, ms, parts
    "ears.transcribe": ("question.wav", 96.0, {"processors": 0.06, "graph encoder": 0.61, "graph decoder": 0.29, "decode loop": 0.03, "rest": 0.01}),
    "eyes.classify": ("cat.jpg, a cat, a coffee cup", 12.6, {"processors": 0.22, "graph image_encoder": 0.67, "graph text_encoder": 0.09, "rest": 0.02}),
    "eyes.embed_image": ("cat.jpg", 10.9, {"processors": 0.2, "graph image_encoder": 0.78, "rest": 0.02}),
    "voice.speak": ("It looks like an espresso.", 121.0, {"processors": 0.005, "graph voice": 0.97, "rest": 0.025}),
}
MARKS = {"end of turn": 525.1, "transcript": 331.0, "recognised": 341.7, "answer": 533.2, "first audio": 629.4, "done": 757.8}
STABLE = Verdict(word="stable", evidence=("the median of the last fifth is 0.4 % above that of the first", "steal time 0.0 %, other processes used 0.02 cores"))
DRIFTING = Verdict(word="drifting", evidence=("the median rose by 14 % from the first fifth of the calls to the last (Mann-Kendall, p < 0.001)",))

FEW = {"vad/vad", "eyes/text_encoder", "eyes.classify", "end of speech -> done", "end of speech", "mind"}
QUIET = Conditions(
    before=Reading(load=0.1, steal=0.0, others=0.03, temperature_c=45, clock_mhz=2000),
    during=Reading(load=0.6, steal=0.001, others=0.04, temperature_c=55, clock_mhz=1990),
    after=Reading(load=0.9, steal=0.001, others=0.03, temperature_c=56, clock_mhz=1990),
)
"""Readings of a machine that nothing disturbed."""


def during(conditions=QUIET, **readings):
    return conditions.model_copy(update={"during": conditions.during.model_copy(update=readings)})


def cut_down(report: Report) -> Report:
    """A few rows of every kind."""
    return report.model_copy(update={"rows": tuple(row for row in report.rows if row.name in FEW), "trials": report.trials[:3]})


def made_report(target: str = "cpu", *, seed: int = 0, calls: int = 700, speed: float = 1.0, turns: int = 20) -> Report:
    """Complete: every part of the document is there.

    Args:
        calls: of the graphs; verbs have a quarter of them.
        speed: all times are divided by this.
    """
    random = np.random.default_rng(seed)
    where = "openvino fp32" if target == "intel-cpu" else "ort fp32"
    rows = [_graph(name, where, figures, calls, speed, random) for name, figures in GRAPHS.items()]
    rows += [_verb(name, *figures, calls // 4, speed, random) for name, figures in VERBS.items()]
    for name, ms in MARKS.items():
        rows.append(_row("turn", f"end of speech -> {name}", "whole turn", ms, turns, random, starts=False))
    for name, ms in {"end of speech": 524.7, "ears": 94.0, "eyes": 10.5, "mind": 7.7, "voice": 226.8, "overhead": 1.0}.items():
        kind = {"end of speech": "wait", "overhead": "neither model nor wait"}.get(name, "model")
        rows.append(_row("stage", name, kind, ms, turns, random, starts=False))
    return Report(
        bundle="assistant-mini",
        target=target,
        made="2026-11-22T09:30:00Z",
        machine=made_machine(),
        rules=Rules(),
        conditions=Conditions(
            before=Reading(load=0.31, steal=0.0, others=0.02, temperature_c=48.0, clock_mhz=2900.0, free_mb=21400.0),
            during=Reading(load=1.9, steal=0.004, others=0.05, temperature_c=61.0, clock_mhz=2850.0, free_mb=20100.0),
            after=Reading(load=1.7, steal=0.0, others=0.03, temperature_c=55.0, clock_mhz=2900.0, free_mb=21350.0),
            governor="performance",
            energy="no meter: /sys/class/powercap is not readable",
        ),
        verdict=Verdict(word="drifting", evidence=("eyes/text_encoder: the median rose by 14 % from the first fifth of the calls to the last",)),
        rows=tuple(rows),
        startup=_startup(random, speed),
        turn=made_turn(),
        trials=_trials(),
        not_run=("voice.speak: piper-tts is not installed",),
    )


def made_machine() -> Machine:
    packages = {"onnxruntime": "1.31.1", "openvino": "2026.4.1", "numpy": "2.4.6"}
    return Machine(
        cpu="Intel(R) Xeon(R) Processor", cores=2, memory_mb=24105, system="Linux 6.18 x86_64", python="3.11.7", board=None, load=0.3, packages=packages
    )


def made_turn() -> Turn:
    spans = [
        Span(name="end of speech", start_ms=0.0, duration_ms=525.0, kind="wait"),
        Span(name="ears", start_ms=233.0, duration_ms=94.0),
        Span(name="eyes", start_ms=329.0, duration_ms=10.5),
        Span(name="vad", start_ms=340.0, duration_ms=1.1),
        Span(name="mind", start_ms=525.4, duration_ms=7.7),
        Span(name="voice", start_ms=533.5, duration_ms=95.6),
        Span(name="voice", start_ms=629.5, duration_ms=128.0),
    ]
    marks = Marks(speech_start=-1210.0, turn_end=525.1, heard=331.0, seen=341.7, first_token=533.2, first_audio=629.4, done=757.8)
    return Turn(heard="What do you see?", seen=[Seen(label="Egyptian Mau", score=0.77)], said="It looks like an Egyptian Mau.", marks_ms=marks, spans=spans)


def made_latency(values_ms: np.ndarray) -> Latency:
    """Percentiles with their order-statistic intervals; withheld where the count cannot carry them."""
    values, n = np.sort(values_ms), len(values_ms)

    def interval(share: float) -> tuple[float, float] | None:
        half = 1.96 * np.sqrt(n * share * (1 - share))
        low, high = round(n * share - half) - 1, round(n * share + half)
        return (round(float(values[low]), 4), round(float(values[high]), 4)) if low >= 0 and high < n else None

    def percentile(share: float, least: int) -> float | None:
        return round(float(np.quantile(values, share)), 4) if n >= least else None

    p90_ms, p99_ms = percentile(0.9, 64), percentile(0.99, 662)
    return Latency(
        n=n,
        p50_ms=round(float(np.median(values)), 4),
        p50_interval_ms=interval(0.5),
        p90_ms=p90_ms,
        p90_interval_ms=interval(0.9) if p90_ms else None,
        p99_ms=p99_ms,
        p99_interval_ms=interval(0.99) if p99_ms else None,
        min_ms=round(float(values[0]), 4),
        max_ms=round(float(values[-1]), 4),
    )


def _row(level, name, where, ms, calls, random, *, starts=True, **more) -> Row:
    drift = np.linspace(1.0, 1.14, calls) if name == "eyes/text_encoder" else 1.0
    values = ms * drift * (0.985 + random.gamma(1.5, 0.012, calls)) * np.where(random.random(calls) < 0.006, random.uniform(1.3, 2.4, calls), 1.0)
    from_ms = np.concatenate([[0.0], np.cumsum(values + 0.01)[:-1]]) if starts else []
    samples = Samples(start_ms=tuple(round(float(v), 3) for v in from_ms), latency_ms=tuple(round(float(v), 4) for v in values))
    verdict = DRIFTING if name == "eyes/text_encoder" else STABLE
    return Row(level=level, name=name, where=where, latency=made_latency(values), samples=samples, verdict=verdict, **more)


def _graph(name, where, figures, calls, speed, random) -> Row:
    ms, gflop, mb, compute = figures
    ms /= speed
    gflops_s, gb_s = (118.0, 11.4 if mb > 30 else 38.0)
    least_ms = max(gflop / gflops_s, mb / 1e3 / gb_s) * 1e3
    if least_ms > ms * 0.97:
        gb_s *= least_ms / (ms * 0.8)
        least_ms = max(gflop / gflops_s, mb / 1e3 / gb_s) * 1e3
    roof = Roof(
        flops=int(gflop * 1e9),
        bytes=int(mb * 1e6),
        gflops_s=gflops_s,
        gb_s=round(gb_s, 1),
        least_ms=round(least_ms, 4),
        percent=round(100 * least_ms / ms, 1),
        bound="compute" if gflop / gflops_s > mb / 1e3 / gb_s else "bandwidth",
        next="int8 would be at most 2.6 x as fast: its measured roof is 311 GOP/s" if compute else "int8 weights would be at most 3.9 x as fast",
    )
    identity = Identity(
        graph=hashlib.sha256(name.encode()).hexdigest(),
        backend=where.partition(" ")[0],
        version="1.31.1" if where.startswith("ort") else "2026.4.1",
        precision="fp32",
        reason="fastest of 3 that hold the bound",
        executed={"precision": "fp32", "threads": "2", "providers": "CPUExecutionProvider"},
        shapes={"input": (1, 80, 800)},
    )
    more = {"warm_up": WarmUp(runs=24, seconds=0.6, stable=True), "usage": Usage(cores=1.93, energy="no meter: /sys/class/powercap is not readable")}
    return _row("graph", name, where, ms, calls, random, identity=identity, operators=_operators(name, ms), roof=roof, **more)


def _operators(name: str, ms: float) -> Operators:
    shares = {"FusedMatMul": 0.44, "Conv": 0.17, "Softmax": 0.12, "LayerNormalization": 0.09, "Gelu": 0.07, "Add": 0.05, "Transpose": 0.03, "Slice": 0.01}
    kinds = tuple(Kind(kind=kind, count=4 + number * 3, ms=round(ms * share, 4)) for number, (kind, share) in enumerate(shares.items()))
    layer = "encoder.layers.{}.self_attn" if "encoder" in name else "decoder.flows.{}.convs"
    top = tuple(
        Operator(name=f"node_MatMul_{n}", kind="FusedMatMul", module=None if n == 7 else layer.format(n // 2), ms=round(ms * (0.08 - 0.005 * n), 4))
        for n in range(10)
    )
    return Operators(runs=64, graph_ms=round(ms * 1.02, 4), sum_ms=round(ms * 0.98, 4), kinds=kinds, top=top)


def _verb(name, given, ms, shares, calls, speed, random) -> Row:
    ms /= speed
    parts = tuple(Part(name=part, median_ms=round(ms * share, 4), share=share) for part, share in shares.items())
    sum_ms = ms * sum(shares.values()) * 0.997
    breakdown = Breakdown(parts=parts, whole_ms=round(ms, 3), sum_ms=round(sum_ms, 3), difference=round((ms - sum_ms) / ms, 5))
    more = {"warm_up": WarmUp(runs=8, seconds=0.8, stable=True), "usage": Usage(cores=1.71, energy="no meter: /sys/class/powercap is not readable")}
    return _row("verb", name, given, ms, calls, random, breakdown=breakdown, **more)


def _startup(random, speed) -> Startup:
    def fresh(factor: float) -> Fresh:
        return Fresh(
            import_ms=round(412 * factor, 1),
            load_ms=round(96 * factor, 1),
            compile_ms=round(840 * factor, 1),
            first_inference_ms=round(290 * factor, 1),
            first_answer_ms=round(2120 * factor, 1),
            peak_rss_mb=round(702 * factor, 1),
            steady_rss_mb=round(611 * factor, 1),
            steady_pss_mb=round(598 * factor, 1),
            p50_ms={name: round(figures[0] / speed * factor, 4) for name, figures in GRAPHS.items()},
        )

    return Startup(processes=tuple(fresh(float(factor)) for factor in random.normal(1, 0.005, 5)), answer="turn", device_memory="no accelerator")


def _trials() -> tuple[Trial, ...]:
    made = {
        "ears/encoder": [("ort", "fp32", 76.0, 0.01, False), ("openvino", "fp32", 58.0, 0.02, True), ("openvino", "bf16", 96.0, 0.4, False)],
        "eyes/image_encoder": [("ort", "fp32", 9.9, 0.02, False), ("openvino", "fp32", 8.4, 0.05, True), ("ort", "int8", 6.1, 1.7, False)],
        "ears/decoder": [("ort", "fp32", 4.6, 0.0, False), ("ort", "int8", 3.9, 0.31, True), ("openvino", "fp32", 5.2, 0.03, False)],
    }
    return tuple(
        Trial(graph=graph, backend=backend, precision=precision, median_ms=ms, drift=drift, chosen=chosen)
        for graph, trials in made.items()
        for backend, precision, ms, drift, chosen in trials
    )
