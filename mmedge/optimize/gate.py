"""Whether a candidate may lose what it loses: its task metric against that of fp32, on the same units."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil

from mmedge.errors import MmedgeError
from mmedge.evaluate.metrics.bootstrap import ROUNDING, Estimate, Metric, paired
from mmedge.rated import POINT, Word

ALLOWED = POINT
"""What a candidate may lose where the recipe does not say."""
THREE = 3.0
"""Of n units none of which differs, at most 3 / n of all units do, with 95 % confidence (the rule of three: Hanley and Lippman-Hand, JAMA 1983)."""
ALIKE = "none of them differs, and of others up to 3 in as many may (rule of three)"


@dataclass(frozen=True, slots=True)
class Judged:
    """A candidate's loss.

    Of units that all lose the same, every resample does, too: the interval is then that of the rule of three, of a metric whose units lie between 0 and 1
    (of an error rate or CIDEr-D, a single unit may be off by more).

    ``kept``: the whole interval of the loss is within what is allowed (a test of non-inferiority). ``undecided``: the loss itself is, its interval reaches
    beyond: these units are too few to tell. ``lost``: the loss is beyond. Only that fails the gate; what is undecided is said wherever the candidate is shown.
    """

    word: Word
    metric: str
    loss: Estimate
    """fp32 less the candidate, or the other way round for a metric that is better when lower: positive is worse, in the metric's own units."""
    allowed: float
    enough: int | None = None
    """Where it is undecided: about how many units would tell, by the width of the interval, which shrinks with their root; None where no number would."""

    @property
    def passed(self) -> bool:
        return self.word != "lost"

    def __str__(self) -> str:
        points = [value / POINT for value in (self.loss.value, self.loss.low, self.loss.high, self.allowed)]
        said = f"{self.metric}: {points[0]:+.2f} points lost ({points[1]:+.2f} to {points[2]:+.2f}), {points[3]:g} allowed"
        return "; ".join(filter(None, (said, self.doubt)))

    @property
    def doubt(self) -> str:
        """Why nothing is sure; empty where it is."""
        if self.word != "undecided":
            return ""
        told = f"{self.loss.n} units are too few to tell" + (f", about {self.enough} would do" if self.enough else "")
        return f"{told}: {self.loss.note}" if self.loss.note else told


def judge(fp32: Metric, candidate: Metric, allowed: float = ALLOWED) -> Judged:
    """Hold a candidate to what it may lose.

    Args:
        fp32, candidate: the same metric of the same units, in the same order.

    Raises:
        MmedgeError: one of them could not be computed: there is nothing to judge by.
    """
    for one in (fp32, candidate):
        if one.estimate is None:
            raise MmedgeError(
                f"{one.name} cannot judge what quantizing loses: {one.why}", "choose another metric: --metric, or gate.metric of the model in the recipe"
            )
    found = paired(fp32, candidate) if fp32.higher_is_better else paired(candidate, fp32)
    if found.value > allowed + ROUNDING:
        return Judged("lost", fp32.name, found, allowed)
    room, alike = allowed - found.value, found.high - found.low <= ROUNDING
    if alike:
        found = replace(found, low=found.value - THREE / found.n, high=found.value + THREE / found.n, note=ALIKE)
    if found.high <= allowed + ROUNDING:
        return Judged("kept", fp32.name, found, allowed)
    if room <= ROUNDING:
        return Judged("undecided", fp32.name, found, allowed)
    enough = ceil(THREE / room - ROUNDING) if alike else round(found.n * ((found.high - found.value) / room) ** 2)
    return Judged("undecided", fp32.name, found, allowed, enough)
