"""One model that is quantized for one target and judged on data: what every step of that goes by."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from mmedge.bundle import Bundle
from mmedge.evaluate.data import Data
from mmedge.evaluate.tasks import Setting, Task
from mmedge.optimize.calibration import SAMPLES
from mmedge.recipe import TaskGate
from mmedge.target import Target

Report = Callable[[str], None]

MOST_UNREADABLE = 0.01
"""The share of samples that may be unreadable, 0 to 1."""


@dataclass(frozen=True, eq=False)
class Work:
    """Made by ``begin``."""

    bundle: Bundle
    role: str
    target: Target
    task: Task
    setting: Setting
    data: Data
    """Those samples that the task can use."""
    gate: TaskGate
    """Its metric is never empty."""
    samples: int
    """That ranges are measured on, at most."""
    max_unreadable: float
    report: Report
    held: contextlib.ExitStack
    """Keeps the steps that were used from being removed, until the work ends."""
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


@contextlib.contextmanager
def begin(
    bundle: Bundle,
    target: Target,
    data: Data,
    *,
    role: str | None = None,
    task: str | None = None,
    setting: Setting = Setting(),
    metric: str | None = None,
    samples: int = SAMPLES,
    max_unreadable: float = MOST_UNREADABLE,
    report: Report = lambda line: None,
) -> Iterator[Work]:
    """Find what a model is judged by, before anything is computed.

    Args:
        role: of the model; needed where several have a task that fits the data.
        task: by name; the first that fits otherwise.
        metric: instead of the one that the model's gate names, or the task's own.
        samples: that ranges are measured on, at most.

    Raises:
        MmedgeError: nothing fits, the target has nothing below fp32, or a class of the data never appears in the split.
    """
    raise NotImplementedError
    yield
