"""Time per operator, by ONNX Runtime's own profiler: it writes a trace, which is read and removed."""

from __future__ import annotations

import json
import statistics
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmedge.runner import Operated, OperatorTime
from mmedge.tensors import Feeds

if TYPE_CHECKING:
    from mmedge.backends.ort import OrtRunner

WARM_UP_RUNS = 3
WHOLE, KERNEL = "model_run", "_kernel_time"
"""How the trace names a whole run, and how the names of its operators end."""

Event = dict[str, Any]
Run = tuple[float, list[Event]]
"""(microseconds, its operators)"""


def operated(open: Callable[[Path], OrtRunner], feeds: Feeds, runs: int) -> Operated:
    """Run a graph under the profiler.

    Args:
        open: a runner whose profiler writes files that begin like this path.

    Returns:
        Means over the middle half of ``runs`` runs after a warm-up, by their whole time: a stall of the machine in one of them is no operator's. An operator
        with a body (If, Loop) counts without its body, whose operators are listed themselves.
    """
    with tempfile.TemporaryDirectory(prefix="mmedge-profile-") as folder, open(Path(folder) / "trace") as runner:
        for _ in range(WARM_UP_RUNS + runs):
            runner.run(feeds)
        events = json.loads(runner.end_profiling().read_text(encoding="utf-8"))
    counted = _middle_half(list(_runs(events))[-runs:])
    spent_us: dict[tuple[str, str], float] = defaultdict(float)
    for _, kernels in counted:
        for event, own_us in _own(kernels):
            spent_us[event["name"].removesuffix(KERNEL), event["args"]["op_name"]] += own_us
    times = [OperatorTime(name, kind, total / len(counted) / 1e3, (name,)) for (name, kind), total in spent_us.items()]
    graph_us = statistics.fmean(run_us for run_us, _ in counted)
    gap_us = (graph_us - sum(spent_us.values()) / len(counted)) / max(len(times), 1)
    return Operated(len(counted), graph_us / 1e3, tuple(times), f"the profiler writes after each operator: {gap_us:.1f} us from the end of one to the next")


def _runs(events: Sequence[Event]) -> Iterator[Run]:
    """The trace has a run after what happened in it."""
    kernels: list[Event] = []
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith(KERNEL):
            kernels.append(event)
        elif event.get("name") == WHOLE:
            yield event["dur"], kernels
            kernels = []


def _middle_half(runs: list[Run]) -> list[Run]:
    quarter = len(runs) // 4
    return sorted(runs, key=lambda run: run[0])[quarter : len(runs) - quarter]


def _own(kernels: list[Event]) -> list[tuple[Event, float]]:
    """Each operator with its own microseconds: without those of the operators that ran inside it."""
    own: list[list[Any]] = []
    around: list[int] = []
    for event in sorted(kernels, key=lambda event: (event["ts"], -event["dur"])):
        while around and event["ts"] >= own[around[-1]][0]["ts"] + own[around[-1]][0]["dur"]:
            around.pop()
        if around:
            own[around[-1]][1] -= event["dur"]
        around.append(len(own))
        own.append([event, event["dur"]])
    return [(event, us) for event, us in own]
