"""Calibration feeds as a step that is done once, and only where something is made of them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from mmedge.documents import Document, dump_json, read_json
from mmedge.evaluate.data import Tally, Unreadable
from mmedge.evaluate.eval import EVERY_S
from mmedge.evaluate.golden import Golden
from mmedge.evaluate.tasks import decode
from mmedge.optimize.calibration import calibrate, stored
from mmedge.optimize.made import Feeding
from mmedge.optimize.steps import step, versions
from mmedge.optimize.work import Work
from mmedge.quantization import Static
from mmedge.tensors import Feeds

SUMMARY = "calibrated.json"


class Calibrated(Document):
    """What ranges are measured on."""

    samples: int
    """Of the user's data."""


def calibrated(work: Work) -> Calibrated:
    """Calibrate if that was not done yet; no samples where no candidate of the target needs any."""
    if not any(isinstance(one, Static) for tables in work.target.quantize.values() for one in tables):
        return Calibrated(samples=0)

    def copy(folder: Path) -> None:
        with step("feeds", key(work), partial(_fill, work)) as found:
            (folder / SUMMARY).write_bytes((found / SUMMARY).read_bytes())

    # Apart from the feeds: whoever wants to know how many there were need not read gigabytes of them.
    with step("calibrated", key(work), copy) as folder:
        made = read_json(folder / SUMMARY, Calibrated, fix="")
    return made


def feeding(work: Work, graph: str) -> Feeding:
    """The feeds of one graph by its key. The task is done on the data when they are first asked for."""

    def feeds() -> Iterator[Feeds]:
        with step("feeds", key(work), partial(_fill, work)) as folder:
            kept = folder / work.role / graph
            if next(kept.glob("*.npz"), None):
                yield from stored(kept)
            else:
                yield Golden(work.bundle, work.role).graph(graph)[0]

    return feeds


def key(work: Work) -> dict[str, Any]:
    """All that the feeds depend on."""
    drawn = {"data": work.ranging.fingerprint, "seed": work.data.seed}
    return {**work.identity(), **drawn, **versions("onnxruntime", "numpy", "pillow", "tokenizers", "av")}


def _fill(work: Work, folder: Path) -> None:
    """Do the task in fp32, and keep what its graphs are fed with."""
    data = work.ranging.data
    tally = Tally(data.name, len(data), work.max_unreadable)

    def uses(session: Any) -> Iterator[None]:
        said_s = time.perf_counter()
        for number, sample in enumerate(data, 1):
            try:
                inputs = decode(sample, work.task.inputs)
            except Unreadable as error:
                tally.add(error)
                continue
            work.task.use(session, inputs, sample.fields.get(work.task.wants))
            yield
            if time.perf_counter() - said_s >= EVERY_S:
                said_s = time.perf_counter()
                work.report(f"{work.role}: calibrated on {number} of {len(data)} samples")

    made = calibrate(work.bundle, work.role, work.target, uses, folder, samples=len(data), seed=data.seed)
    said = Calibrated(samples=made.samples)
    (folder / SUMMARY).write_text(dump_json(said), encoding="utf-8")
