"""What OpenVINO says of a compiled model: what it computes in, and the time of its operators."""

from __future__ import annotations

import statistics
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from mmedge.runner import Operated, OperatorTime
from mmedge.tensors import Feeds

if TYPE_CHECKING:
    from mmedge.backends.openvino import OpenvinoRunner

WARM_UP_RUNS = 3

OUTSIDE = (
    "OpenVINO's counters leave out what it does between operators (shapes of dynamic inputs, waking threads) and the call itself; "
    "each is cut to whole microseconds"
)

PRECISIONS = {"f32": "fp32", "f16": "fp16", "i8": "int8", "u8": "int8", "i4": "int4", "u4": "int4"}
"""OpenVINO's names of element types -> mmedge's, where they differ."""
INTEGERS = ("int8", "int4")

SAID = {
    "threads": "INFERENCE_NUM_THREADS",
    "streams": "NUM_STREAMS",
    "performance hint": "PERFORMANCE_HINT",
    "execution mode": "EXECUTION_MODE_HINT",
    "pinned to cores": "ENABLE_CPU_PINNING",
    "hyper-threading": "ENABLE_HYPER_THREADING",
    "devices": "EXECUTION_DEVICES",
    "instructions": "RUNTIME_REQUIREMENTS",
}
"""Words of a report -> properties of a compiled model; a version that lacks one is passed over."""

NO_WORK = {"Const", "Input", "Output"}


def executed(compiled: Any, stored: str = "fp32") -> dict[str, str]:
    """Read back from a compiled model. ``operators`` counts them by the type they compute in: some stay in fp32 where the hint is bf16.

    Args:
        stored: precision of the file's weights. Integers are what the compiled model computes in where it has any, and no hint says otherwise of the rest.
    """
    able = set(compiled.get_property("SUPPORTED_PROPERTIES"))
    hint = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
    infos = [operation.get_rt_info() for operation in compiled.get_runtime_model().get_ops()]
    types = Counter(PRECISIONS.get(kind := _text(info["runtimePrecision"]), kind) for info in infos if _text(info["layerType"]) not in NO_WORK)
    held = {PRECISIONS.get(_text(info["runtimePrecision"])) for info in infos if _text(info["layerType"]) == "Const"} | set(types)
    precision = PRECISIONS.get(hint, hint)
    said = {
        "precision": stored if precision == "fp32" and stored in INTEGERS and held & set(INTEGERS) else precision,
        "operators": ", ".join(f"{count} in {kind}" for kind, count in types.most_common()) or "none",
    }
    for word, name in SAID.items():
        if name in able and (value := _plain(compiled.get_property(name))):
            said[word] = value
    return said


def operated(runner: OpenvinoRunner, feeds: Feeds, runs: int) -> Operated:
    """Run a compiled model whose counters are on.

    The counters are means over every run since it was compiled, in whole microseconds: what the warm-up took is subtracted again.
    """
    for _ in range(WARM_UP_RUNS):
        runner.run(feeds)
    before = {info.node_name: info.real_time.total_seconds() for info in runner.counters()[0]}
    spent_ms = []
    for _ in range(runs):
        begin = time.perf_counter()
        runner.run(feeds)
        spent_ms.append((time.perf_counter() - begin) * 1e3)
    counted, model = runner.counters()
    sources = {operation.get_friendly_name(): _text(operation.get_rt_info()["originalLayersNames"]) for operation in model.get_ops()}
    times = []
    for info in counted:
        if info.status == info.Status.EXECUTED:
            total_s = info.real_time.total_seconds() * (WARM_UP_RUNS + runs) - before[info.node_name] * WARM_UP_RUNS
            nodes = tuple(filter(None, sources.get(info.node_name, "").split(",")))
            times.append(OperatorTime(info.node_name, info.node_type, max(total_s, 0.0) / runs * 1e3, nodes))
    return Operated(runs, statistics.fmean(spent_ms), tuple(times), OUTSIDE)


def _text(value: Any) -> str:
    """A value of a runtime model's info, which older versions wrap."""
    return str(value.astype(str) if hasattr(value, "astype") else value)


def _plain(value: Any) -> str:
    """A property's value in a report's words."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple | set):
        return ", ".join(map(_plain, value))
    return str(getattr(value, "name", value))
