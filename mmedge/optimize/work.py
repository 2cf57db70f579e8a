"""One model that is quantized for one target and judged on data: what every step of that goes by."""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from mmedge.bundle import Bundle
from mmedge.errors import MmedgeError
from mmedge.evaluate.choosing import choose
from mmedge.evaluate.data import Data
from mmedge.evaluate.eval import EXTENT, SETTING, usable
from mmedge.evaluate.tasks import Setting, Task
from mmedge.optimize.calibration import SAMPLES
from mmedge.recipe import TaskGate
from mmedge.target import Target

Report = Callable[[str], None]

AGREEMENT = ("cosine", "spearman", "top1_agreement")
"""Metrics that compare with fp32's own answers."""

RANK = "median_rank"
"""The end of the name of metrics that no gate can go by."""

BY_AGREEMENT = "judged-by-agreement"
"""The warning of a model that no right answers judge."""

CLASS_MISSING = "class-never-appears"
"""The warning of classes that a limit has left without a sample."""


@dataclass(frozen=True, eq=False)
class Ranging:
    """What the ranges of activations are measured on."""

    data: Data
    held_out: bool
    """No sample of them is judged."""
    fingerprint: str


@dataclass(frozen=True, eq=False)
class Work:
    """Made by ``begin``."""

    bundle: Bundle
    role: str
    target: Target
    task: Task
    setting: Setting
    data: Data
    """Those samples that the task can use: it is judged on them."""
    ranging: Ranging
    gate: TaskGate
    """Its metric is never empty."""
    max_unreadable: float
    """The share of samples that may be unreadable, 0 to 1."""
    report: Report
    held: contextlib.ExitStack
    """Keeps the steps that were used from being removed, until the work ends."""
    fingerprint: str
    """Of ``data``."""
    warnings: list[str] = field(default_factory=list)
    """Each begins with its own name; grows while the work goes on, each once."""

    @property
    def keys(self) -> dict[str, str]:
        """The graphs that the target runs: name -> key in the manifest."""
        return self.bundle.manifest.models[self.role].graphs_for(self.target)

    def warn(self, line: str) -> None:
        if line not in self.warnings:
            self.warnings.append(line)
            self.report(f"warning: {line}")

    @property
    def uses(self) -> dict[str, Any]:
        """For the keys of steps: the samples that a session is judged on."""
        return {"data": self.fingerprint, "seed": self.data.seed}

    def identity(self) -> dict[str, Any]:
        """For the keys of steps: what a model answers, and is asked, but for the graphs that are candidates."""
        model = self.bundle.manifest.models[self.role]
        return {
            "family": model.family,
            "config": model.config,
            "assets": {name: entry.sha256 for name, entry in model.assets.items()},
            "graphs": {name: [one.sha256 for one in (model.graphs[key].file, model.graphs[key].weights) if one] for name, key in self.keys.items()},
            "task": [self.task.name, list(self.task.inputs), self.task.wants],
            "setting": {name: getattr(self.setting, name) for name in self.task.depends},
        }


@contextlib.contextmanager
def begin(
    bundle: Bundle,
    target: Target,
    data: Data,
    *,
    role: str | None = None,
    task: str | None = None,
    setting: Setting = SETTING,
    metric: str | None = None,
    samples: int = SAMPLES,
    max_unreadable: float = EXTENT.max_unreadable,
    report: Report = lambda line: None,
) -> Iterator[Work]:
    """Find what a model is judged by, before anything is computed.

    Args:
        role: of the model; needed where several have a task that fits the data.
        task: by name; the first that fits otherwise.
        metric: instead of the one that the model's gate names, or the task's own. Where the data have no right answers, an agreement with fp32 is taken.
        samples: that ranges are measured on, at most: see ``ranging``.

    Raises:
        MmedgeError: nothing fits, there is no such metric, the target has nothing below fp32, or a class of the data never appears in the split.
    """
    hold_target(target)
    if samples < 1:
        raise MmedgeError(f"ranges cannot be measured on {samples} samples", "give a number of at least 1: --samples 300")
    # Without a metric that somebody named, data without right answers will do.
    given = metric or (bundle.manifest.models[role].gate.metric if role in bundle.manifest.models else "")
    role, chosen = choose(bundle.manifest, data, role, task, setting, without_answers=given in ("", *AGREEMENT))
    gate = bundle.manifest.models[role].gate
    named = metric or gate.metric or chosen.judged
    hold_metric(named, chosen)
    data = usable(chosen, data)
    with contextlib.ExitStack() as held:
        judged = gate.model_copy(update={"metric": named})
        made = Work(bundle, role, target, chosen, setting, data, ranging(data, samples), judged, max_unreadable, report, held, data.fingerprint())
        if not chosen.wants:
            made.warn(f"{BY_AGREEMENT}: {data.name} has no right answers, so {role} is judged by its {named} with its own fp32 alone")
        if missing := _missing(chosen, data):
            made.warn(f"{CLASS_MISSING}: the limit leaves {len(missing)} of {len(data.labels)} classes of {data.name} without a sample: {_few(missing)}")
        yield made


def ranging(data: Data, samples: int) -> Ranging:
    """At most so many samples that are not judged, of other splits or left out by a limit, where there are as many as there would be of the judged ones.

    A gate that looks at the samples that ranges were measured on sees less of the loss than other samples would have. The draw goes by the data's seed.
    """
    others = data.others()
    held_out = len(others) >= min(samples, len(data))
    taken = (others if held_out else data).at_most(samples)
    return Ranging(taken, held_out, taken.fingerprint())


def hold_target(target: Target) -> None:
    """Raises MmedgeError: a target has nothing that could be quantized for, or computes nothing."""
    if target.backends == ("null",):
        raise MmedgeError(f"{target.name} computes nothing: there is nothing to judge", "name a target with a runtime")
    if not target.quantize and not any(set(target.precisions.get(one, ("fp32",))) - {"fp32"} for one in target.backends):
        first = target.backends[0]
        raise MmedgeError(
            f"{target.name} has nothing below fp32: it has no quantize table, and no lower precision",
            f'add to its file a candidate: [[quantize.{first}]] with method = "static"; mmedge targets lists what others have',
        )


def hold_metric(name: str, task: Task) -> None:
    """Raises MmedgeError: a task does not give this metric, or it is not between 0 and 1."""
    given = (*(task.metrics if task.wants else ()), *task.agreement)
    there = [one for one in given if not one.endswith(RANK)]
    if name in given and name.endswith(RANK):
        recall = name.replace(RANK, "r10")
        raise MmedgeError(
            f"{name} counts ranks, and what a model may lose is a share: it cannot judge", f"take how often a rank is up to 10: --metric {recall}"
        )
    if name not in there:
        near = difflib.get_close_matches(name, there, n=1, cutoff=0.5)
        known = f"use one of: {', '.join(there)}"
        raise MmedgeError(
            f"{task.name}{'' if task.wants else ' without right answers'} has no metric {name!r}",
            f"did you mean {near[0]}? {known.capitalize()}" if near else known,
        )


def _missing(task: Task, data: Data) -> list[str]:
    """Classes that a limit has left out. Raises MmedgeError: one is missing though there is no limit: nobody would see what it loses."""
    if task.wants != "label":
        return []
    there = {sample.fields["label"] for sample in data}
    missing = [label for label in data.labels if label not in there]
    if missing and data.limit is None:
        where = f"the split {data.split} of {data.name}" if data.split else data.name
        raise MmedgeError(
            f"the class {missing[0]!r} never appears in {where}: what it loses would not be seen", "put samples of it there, or take it out of the data"
        )
    return missing


def _few(names: list[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
