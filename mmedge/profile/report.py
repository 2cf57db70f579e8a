"""The report of a profile: every figure with its samples, its verdict, and what it was measured on. Documents only; nothing is measured here."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from mmedge.documents import Document
from mmedge.manifest import Quantized
from mmedge.profile.machine import Conditions, Machine
from mmedge.turn import Turn

Level = Literal["graph", "verb", "turn", "stage"]
Word = Literal["stable", "drifting", "throttled", "contended", "unstable"]


class Latency(Document):
    """Milliseconds over ``n`` calls, after warm-up.

    A percentile that ``n`` cannot carry is null (64 samples for the 90th, 662 for the 99th: MLPerf's early-stopping rule at 99 % confidence). An interval
    is the 95 % one of order statistics, free of any assumption about the distribution; null where ``n`` is too small to hold one.
    """

    n: int
    p50_ms: float
    p50_interval_ms: tuple[float, float] | None = None
    p90_ms: float | None = None
    p90_interval_ms: tuple[float, float] | None = None
    p99_ms: float | None = None
    p99_interval_ms: tuple[float, float] | None = None
    min_ms: float
    max_ms: float


class Samples(Document):
    """What was measured, call by call, in the order of the calls."""

    start_ms: tuple[float, ...] = ()
    """When each call began, from the first; in paced mode, when it was due."""
    latency_ms: tuple[float, ...]
    """In paced mode from the moment it was due: the time in the queue counts."""
    dropped_ms: tuple[float, ...] = ()
    """When the calls were due that waited so long that they were given up (paced mode)."""


class WarmUp(Document):
    """The calls before the first that counts."""

    runs: int
    seconds: float
    stable: bool
    """Whether the times had settled when the warm-up ended; False where it reached its limit."""


class Verdict(Document):
    """Whether a figure can be trusted, and what says so."""

    word: Word
    evidence: tuple[str, ...] = ()
    """One plain sentence each, with the figures; of a stable run, what was looked at."""


class Usage(Document):
    """What a row's calls took from the machine."""

    cores: float | None = None
    """CPU time of the process over wall time: 2.0 is two cores the whole time."""
    millijoules: float | None = None
    """Per call, by the meter that ``energy`` names; null where nothing could be read."""
    energy: str = ""
    """The meter, or why there is none."""


class Part(Document):
    """A part of a verb or a turn."""

    name: str
    median_ms: float
    share: float
    """Of the time of all calls together, 0 to 1: shares add up, medians do not."""


class Breakdown(Document):
    """A whole held against the sum of its parts."""

    parts: tuple[Part, ...]
    whole_ms: float
    """Measured end to end, median."""
    sum_ms: float
    """Median over calls of the sum of the parts of that call; parts that overlap count once."""
    difference: float
    """(whole - sum) / whole, median over calls: the share that no part explains."""


class Operator(Document):
    """One operator of a compiled graph, by the runtime's own profiler."""

    name: str
    kind: str
    """As the runtime names it: ``Conv``, ``FusedMatMul``, ``Convolution``."""
    module: str | None
    """The torch module it came from, where the exporter left the name: ``vision_model.encoder.layers.3.self_attn``."""
    ms: float
    """Mean a run."""


class Kind(Document):
    """All operators of one kind."""

    kind: str
    count: int
    ms: float


class Operators(Document):
    """Where a graph's time goes."""

    runs: int
    graph_ms: float
    """Mean time of a whole run while the runtime's profiler was on, over the runs that the operators' times are the means of."""
    sum_ms: float
    """Of all operators, mean a run."""
    kinds: tuple[Kind, ...]
    """Longest first."""
    top: tuple[Operator, ...]
    """The ten longest."""
    note: str = ""


class Roof(Document):
    """How near a graph is to what this machine was measured to be able to do (Williams et al. 2009, the roofline model)."""

    flops: int
    """Of one run, counted from the ONNX graph at the shapes it ran with; a multiplication and an addition are two."""
    bytes: int
    """That must move at least once: weights, inputs, outputs."""
    gflops_s: float
    """The measured roof for this backend and precision."""
    gb_s: float
    """The measured roof for a working set of this size."""
    least_ms: float
    """What the roof allows: the larger of flops / gflops_s and bytes / gb_s."""
    percent: float | None
    """Of the measured roof, at most 100; null where even a second measurement of the roof lay below the graph."""
    bound: Literal["compute", "bandwidth"]
    next: str = ""
    """What the next lower precision would buy at most, or why that is not known."""


class Identity(Document):
    """What exactly ran."""

    graph: str
    """sha256 of the ONNX file."""
    weights: str | None = None
    """sha256 of its large tensors, where they are a file of their own."""
    engine: str | None = None
    """sha256 of the compiled file, where there is one."""
    backend: str
    version: str | None
    precision: str
    """As it was placed."""
    reason: str
    """Why it was placed there."""
    executed: dict[str, str] = {}
    """What the opened runtime says of itself: precision (bf16 is said), threads, providers, flags."""
    shapes: dict[str, tuple[int, ...]] = {}
    """Of the feeds it was measured with."""


class Row(Document):
    """One thing that was measured."""

    level: Level
    name: str
    where: str
    """Backend and precision; for verbs and turns, what they were given; for stages, ``model`` or ``wait``."""
    latency: Latency
    samples: Samples | None = None
    warm_up: WarmUp | None = None
    verdict: Verdict | None = None
    usage: Usage | None = None
    breakdown: Breakdown | None = None
    identity: Identity | None = None
    operators: Operators | None = None
    roof: Roof | None = None


class Fresh(Document):
    """One start in a process of its own. Milliseconds."""

    import_ms: float
    """From the start of the process until mmedge and the runtimes are imported."""
    load_ms: float
    """Manifest and files read and verified."""
    compile_ms: float
    """Every graph opened by its runtime."""
    first_inference_ms: float
    """The first run of every graph, summed."""
    first_answer_ms: float | None
    """From the start of the process to the end of the first answer (the first verb, or the first turn of an assistant); null where there is none."""
    peak_rss_mb: float
    steady_rss_mb: float
    """After the answers."""
    steady_pss_mb: float | None
    """Shared pages counted in part; null where the system does not tell."""
    device_mb: float | None = None
    """Memory of the accelerator that opening the engines and answering took; null where there is none, or it does not tell."""
    p50_ms: dict[str, float] = {}
    """Graph -> median of a short series: what another process says about the same figure."""
    p90_ms: dict[str, float] = {}
    """Graph -> 90th percentile of that series, where it has the calls for one."""


class Startup(Document):
    """Several starts in fresh processes."""

    processes: tuple[Fresh, ...]
    answer: str
    """What the first answer was: a verb's or the turn's name."""
    device_memory: str = ""
    """Why there is no figure for the accelerator's memory, or what is in it."""
    note: str = ""
    """What was not controlled."""


class Rules(Document):
    """How it was measured."""

    mode: Literal["closed", "paced"] = "closed"
    """``closed``: the next call when the last has returned (MLPerf's SingleStream). ``paced``: calls are due at a rate, returned or not."""
    rate_hz: float | None = None
    arrivals: Literal["fixed", "poisson"] = "fixed"
    seed: int = 0
    seconds: float = 3.0
    """At least, for each row."""
    samples: int = 64
    """At least, for each row, unless that takes ten times ``seconds``."""


class Trial(Document):
    """A candidate that could have been chosen, as the bundle remembers it: for the Pareto plot."""

    graph: str
    backend: str
    precision: str
    median_ms: float
    drift: float
    """From golden, as a share of the bound of its precision."""
    chosen: bool


class Report(Document):
    """Schema ``mmedge.report/2``."""

    schema_: Literal["mmedge.report/2"] = Field(default="mmedge.report/2", alias="schema")
    bundle: str
    target: str
    made: str = ""
    """UTC, ISO 8601."""
    machine: Machine
    rules: Rules = Rules()
    conditions: Conditions | None = None
    verdict: Verdict | None = None
    """Of the whole: the worst of the rows, and what the fresh processes say."""
    rows: tuple[Row, ...]
    startup: Startup | None = None
    turn: Turn | None = None
    """The turn with the median time to the first audio, with its stages: for the waterfall."""
    trials: tuple[Trial, ...] = ()
    """Of models that were not quantized for the target."""
    quantized: dict[str, Quantized] = {}
    """Role -> what quantizing found for the target, without its golden data."""
    not_run: tuple[str, ...] = ()
    """What could not be measured here, and why."""


class Profiles(Document):
    """Several targets, each measured in a process of its own (schema ``mmedge.profiles/1``)."""

    schema_: Literal["mmedge.profiles/1"] = Field(default="mmedge.profiles/1", alias="schema")
    reports: tuple[Report, ...]
    not_run: tuple[str, ...] = ()
    """Targets that could not be measured here, and why."""
