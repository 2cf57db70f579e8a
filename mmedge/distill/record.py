"""What is written down of a training while it runs. No torch."""

from __future__ import annotations

from mmedge.documents import Document


class Told(Document):
    """One step's loss."""

    step: int
    loss: float
    terms: dict[str, float]


class Looked(Document):
    """What validation gave."""

    step: int
    value: float


class State(Document):
    """Where a training stands after ``step`` steps."""

    key: str
    """Hash of everything that it depends on: another recipe or other data begin anew."""
    step: int
    losses: tuple[Told, ...]
    looked: tuple[Looked, ...] = ()
    stopped: bool = False
    """It is over: all steps are done, or validation has not become better for long."""
    scaler: dict[str, float] = {}
    """Of fp16's gradients."""
    sha256: dict[str, str] = {}

    @property
    def best(self) -> int | None:
        """The step with the best validation, the first of equals."""
        return max(self.looked, key=lambda one: (one.value, -one.step)).step if self.looked else None
